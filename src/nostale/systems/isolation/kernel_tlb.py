"""A kernel range is unmapped and freed while one CPU is away: may its flush wait until the CPU comes in?

`flush_tlb_kernel_range()` of v6.12 interrupts every CPU (arch/x86/mm/tlb.c). The series that defers text patches
deferred this as well up to v4; from v6 on the flush comes right after SWITCH_TO_KERNEL_CR3. What was objected: a CPU
may fill its TLB for any mapped address at any time, walk a page table that was freed, touch such a range before it has
flushed (the LDT, PEBS buffers, a vmapped stack), and on arm64 share its translations with another (CnP).
"""

from __future__ import annotations

from nostale.contract import Binding, Bound, Grade
from nostale.prove import (
    Bind,
    Model,
    array,
    atomic,
    event,
    flag,
    never,
    param,
    process,
    removable,
    rule,
    sometimes,
    upto,
    variant,
    wait,
)
from nostale.prove.hardware.translation import Translations
from nostale.systems.isolation.contract import DEFERRED_FLUSH

PATCHER, AWAY = 0, 1  # the two CPUs
KERNEL, USER = 0, 1  # the two sets of tables with PTI; without it there is one
PAGE, OLD, NEW = 0, 1, 2  # the range, the frame that is freed, and the one that is mapped there next

IN_PROVE = Binding(
    DEFERRED_FLUSH,
    engine="prove",
    bound={
        "change": Bound("the page-table entry is cleared", Grade.EXACT),
        "sync": Bound("the CPU flushes the range", Grade.EXACT),
        "use": Bound("an access that goes to the old frame", Grade.EXACT),
        "done": Bound("vfree() gives the frame back", Grade.EXACT),
    },
    start="fresh",
    start_why="nothing has been unmapped yet",
)


class KernelRange(Translations):
    """One page of kernel tables, and user tables without it; `ahead` is whether CPUs fill and walk ahead of need."""

    def __init__(self, *, spaces: int, ahead: bool) -> None:
        super().__init__(cpus=2, pages=1, frames=2, spaces=spaces, pcid=True, tables=ahead)
        self.ahead = ahead
        self.entry = [array(1, lambda first=first: upto(2, first=first)) for first in (OLD, 0)[:spaces]]  # type: ignore[misc]

    @rule(per=("cpus", "spaces", "pages"), lane="CPU {}'s TLB")
    def fill(self, cpu: int, space: int, page: int) -> None:
        """Walks the page tables ahead of need, and keeps the translation."""
        frame = self.entry[space][page]
        wait(self.ahead)
        wait(self.loaded[cpu] == space and frame != 0)
        wait(self.walkable(cpu, space))
        wait(not self.held[cpu][space][page][frame - 1])
        self.held[cpu][space][page][frame - 1] = True


