"""membarrier(SYNC_CORE) against the scheduler: may a CPU come back to user mode without having synchronised its core?

Two CPUs. A thread of a registered mm rewrites code and calls membarrier(); a sibling thread, a kernel thread and a
thread of another process run beside it, and both threads of the mm may run on either CPU. Every step is named after
the function it stands for: kernel/sched/membarrier.c, kernel/sched/core.c, kernel/kthread.c, arch/x86/mm/tlb.c,
arch/x86/include/asm/sync_core.h, arch/riscv/mm/context.c, arch/riscv/include/asm/sync_core.h, all v6.12. The hook
`exit_lazy_tlb` is Nicholas Piggin's of July 2020 (called where lazy mode ends: in context_switch() and
kthread_use_mm()), `tlb.c` Andy Lutomirski's "x86/mm: Handle unlazying membarrier core sync in the arch code".
Of the syncs only that of an IPI in kernel mode is not load-bearing, where its IRET serialises (x86 without FRED): the
function cannot know how its interrupt will return.
"""

from __future__ import annotations

from enum import IntEnum

from nostale.contract import FRESH, Binding, Bound, Grade
from nostale.prove import (
    Bind,
    Model,
    array,
    atomic,
    event,
    flag,
    one_of,
    param,
    process,
    removable,
    rule,
    sometimes,
    variant,
    wait,
)
from nostale.prove.hardware.serialising import serialises
from nostale.prove.hardware.tasks import only_where
from nostale.systems.lazytlb.contract import CORE_SYNC

MACHINES = ("x86", "x86-pti", "x86-fred", "arm64", "riscv")
HOOKS = ("finish_task_switch", "exit_lazy_tlb", "tlb.c", "none")
USES = ("no", "whole", "switched")
CPUS = (0, 1)


class Task(IntEnum):
    """Who runs."""

    CALLER = 0  # of the registered mm, calls membarrier()
    SIBLING = 1  # of the registered mm
    KTHREAD = 2
    OTHER = 3  # of another process, or a third one of the registered mm


class Mm(IntEnum):
    """Whose page tables."""

    NONE = 0
    OURS = 1  # registered for SYNC_CORE
    OTHERS = 2


class Mode(IntEnum):
    """How far a CPU is."""

    USER = 0
    KERNEL = 1  # in its task's context, interrupts on
    PICKED = 2  # context_switch(), interrupts off: rq->curr is stored
    SWITCHED = 3  # switch_mm() is behind it; finish_task_switch() has interrupts on again
    USING = 4  # kthread_use_mm(), interrupts off: tsk->mm is stored


class Entered(IntEnum):
    """By what a thread left user mode: it goes back by the return that belongs to it."""

    SYSCALL = 0
    INTERRUPT = 1


IN_PROVE = Binding(
    CORE_SYNC,
    engine="prove",
    bound={
        "rewrite": Bound("the caller's stores to its code", Grade.EXACT),
        "sync": Bound("a serialising event of the machine", Grade.EXACT),
        "run": Bound("a thread of the mm in user mode", Grade.EXACT),
        "return": Bound("membarrier() returns to user mode", Grade.EXACT),
    },
    start=FRESH,
    start_why="no code has been rewritten yet",
)


