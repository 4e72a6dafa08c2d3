"""TLB shootdown against a CPU that switches mm and goes lazy: whom may a flush leave out?

CPU 0 takes something of an mm away: a page, a page table, or at exit all of it. CPU 1 switches between a thread of that
mm, a kernel thread that borrows it, and another process, and patches text through a temporary mm; its TLB and its
paging-structure caches fill at any time. Sources, all v6.12: arch/x86/mm/tlb.c, switch_mm_irqs_off(), enter_lazy_tlb(),
flush_tlb_func(), should_flush_tlb(), native_flush_tlb_multi(), flush_tlb_mm_range(), leave_mm();
arch/x86/kernel/alternative.c, use_temporary_mm(); arch/x86/xen/mmu_pv.c, xen_drop_mm_ref().
The look at tlb_gen on the way out of lazy mode, and the barrier before it, are for pages: page tables and an exit
interrupt lazy CPUs too. In text_poke() they are never reached, since leave_mm() has ended lazy mode.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, cast

from nostale.contract import FRESH, Binding, Bound, Grade
from nostale.prove import (
    Bind,
    Model,
    atomic,
    choose,
    event,
    flag,
    never,
    one_of,
    param,
    process,
    removable,
    rule,
    sometimes,
    upto,
    variant,
    wait,
)
from nostale.prove.hardware.memory import Memory
from nostale.prove.hardware.tasks import only_where
from nostale.prove.hardware.translation import Translations
from nostale.prove.hardware.tso import TSO
from nostale.systems.lazytlb.contract import NO_FREED_TRANSLATION


class Place(IntEnum):
    """What CPU 1 tells of itself, and the mm's generation."""

    LAZY = 0  # cpu_tlbstate_shared.is_lazy
    LOADED = 1  # cpu_tlbstate.loaded_mm
    MASK = 2  # its bit in mm_cpumask
    GEN = 3  # mm->context.tlb_gen


class Mm(IntEnum):
    """Values of loaded_mm."""

    OURS = 0
    OTHERS = 1  # another process's, init_mm or poking_mm
    SWITCHING = 2  # LOADED_MM_SWITCHING


class Task(IntEnum):
    """What CPU 1 runs."""

    THREAD = 0  # of the mm
    KTHREAD = 1
    OTHER = 2  # of another process


FLUSHER, TARGET = 0, 1

IN_PROVE = Binding(
    NO_FREED_TRANSLATION,
    engine="prove",
    bound={
        "clear": Bound("the entry is cleared", Grade.EXACT),
        "flush": Bound("CPU 1 forgets the mm's entries, or no longer has it loaded", Grade.EXACT),
        "reach": Bound("an access or a walk through what was kept; a CR3 write of the dead mm", Grade.EXACT),
        "free": Bound("the page or table is freed, or the dead mm's tables are unpinned", Grade.EXACT),
    },
    start=FRESH,
    start_why="nothing has been taken away yet",
)


class Turn(IntEnum):
    """What CPU 1 does next, with interrupts off."""

    TO_THREAD = 0
    TO_KTHREAD = 1
    TO_OTHER = 2
    POKE = 3


def _first(row: object, index: int, value: int) -> None:
    """Start an element of a row at another value."""
    cast(Any, row).items[index].first = value