class KernelTlb(Model):
    """One CPU uses a vmalloc'ed page and goes to user mode; another unmaps, frees and maps anew."""

    system = "isolation"
    title = "a flush of kernel translations waits until the CPU comes in"
    not_modelled = (
        "several ranges, large pages, the remote CPU's other entries, NMIs (see deferral), the flush's own cost; one "
        "unmapping"
    )

    deferred = param(True, "whether a CPU that is away is spared the IPI")
    pti = param(True, "whether user mode runs on tables without such ranges")
    speculation = param(True, "whether CPUs fill their TLBs and walk tables ahead of need")
    early_access = param(False, "whether the way in touches such a range before the flush")
    frees_table = param(False, "whether the page table is freed with the range")
    cnp = param(False, "whether the CPUs share translations (arm64's CnP)")

    no_flush = variant("the way in does not flush")
    no_ipi = variant("a CPU that is in the kernel is not interrupted either")

    def build(self) -> None:
        self.tlb = KernelRange(spaces=2 if self.pti else 1, ahead=self.speculation)
        self.inside = flag(first=True)
        self.work = flag()
        self.found = flag()
        self.ipi = flag()
        self.freed = flag()

    def contracts(self) -> tuple[Bind, ...]:
        return (Bind(IN_PROVE, {"cpu": 2}),)

    def assumptions(self) -> tuple[str, ...]:
        return (
            "a PCID each for the kernel's and the user's tables: what was filled before survives the way out and in",
            "entries of such ranges are not global",
        )

    @process(lane="CPU 0")
    def unmaps(self) -> None:
        with atomic("vunmap(): clears the page-table entry, and the directory's if the table goes too"):
            self.tlb.map(KERNEL, PAGE, 0)
            if self.frees_table:
                self.tlb.unlink(KERNEL)
            event("change")
        with atomic("flush_tlb_kernel_range(): flushes its own"):
            self.tlb.flush_all(PATCHER)
        with atomic("flush_tlb_kernel_range(): interrupts the other CPU, or leaves it a bit if it is away"):
            if self.deferred and not self.inside:
                self.work = True
            elif not self.no_ipi:
                self.ipi = True
        self.answered()
        with atomic("what it may use is flushed: its own, and what it shares with the other CPU"):
            if not self.shares_old():
                event("sync", cpu=PATCHER)
        with atomic("vfree(): the frame is somebody else's, and so is the page table"):
            self.freed = True
            if self.frees_table:
                self.tlb.free_table(KERNEL)
            event("done")
        with atomic("vmap(): another frame is mapped at the same address"):
            if not self.frees_table:
                self.tlb.map(KERNEL, PAGE, NEW)
        with atomic("uses what it has mapped"):
            if self.reaches_old(PATCHER) or self.shares_old():
                event("use", cpu=PATCHER)

    def answered(self) -> None:
        with atomic("the other CPU has flushed, if it was asked"):
            wait(not self.ipi)

    def shares_old(self) -> bool:
        return self.cnp and self.tlb.held[AWAY][KERNEL][PAGE][OLD - 1]

    def reaches_old(self, cpu: int) -> bool:
        return self.tlb.loaded[cpu] == KERNEL and self.tlb.held[cpu][KERNEL][PAGE][OLD - 1]

    @process(lane="CPU 1")
    def comes_and_goes(self) -> None:
        while True:
            with atomic("uses the range, if it is mapped"):
                if self.tlb.reaches(AWAY, KERNEL, PAGE, OLD):
                    self.tlb.held[AWAY][KERNEL][PAGE][OLD - 1] = True
                    if self.tlb.entry[KERNEL][PAGE] != OLD:
                        event("use", cpu=AWAY)
            with atomic("ct_kernel_exit_state(): away from here"):
                self.inside = False
            if self.pti:
                with atomic("SWITCH_TO_USER_CR3"):
                    self.tlb.write_cr3(AWAY, USER, no_flush=True)
                with atomic("SWITCH_TO_KERNEL_CR3"):
                    self.tlb.write_cr3(AWAY, KERNEL, no_flush=True)
            if self.early_access:
                with atomic("the way in touches the range, before the flush"):
                    if self.tlb.held[AWAY][KERNEL][PAGE][OLD - 1] and self.tlb.entry[KERNEL][PAGE] != OLD:
                        event("use", cpu=AWAY)
            with atomic("ct_kernel_enter_state(): here from here on; is there work?"):
                self.inside = True
                self.found = self.work
            self.flush()

    @removable("flush")
    def flush(self) -> None:
        if not self.no_flush:
            with atomic("ct_work_flush(): flushes, if there is work"):
                if self.found:
                    self.tlb.flush_all(AWAY)
                    event("sync", cpu=AWAY)
                self.work = self.work and not self.found
                self.found = False

    @rule(lane="CPU 1")
    def take_ipi(self) -> None:
        """Takes the IPI: do_kernel_range_flush()."""
        wait(self.ipi)
        self.ipi = False
        self.tlb.flush_all(AWAY)
        event("sync", cpu=AWAY)

    @never(
        "freed-table",
        "nobody walks a page table that was freed",
        "whatever the next owner writes there is taken for a translation",
    )
    def walks_freed(self) -> bool:
        return self.tlb.walks_freed(AWAY) or self.tlb.walks_freed(PATCHER)

    @sometimes("scene-spared", "the range is freed while the CPU has a bit to find, if it gets bits")
    def spared(self) -> bool:
        return not self.deferred or (self.freed and self.work)