class _Switching(Model):
    """Calls of membarrier(SYNC_CORE), with threads that come and go on both CPUs."""

    system = "lazytlb"
    title = "after membarrier(SYNC_CORE) no CPU goes back to user mode with old code"
    not_modelled = (
        "store buffers (see lazytlb.memory-barrier), kernel preemption at the end of an interrupt, further interrupts "
        "(each IRET on the way would only help), init_mm as what a lazy CPU is switched to, registration and exec, "
        "guests, CPU hotplug, SERIALIZE against IRET, callers beside each other (a mutex keeps them apart)"
    )

    machine = param("x86", "how the kernel is left, and what synchronises a core", choices=MACHINES)
    hook = param("finish_task_switch", "where the core is synchronised after lazy mode", choices=HOOKS)
    use_mm = param(
        "whole",
        "kthread_use_mm() of the mm: none (no), without a switch before kthread_unuse_mm() (whole), or with (switched)",
        choices=USES,
    )
    left_by = param(
        "both", "how the mm's threads leave user mode on their own account", choices=("both", "syscall", "interrupt")
    )
    between = param(
        "all",
        "what CPU 1 may run beside: a kernel thread, another process, both, a third thread of the mm, or nothing",
        choices=("all", "kthread", "process", "thread", "nothing"),
    )
    unmaps = param(
        "may",
        "whether tlb_gen has moved when a lazy CPU comes back: a munmap() may come, comes always, or never",
        choices=("may", "always", "never"),
    )
    pcid = param(True, "PCIDs: a CR3 write does not flush where tlb_gen has not moved")
    cr3 = param("every", "which CR3 writes serialise", choices=("every", "flushing", "none"))
    delivery = param(False, "delivery of an interrupt serialises (arm64: it does)")
    calls = param(1, "rewrites, each with a call after it")
    caller_runs = param(True, "the caller runs the new code too, not only its sibling")

    skip_self = skip_in_irq = no_prepare = False

    def build(self) -> None:
        self.cpus = 2
        self.curr: list[int] = [one_of(Task, first=Task.CALLER), one_of(Task, first=Task.SIBLING)]
        self.mode: list[int] = array(2, lambda: one_of(Mode))
        self.entered: list[int] = array(4, lambda: one_of(Entered))
        # What the CPU has loaded, whether lazily, and rq->prev_mm: what was borrowed until this switch.
        self.loaded: list[int] = array(2, lambda: one_of(Mm, first=Mm.OURS))
        self.lazy = array(2, flag)
        self.prev_mm: list[int] = array(2, lambda: one_of(Mm))
        self.behind = array(2, flag)
        self.stale_mask = array(2, flag)
        self.unmapped = flag()
        self.uses = flag()
        self.in_call = flag()
        self.no_preempt = flag()
        self.collected = array(2, flag)
        self.asked = array(2, flag)
        self.returned = flag()
        # The machine, in words of `serialising`.
        riscv, arm64 = self.machine == "riscv", self.machine == "arm64"
        self.is_x86 = not riscv and not arm64
        self.cr3_flushes = self.is_x86 and self.cr3 in ("every", "flushing") and serialises("MOV CR3")
        self.cr3_no_flush = self.is_x86 and self.cr3 == "every" and serialises("MOV CR3 no-flush")
        pti_exit = self.machine == "x86-pti" and (self.cr3_no_flush if self.pcid else self.cr3_flushes)
        returns = {
            "x86": (serialises("SYSRET"), serialises("IRET")),
            "x86-pti": (pti_exit or serialises("SYSRET"), pti_exit or serialises("IRET")),
            "x86-fred": (serialises("ERETU"), serialises("ERETU")),
            "arm64": (serialises("ERET", arch="arm64"),) * 2,
            "riscv": (serialises("xRET", arch="riscv"),) * 2,
        }
        self.syscall_return, self.interrupt_return = returns[self.machine]
        self.kernel_return = serialises("ERETS") if self.machine == "x86-fred" else self.interrupt_return
        self.delivers = serialises("exception entry", arch="arm64") if arm64 else self.is_x86 and self.delivery
        # With PTI and on arm64 sync_core_before_usermode() is empty: every return does it.
        self.explicit = self.machine in ("x86", "x86-fred", "riscv")
        self.kthread_there = self.between in ("all", "kthread")
        self.other_there = self.between in ("all", "process", "thread")
        self.other_mm = Mm.OURS if self.between == "thread" else Mm.OTHERS

    def contracts(self) -> tuple[Bind, ...]:
        return (Bind(IN_PROVE, {"cpu": 2, "mm": 1}),)

    def assumptions(self) -> tuple[str, ...]:
        says = {True: "serialises", False: "does not serialise"}
        syscall, interrupt, delivery = (
            says[one] for one in (self.syscall_return, self.interrupt_return, self.delivers)
        )
        told = [
            f"machine = {self.machine}: return from a system call {syscall}, return from an interrupt to user mode "
            f"{interrupt}, delivery of one {delivery}"
        ]
        if self.is_x86:
            told.append(f"cr3 = {self.cr3}: these CR3 writes serialise; {'PCIDs' if self.pcid else 'no PCIDs'}")
        if self.use_mm == "whole" and self.kthread_there:
            told.append("no kernel thread is switched out between kthread_use_mm() and kthread_unuse_mm(); see D3")
        return tuple(told)

    def mm(self, cpu: int) -> int:
        """rq->curr->mm."""
        return (
            Mm.NONE
            if self.curr[cpu] == Task.KTHREAD and not self.uses
            else self.other_mm
            if self.curr[cpu] == Task.OTHER
            else Mm.OURS
        )

    def caller_in(self, mode: int) -> bool:
        return any(self.curr[cpu] == Task.CALLER and self.mode[cpu] == mode for cpu in CPUS)

    def core_syncs(self, cpu: int) -> None:
        event("sync", cpu=cpu)

    def sync_core_before_usermode(self, cpu: int) -> None:
        if self.explicit:
            self.sync_core(cpu)

    @removable("core sync")
    def sync_core(self, cpu: int) -> None:
        self.core_syncs(cpu)

    # membarrier(), by a thread that may be switched out, and go on elsewhere, between any two steps.

    @process(lane="caller")
    def membarrier(self) -> None:
        for _ in range(self.calls):
            self.rewrite_and_call()

    def rewrite_and_call(self) -> None:
        with atomic("rewrites code of its mm"):
            only_where(self.caller_in(Mode.USER))
            event("rewrite", mm=0)
        with atomic("membarrier(SYNC_CORE): enters by a system call"):
            only_where(self.caller_in(Mode.USER))
            self.in_call = True
            self.entered[Task.CALLER] = Entered.SYSCALL
            for cpu in CPUS:
                if self.curr[cpu] == Task.CALLER:
                    self.mode[cpu] = Mode.KERNEL
        if self.machine == "riscv" and not self.no_prepare:
            self.prepare_sync_core_cmd()
        for cpu in CPUS:
            with atomic(f"membarrier_private_expedited(): reads rq->curr->mm of CPU {cpu}"):
                only_where(self.caller_in(Mode.KERNEL))
                self.collected[cpu] = self.mm(cpu) == Mm.OURS
        with atomic("on_each_cpu_mask(): sends the IPIs, and runs the function here if this CPU is collected"):
            only_where(self.caller_in(Mode.KERNEL))
            self.no_preempt = True
            for cpu in CPUS:
                self.send(cpu)
        with atomic("on_each_cpu_mask(): every CPU has run the function"):
            wait(not any(self.asked))
            self.no_preempt = False
        with atomic("membarrier(SYNC_CORE) returns to user mode"):
            only_where(self.caller_in(Mode.KERNEL))
            self.in_call = False
            self.returned = True
            for cpu in CPUS:
                if self.curr[cpu] == Task.CALLER:
                    self.mode[cpu] = Mode.USER
                    if self.syscall_return:
                        self.core_syncs(cpu)
            event("return", mm=0)

    @removable("stale mask")
    def prepare_sync_core_cmd(self) -> None:
        with atomic("prepare_sync_core_cmd(): the next switch_mm() of every hart runs fence.i"):
            only_where(self.caller_in(Mode.KERNEL))
            for cpu in CPUS:
                self.stale_mask[cpu] = True

    def send(self, cpu: int) -> None:
        if self.collected[cpu]:
            if self.curr[cpu] != Task.CALLER:
                self.asked[cpu] = True
            if not self.skip_self:
                if self.curr[cpu] == Task.CALLER:
                    self.sync_core_before_usermode(cpu)
        self.collected[cpu] = False

    @rule(per="cpus", lane="CPU {}")
    def ipi_from_user(self, cpu: int) -> None:
        """Takes the IPI in user mode, ipi_sync_core(); it may reschedule before it goes back."""
        wait(self.asked[cpu] and self.mode[cpu] == Mode.USER)
        self.ipi_sync_core(cpu)
        self.entered[self.curr[cpu]] = Entered.INTERRUPT
        self.mode[cpu] = Mode.KERNEL

    @rule(per="cpus", lane="CPU {}")
    def ipi_in_kernel(self, cpu: int) -> None:
        """Takes the IPI in kernel mode, ipi_sync_core(), and goes back there."""
        wait(self.asked[cpu] and self.mode[cpu] == Mode.KERNEL)
        self.ipi_sync_core(cpu)
        if self.kernel_return:
            self.core_syncs(cpu)

    def ipi_sync_core(self, cpu: int) -> None:
        self.asked[cpu] = False
        if self.delivers:
            self.core_syncs(cpu)
        if not self.skip_in_irq:
            self.sync_core_before_usermode(cpu)

    # Entering and leaving the kernel.

    @rule(per="cpus", lane="CPU {}")
    def enter_by_syscall(self, cpu: int) -> None:
        """Enters the kernel by a system call."""
        wait(self.mode[cpu] == Mode.USER)
        wait(self.left_by != "interrupt")
        self.entered[self.curr[cpu]] = Entered.SYSCALL
        self.mode[cpu] = Mode.KERNEL

    @rule(per="cpus", lane="CPU {}")
    def enter_by_interrupt(self, cpu: int) -> None:
        """Enters the kernel by an interrupt."""
        wait(self.left_by != "syscall")
        wait(self.mode[cpu] == Mode.USER)
        self.entered[self.curr[cpu]] = Entered.INTERRUPT
        self.mode[cpu] = Mode.KERNEL
        if self.delivers:
            self.core_syncs(cpu)

    @rule(per="cpus", lane="CPU {}")
    def return_from_syscall(self, cpu: int) -> None:
        """Goes back to user mode by the return of a system call."""
        wait(self.entered[self.curr[cpu]] == Entered.SYSCALL)
        self.to_user(cpu)
        if self.syscall_return:
            self.core_syncs(cpu)

    @rule(per="cpus", lane="CPU {}")
    def return_from_interrupt(self, cpu: int) -> None:
        """Goes back to user mode by the return of an interrupt."""
        wait(self.entered[self.curr[cpu]] == Entered.INTERRUPT)
        self.to_user(cpu)
        if self.interrupt_return:
            self.core_syncs(cpu)

    def to_user(self, cpu: int) -> None:
        wait(self.mode[cpu] == Mode.KERNEL and self.curr[cpu] != Task.KTHREAD)
        wait(self.curr[cpu] != Task.CALLER or not self.in_call)
        self.mode[cpu] = Mode.USER

    @rule(per="cpus", lane="CPU {}")
    def run(self, cpu: int) -> None:
        """Runs user code of the mm."""
        wait(self.mode[cpu] == Mode.USER and self.mm(cpu) == Mm.OURS)
        wait(self.caller_runs or self.curr[cpu] != Task.CALLER)
        event("run", cpu=cpu, mm=0)

    # context_switch().

    @rule(per="cpus", lane="CPU {}")
    def to_caller(self, cpu: int) -> None:
        """__schedule(): the caller is next, rq->curr is stored."""
        self.pick_next(cpu, Task.CALLER)

    @rule(per="cpus", lane="CPU {}")
    def to_sibling(self, cpu: int) -> None:
        """__schedule(): the sibling is next, rq->curr is stored."""
        self.pick_next(cpu, Task.SIBLING)

    @rule(lane="CPU 1")
    def to_kthread(self) -> None:
        """__schedule(): the kernel thread is next, rq->curr is stored."""
        wait(self.kthread_there)
        self.pick_next(1, Task.KTHREAD)

    @rule(lane="CPU 1")
    def to_other(self) -> None:
        """__schedule(): the other thread is next, rq->curr is stored."""
        wait(self.other_there)
        self.pick_next(1, Task.OTHER)

    def pick_next(self, cpu: int, task: int) -> None:
        wait(self.mode[cpu] == Mode.KERNEL)
        wait(all(self.curr[other] != task for other in CPUS))
        wait(not (self.curr[cpu] == Task.CALLER and self.no_preempt))
        wait(self.use_mm == "switched" or not (self.curr[cpu] == Task.KTHREAD and self.uses))
        self.prev_mm[cpu] = self.loaded[cpu] if self.mm(cpu) == Mm.NONE else Mm.NONE
        self.curr[cpu] = task
        self.mode[cpu] = Mode.PICKED

    @rule(lane="CPU 1")
    def enter_lazy_tlb(self) -> None:
        """context_switch() to a task without an mm: enter_lazy_tlb(), the mm is borrowed."""
        wait(self.mode[1] == Mode.PICKED and self.mm(1) == Mm.NONE)
        self.lazy[1] = True
        self.mode[1] = Mode.KERNEL

    @rule(per="cpus", lane="CPU {}")
    def context_switch(self, cpu: int) -> None:
        """context_switch() to a task with an mm: switch_mm_irqs_off()."""
        wait(self.mode[cpu] == Mode.PICKED and self.mm(cpu) != Mm.NONE)
        self.switch_mm(cpu)
        if self.prev_mm[cpu] == Mm.OURS:
            self.exit_lazy_tlb(cpu)
        self.mode[cpu] = Mode.SWITCHED

    @rule(per="cpus", lane="CPU {}")
    def finish_task_switch(self, cpu: int) -> None:
        """finish_task_switch(): the hook runs if rq->prev_mm was borrowed and is this task's."""
        wait(self.mode[cpu] == Mode.SWITCHED)
        if self.prev_mm[cpu] == Mm.OURS and self.mm(cpu) == Mm.OURS:
            self.membarrier_mm_sync_core_before_usermode(cpu)
        self.prev_mm[cpu] = Mm.NONE
        self.mode[cpu] = Mode.KERNEL

    def membarrier_mm_sync_core_before_usermode(self, cpu: int) -> None:
        if self.hook == "finish_task_switch":
            self.sync_core_before_usermode(cpu)

    def exit_lazy_tlb(self, cpu: int) -> None:
        """Where the mm is another than the borrowed one, switch_mm_irqs_off() has written CR3."""
        if self.hook == "exit_lazy_tlb":
            if self.mm(cpu) == Mm.OURS:
                self.sync_core_before_usermode(cpu)

    def switch_mm(self, cpu: int) -> None:
        if self.is_x86:
            self.switch_mm_irqs_off(cpu)
        elif self.machine == "riscv":
            if self.loaded[cpu] != Mm.OURS and self.mm(cpu) == Mm.OURS:
                self.flush_icache_deferred(cpu)
        self.loaded[cpu] = self.mm(cpu)
        self.lazy[cpu] = False

    def switch_mm_irqs_off(self, cpu: int) -> None:
        """Three ways out: nothing to do, lazy and tlb_gen current, or a CR3 write."""
        moved = self.unmaps == "always" or self.behind[cpu]
        ours = self.mm(cpu) == Mm.OURS
        if self.loaded[cpu] == self.mm(cpu):
            if self.lazy[cpu]:
                if ours and moved:
                    self.write_cr3(cpu, flush=True)
                if ours and not moved:
                    if self.hook == "tlb.c":
                        self.sync_core_before_usermode(cpu)
        else:
            if moved or not self.pcid:
                self.write_cr3(cpu, flush=True)
            else:
                self.write_cr3(cpu, flush=False)
        if ours:
            self.behind[cpu] = False

    def write_cr3(self, cpu: int, *, flush: bool) -> None:
        if self.cr3_flushes if flush else self.cr3_no_flush:
            self.core_syncs(cpu)

    def flush_icache_deferred(self, cpu: int) -> None:
        if self.stale_mask[cpu]:
            self.core_syncs(cpu)
        self.stale_mask[cpu] = False

    # The kernel thread.

    @rule(lane="CPU 1")
    def kthread_use_mm(self) -> None:
        """kthread_use_mm(): stores tsk->mm, with interrupts off."""
        wait(self.use_mm != "no" and not self.uses)
        wait(self.curr[1] == Task.KTHREAD and self.mode[1] == Mode.KERNEL)
        self.uses = True
        self.prev_mm[1] = self.loaded[1]
        self.mode[1] = Mode.USING

    @rule(lane="CPU 1")
    def kthread_switch_mm(self) -> None:
        """kthread_use_mm(): switch_mm_irqs_off()."""
        wait(self.mode[1] == Mode.USING)
        self.switch_mm(1)
        if self.prev_mm[1] == Mm.OURS:
            self.exit_lazy_tlb(1)
        self.prev_mm[1] = Mm.NONE
        self.mode[1] = Mode.KERNEL

    @rule(lane="CPU 1")
    def kthread_unuse_mm(self) -> None:
        """kthread_unuse_mm(): clears tsk->mm, enter_lazy_tlb()."""
        wait(self.uses)
        wait(self.curr[1] == Task.KTHREAD and self.mode[1] == Mode.KERNEL)
        self.uses = False
        self.lazy[1] = True

    @rule(lane="mm")
    def munmap(self) -> None:
        """A thread unmaps something: tlb_gen moves, and only CPUs that are not lazy flush at once."""
        wait(self.unmaps == "may" and not self.unmapped)
        self.unmapped = True
        for cpu in CPUS:
            self.behind[cpu] = self.lazy[cpu] or self.loaded[cpu] != Mm.OURS

    @sometimes("scene-skipped", "membarrier returns while CPU 1 borrows the mm and got no IPI")
    def skipped(self) -> bool:
        return not self.kthread_there or (self.returned and self.lazy[1] and self.loaded[1] == Mm.OURS)

    @sometimes("scene-back", "the sibling comes back from the kernel thread after that, and runs")
    def back(self) -> bool:
        return not self.kthread_there or (
            self.returned and self.mode[1] == Mode.SWITCHED and self.prev_mm[1] == Mm.OURS and self.mm(1) == Mm.OURS
        )

    @sometimes("scene-from-other", "the sibling comes back from another process after that")
    def from_other(self) -> bool:
        return (
            self.other_mm != Mm.OTHERS
            or not self.other_there
            or (
                self.returned
                and self.mode[1] == Mode.PICKED
                and self.loaded[1] == Mm.OTHERS
                and self.curr[1] == Task.SIBLING
            )
        )

    @sometimes("scene-unlazied", "lazy mode ends by a switch to another mm than the borrowed one (LT-6)")
    def unlazied_by_another(self) -> bool:
        return self.between != "all" or (
            self.mode[1] == Mode.PICKED and self.prev_mm[1] == Mm.OURS and self.mm(1) == Mm.OTHERS
        )

    @sometimes("scene-ipi", "an IPI is on its way to the sibling in user mode")
    def interrupted(self) -> bool:
        return self.asked[1] and self.mode[1] == Mode.USER

    @sometimes("scene-moved", "the sibling runs on the CPU that the caller called from")
    def moved_over(self) -> bool:
        return not (self.kthread_there or self.other_there) or (
            self.returned and self.curr[0] == Task.SIBLING and self.mode[0] == Mode.USER
        )


class CoreSync(_Switching):
    """membarrier(SYNC_CORE) as mainline has it, and with each of its parts taken away."""

    requirements = ("LT-3", "LT-6", "LT-7", "LT-11")

    skip_self = variant("the caller's own CPU gets no IPI (before e45cdc71d1fa)")
    skip_in_irq = variant("the IPI's function leaves the sync to the return from the interrupt (before a493d1ca1a03)")
    no_prepare = variant("prepare_sync_core_cmd() does nothing; it does something on riscv only", expect="holds")


class KthreadUseMm(_Switching):
    """The case that mainline does not cover: a kernel thread that uses the mm is switched out before it is done."""

    title = "after membarrier(SYNC_CORE) no CPU goes from a kernel thread that used the mm to user mode with old code"
    expect = "violated"

    use_mm = param(
        "switched",
        "kthread_use_mm() of the mm: none (no), without a switch before kthread_unuse_mm() (whole), or with (switched: "
        "the kernel thread is preempted, or sleeps in a fault)",
        choices=USES,
    )