class Shootdown(Model):
    """One flush of an mm that is loaded, borrowed or was loaded on another CPU."""

    system = "lazytlb"
    title = "no CPU reaches a freed page or page table through its TLB, whatever the flush left out"
    not_modelled = (
        "several pages, partial flushes and more than one flush, INVLPGB, large pages, mm_cpumask's trimming, the LDT, "
        "NMIs (nmi_uaccess_okay keeps them off the mm while it is switched), gup_fast, PTI's second set of tables"
    )

    frees = param("page", "what is taken away; mm is exit_mmap() on Xen PV", choices=("page", "table", "mm"))
    tables = param(
        "rcu", "how page tables are freed: by RCU (KVM, Xen), or at once (native)", choices=("rcu", "at-once")
    )
    memory = param("tso", "how memory behaves", choices=("sc", "tso"))
    pcid = param(True, "PCIDs: entries of the mm outlive a switch to another")
    pokes = param(1, "text_poke() calls of the kernel thread")

    ignore_switching = variant("should_flush_tlb() takes no notice of LOADED_MM_SWITCHING (before fea4e317f9e7)")
    late_switching = variant("LOADED_MM_SWITCHING is stored after tlb_gen is read (before fea4e317f9e7)")
    spare_lazy = variant("freed page tables are flushed on no lazy CPU either (before b956575bed91)", expect="holds")
    lazy_poke = variant("use_temporary_mm() does not leave lazy mode first (before abee7c494d8c)", expect="holds")
    late_clear = variant("the bit in mm_cpumask is cleared after the CR3 write and not before", expect="holds")
    no_lazy_barrier = variant("no barrier between is_lazy = false and the look at tlb_gen")
    lazy_keeps_gen = variant("a lazy CPU does not look at tlb_gen when it comes back")

    def build(self) -> None:
        self.mem = (TSO if self.memory == "tso" else Memory)(2, len(Place), lambda: upto(2), {Place.MASK: 1})
        self.tlb = Translations(2, pages=1, frames=1, spaces=2, pcid=self.pcid, tables=True)
        _first(self.tlb.entry[Mm.OURS], 0, 1)
        _first(self.tlb.loaded, FLUSHER, Mm.OTHERS)  # CPU 0 has nothing of the mm
        _first(self.tlb.linked, Mm.OTHERS, 0)  # what others keep is not asked about
        self.exits = self.frees == "mm"
        self.turns = (*(() if self.exits else (Turn.TO_THREAD,)), Turn.TO_KTHREAD, Turn.TO_OTHER)
        if self.pokes:
            self.turns = (*self.turns, Turn.POKE)
        # CPU 1. What it tells of itself it knows at once, others learn of it from memory.
        self.curr: int = one_of(Task, first=Task.KTHREAD if self.exits else Task.THREAD)
        self.lazy = flag(first=self.exits)
        _first(self.mem.cell, Place.LAZY, int(self.exits))
        self.loaded: int = one_of(Mm)
        self.goes: int = one_of(Turn)
        self.irqs_off = flag()
        self.was_lazy = flag()
        self.saved: int = one_of(Mm)
        self.local_gen = upto(1)
        self.next_gen = upto(1)
        self.moved = flag()
        self.poked = upto(int(self.pokes))
        # CPU 0.
        self.told: int = one_of(Mm)
        self.asks = flag()
        self.asked = flag()
        self.freed = flag()

    def contracts(self) -> tuple[Bind, ...]:
        return (Bind(IN_PROVE, {"cpu": 2, "mm": 1}),)

    def assumptions(self) -> tuple[str, ...]:
        return (
            f"memory = {self.memory}: changing mm_cpumask and tlb_gen are locked operations",
            "interrupts are off in switch_mm_irqs_off(), so that no flush comes between its steps",
        )

    # CPU 1.

    @process(lane="CPU 1")
    def scheduler(self) -> None:
        while True:
            with atomic("turns interrupts off: for __schedule(), or for text_poke()"):
                self.goes = choose(self.turns)
                only_where(self.can_turn())
                self.irqs_off = True
            if self.goes == Turn.TO_KTHREAD:
                with atomic("context_switch() to a kernel thread: enter_lazy_tlb()"):
                    self.lazy = True
                    self.mem.store(TARGET, Place.LAZY, 1)
                    self.curr = Task.KTHREAD
            elif self.goes == Turn.TO_THREAD:
                self.switch_mm_irqs_off(Mm.OURS, "the mm")
                self.curr = Task.THREAD
            elif self.goes == Turn.TO_OTHER:
                self.switch_mm_irqs_off(Mm.OTHERS, "another mm")
                self.curr = Task.OTHER
            else:
                self.text_poke()
            with atomic("turns interrupts on"):
                self.irqs_off = False
                self.goes = Turn.TO_THREAD

    def can_turn(self) -> bool:
        return (
            (self.goes == Turn.TO_THREAD and self.curr != Task.THREAD)
            or (self.goes == Turn.TO_KTHREAD and self.curr != Task.KTHREAD)
            or (self.goes == Turn.TO_OTHER and self.curr != Task.OTHER)
            or (self.goes == Turn.POKE and self.curr == Task.KTHREAD and self.poked < self.pokes)
        )

    def switch_mm_irqs_off(self, mm: int, name: str) -> None:
        with atomic(f"switch_mm_irqs_off() to {name}: is_lazy = false"):
            self.was_lazy = self.lazy
            if self.lazy:
                self.mem.store(TARGET, Place.LAZY, 0)
            self.lazy = False
        if self.loaded != mm:
            self.change_mm(mm, name)
        elif self.was_lazy:
            if mm == Mm.OURS:
                if not self.no_lazy_barrier:
                    self.smp_mb()
                if not self.lazy_keeps_gen:
                    self.catch_up()

    @removable("barrier")
    def smp_mb(self) -> None:
        with atomic("switch_mm_irqs_off(): smp_mb() before the look at tlb_gen"):
            self.mem.fence(TARGET)

    @removable("tlb_gen")
    def catch_up(self) -> None:
        with atomic("switch_mm_irqs_off(): lazy, reads tlb_gen"):
            gen = self.mem.load(TARGET, Place.GEN)
            self.next_gen = gen
            self.moved = gen != self.local_gen
        if self.moved:
            with atomic("switch_mm_irqs_off(): tlb_gen has moved, writes CR3 and flushes"):
                self.flush_by_cr3()

    def flush_by_cr3(self) -> None:
        self.tlb.write_cr3(TARGET, Mm.OURS)
        event("flush", cpu=TARGET, mm=0)
        self.local_gen = self.next_gen
        self.moved = False

    def change_mm(self, mm: int, name: str) -> None:
        if not self.late_switching:
            self.say_switching()
        if mm == Mm.OURS or not self.late_clear:
            self.change_mask(mm, name)
        if mm == Mm.OURS:
            with atomic("switch_mm_irqs_off(): reads tlb_gen, choose_new_asid()"):
                gen = self.mem.load(TARGET, Place.GEN)
                self.next_gen = gen
                self.moved = gen != self.local_gen
        if self.late_switching:
            self.say_switching()
        with atomic(f"switch_mm_irqs_off(): load_new_mm_cr3() of {name}, flushing only what tlb_gen asks for"):
            if mm == Mm.OURS:
                if self.moved or not self.pcid:
                    self.flush_by_cr3()
                else:
                    self.tlb.write_cr3(TARGET, Mm.OURS, no_flush=True)
            else:
                self.tlb.write_cr3(TARGET, Mm.OTHERS, no_flush=True)
                if not self.pcid:
                    event("flush", cpu=TARGET, mm=0)
        if mm == Mm.OTHERS:
            if self.late_clear:
                self.change_mask(mm, name)
        with atomic(f"switch_mm_irqs_off(): loaded_mm is {name}"):
            self.loaded = mm
            self.mem.store(TARGET, Place.LOADED, mm)

    def change_mask(self, mm: int, name: str) -> None:
        with atomic(f"switch_mm_irqs_off(): mm_cpumask for {name}, a locked operation"):
            self.mem.exchange(TARGET, Place.MASK, 1 if mm == Mm.OURS else 0)

    def say_switching(self) -> None:
        with atomic("switch_mm_irqs_off(): loaded_mm = LOADED_MM_SWITCHING"):
            self.loaded = Mm.SWITCHING
            self.mem.store(TARGET, Place.LOADED, Mm.SWITCHING)

    def text_poke(self) -> None:
        if not self.lazy_poke:
            if self.lazy:
                self.switch_mm_irqs_off(Mm.OTHERS, "init_mm (leave_mm)")
        with atomic("use_temporary_mm(): keeps loaded_mm for later"):
            self.saved = self.loaded
            self.poked += 1
        self.switch_mm_irqs_off(Mm.OTHERS, "poking_mm")
        if self.saved == Mm.OURS:
            self.switch_mm_irqs_off(Mm.OURS, "the mm it had kept")
        self.saved = Mm.OURS

    @rule(lane="CPU 1")
    def flush_tlb_func(self) -> None:
        """Takes the IPI: flush_tlb_func(), or drop_mm_ref_this_cpu() at exit."""
        wait(self.asked and not self.irqs_off)
        self.mem.locked(TARGET)
        self.asked = False
        if self.loaded == Mm.OURS:
            if self.lazy or self.exits:
                self.leave_mm()
            else:
                self.tlb.flush_space(TARGET, Mm.OURS)
                event("flush", cpu=TARGET, mm=0)
                self.local_gen = self.mem.cell[Place.GEN]

    def leave_mm(self) -> None:
        """Switch to init_mm, at once: interrupts are off, and who asked waits."""
        self.lazy = False
        self.loaded = Mm.OTHERS
        self.mem.commit(TARGET, Place.LAZY, 0)
        self.mem.commit(TARGET, Place.MASK, 0)
        self.mem.commit(TARGET, Place.LOADED, Mm.OTHERS)
        self.tlb.write_cr3(TARGET, Mm.OTHERS, no_flush=True)

    @rule(lane="CPU 1")
    def access(self) -> None:
        """Accesses the mm's page through its TLB."""
        wait(self.curr == Task.THREAD and self.loaded == Mm.OURS)
        wait(self.tlb.held[TARGET][Mm.OURS][0][0])
        event("reach", cpu=TARGET, mm=0)

    @rule(lane="CPU 1's page walker")
    def walk(self) -> None:
        """Walks the page table it kept a pointer to, for a speculative access."""
        wait(self.tlb.loaded[TARGET] == Mm.OURS)
        wait(self.tlb.points[TARGET][Mm.OURS] and not self.tlb.linked[Mm.OURS])
        event("reach", cpu=TARGET, mm=0)

    # CPU 0.

    @process(lane="CPU 0")
    def flusher(self) -> None:
        if self.exits:
            self.exit_mmap()
        else:
            self.flush_tlb_mm_range()

    def flush_tlb_mm_range(self) -> None:
        if self.frees == "page":
            with atomic("clears the page-table entry of a page"):
                self.tlb.map(Mm.OURS, 0, 0)
                event("clear", mm=0)
        else:
            with atomic("takes a page table out of the directory"):
                self.tlb.unlink(Mm.OURS)
                event("clear", mm=0)
        with atomic("flush_tlb_mm_range(): inc_mm_tlb_gen(), a full barrier"):
            self.mem.add(FLUSHER, Place.GEN, 1)
        with atomic("flush_tlb_mm_range(): reads mm_cpumask"):
            bit = self.mem.load(FLUSHER, Place.MASK)
            self.asks = bit == 1
        if self.asks:
            if self.frees == "page" or self.spare_lazy:
                self.should_flush_tlb()
            if self.asks:
                self.ask("flush_tlb_multi(): IPI to CPU 1")
        if self.frees == "table" and self.tables == "rcu":
            with atomic("tlb_remove_table_rcu(): after a grace period, which interrupts off hold up"):
                wait(not self.irqs_off)
        with atomic("frees the page or the page table"):
            self.tlb.free_table(Mm.OURS)
            self.freed = True
            event("free", mm=0)

    def should_flush_tlb(self) -> None:
        with atomic("should_flush_tlb(): reads CPU 1's loaded_mm"):
            loaded = self.mem.load(FLUSHER, Place.LOADED)
            self.told = loaded
        with atomic("should_flush_tlb(): smp_rmb(), reads CPU 1's is_lazy, decides"):
            lazy = self.mem.load(FLUSHER, Place.LAZY)
            self.asks = lazy == 0 and (
                self.told == Mm.OURS or (self.told == Mm.SWITCHING and not self.ignore_switching)
            )

    def exit_mmap(self) -> None:
        with atomic("xen_exit_mmap(), xen_drop_mm_ref(): reads mm_cpumask"):
            bit = self.mem.load(FLUSHER, Place.MASK)
            self.asks = bit == 1
        with atomic("xen_drop_mm_ref(): adds CPU 1 if it has the tables in CR3"):
            self.asks = self.asks or self.tlb.loaded[TARGET] == Mm.OURS
        if self.asks:
            self.ask("xen_drop_mm_ref(): IPI to CPU 1")
        with atomic("xen_exit_mmap(): no CPU has the mm loaded, unpins its page tables"):
            self.freed = True

    def ask(self, what: str) -> None:
        with atomic(what):
            self.mem.locked(FLUSHER)
            self.asked = True
        with atomic("CPU 1 has answered"):
            wait(not self.asked)

    # The same as the contract says by events, said by the state of the hardware.
    @never(
        "freed-in-reach",
        "no CPU has within reach what was freed: a page by its TLB, a page table by its page walker",
        "what the CPU holds leads to somebody else's memory",
    )
    def freed_in_reach(self) -> bool:
        return (
            self.freed
            and not self.exits
            and (
                (self.curr == Task.THREAD and self.loaded == Mm.OURS and self.tlb.held[TARGET][Mm.OURS][0][0])
                or (not self.tlb.linked[Mm.OURS] and self.tlb.walks_freed(TARGET))
            )
        )

    @never(
        "dead-mm",
        "no CPU has page tables loaded that were given up",
        "the next page-table write or TLB fill goes to memory that is somebody else's",
    )
    def dead_mm(self) -> bool:
        return self.exits and self.freed and self.tlb.loaded[TARGET] == Mm.OURS

    @sometimes("scene-lazy", "something is freed while CPU 1 is lazy and was not asked")
    def lazily_spared(self) -> bool:
        return self.frees != "page" or (self.freed and self.lazy and self.loaded == Mm.OURS and not self.asks)

    @sometimes("scene-switching", "CPU 1 is asked while it is switching to the mm")
    def asked_while_switching(self) -> bool:
        return self.asked and self.irqs_off

    @sometimes("scene-back", "the thread runs again after that")
    def back(self) -> bool:
        return self.exits or (self.freed and self.curr == Task.THREAD and not self.irqs_off)
