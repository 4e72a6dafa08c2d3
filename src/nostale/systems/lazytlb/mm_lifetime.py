"""How long an mm lives that kernel threads borrow: mm_count, active_mm, and what must not be interrupted.

CPU 1 runs a thread of process A, a thread of process B and a kernel thread that may exec; on CPU 0 the other thread of
A exits, and somebody calls membarrier(GLOBAL_EXPEDITED). Sources, all v6.12: kernel/sched/core.c, context_switch(),
finish_task_switch(); kernel/exit.c, exit_mm(); kernel/fork.c, __mmdrop(), cleanup_lazy_tlbs(); fs/exec.c, exec_mmap();
arch/powerpc/mm/book3s64/radix_tlb.c, exit_lazy_flush_tlb(); kernel/sched/membarrier.c, membarrier_global_expedited().
"""

from __future__ import annotations

from enum import IntEnum

from nostale.prove import (
    Model,
    array,
    atomic,
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
from nostale.prove.hardware.tasks import only_where


class Task(IntEnum):
    """What runs on CPU 1."""

    OF_A = 0
    OF_B = 1
    KTHREAD = 2


class Mm(IntEnum):
    """An mm, or none."""

    NONE = 0
    INIT = 1  # init_mm, which is never freed
    A = 2
    B = 3
    NEW = 4  # of the exec


COUNTED = (Mm.A, Mm.B, Mm.NEW)
MANY = 3  # references that are held at once; where some leak, more are not told apart
TASKS = tuple(Task)


class MmLifetime(Model):
    """References to an mm, with switches, exec and exit at every step where interrupts are on."""

    system = "lazytlb"
    title = "no mm is freed while a task or a CPU still has it, and user tasks run on their own page tables"
    not_modelled = (
        "mm_users beyond two threads, use_mm, vfork, CPU hotplug, RCU-delayed drops, the contents of page tables, "
        "store buffers: mm_count is changed by fully ordered operations"
    )

    lazies = param(
        "refcount", "what keeps a borrowed mm: mm_count, or an IPI when it is freed", choices=("refcount", "shootdown")
    )
    switch_by = param(
        "prev", "what switch_mm() compares with: active_mm of the task before (powerpc), or loaded_mm (x86)",
        choices=("prev", "loaded"),
    )  # fmt: skip
    flushes_lazily = param(True, "exit_mmap() switches its CPU to init_mm (powerpc's exit_lazy_flush_tlb)")

    exec_irqs_on = variant("exec_mmap() reads and sets active_mm with interrupts on (before d53c3dfb23c4)")
    exit_irqs_on = variant("exit_lazy_flush_tlb() runs with interrupts on (before dfaed3e1fa70)")
    reads_through_mm = variant("membarrier reads p->mm->membarrier_state (before 227a4aadc75b)")
    no_lazy_reference = variant("enter_lazy_tlb() takes no reference, and nobody interrupts lazy CPUs")
    no_shootdown = variant("lazy CPUs are not interrupted before the mm is freed: asks for shootdown", expect="holds")

    def build(self) -> None:
        self.counts = self.lazies == "refcount" and not self.no_lazy_reference
        self.shoots = self.lazies == "shootdown" and not self.no_shootdown
        # Every task, and the CPU.
        self.mm: list[int] = [one_of(Mm, first=mm) for mm in (Mm.A, Mm.B, Mm.NONE)]
        self.active: list[int] = [one_of(Mm, first=mm) for mm in (Mm.A, Mm.B, Mm.NONE)]
        self.curr: int = one_of(Task)
        self.loaded: int = one_of(Mm, first=Mm.A)
        self.prev_mm: int = one_of(Mm)
        self.finishing = flag()
        self.irqs_off = flag()
        self.dead = flag()
        # Every mm. Threads of A hold one reference together, B's and NEW's own threads one each.
        self.count = [upto(MANY, first=1 if mm in COUNTED else 0) for mm in Mm]
        self.freed = array(len(Mm), flag)
        self.users_of_a = upto(2, first=2)
        self.overdropped = flag()
        # exec_mmap()'s local, exit_lazy_flush_tlb()'s test, the IPI, membarrier's look.
        self.exec_old: int = one_of(Mm)
        self.is_lazy_here = flag()
        self.last = flag()
        self.remote_last = flag()
        self.asked = flag()
        self.looked: int = one_of(Mm)
        self.read_freed = flag()

    def grab(self, mm: int) -> None:
        for one in COUNTED:
            if mm == one:
                self.count[one] = MANY if self.count[one] == MANY else self.count[one] + 1

    def drop(self, mm: int) -> None:
        for one in COUNTED:
            if mm == one:
                self.overdropped = self.overdropped or self.count[one] == 0
                self.freed[one] = self.freed[one] or self.count[one] == 1
                self.count[one] = 0 if self.count[one] == 0 else self.count[one] - 1

    def grab_lazy(self, mm: int) -> None:
        if self.counts:
            self.grab(mm)

    def drop_lazy(self, mm: int) -> None:
        if self.counts:
            self.drop(mm)

    def switch_mm(self, before: int, mm: int) -> None:
        """Loads `mm`; nothing to do where the one before is the same."""
        if self.switch_by == "loaded" or before != mm:
            self.loaded = mm

    # CPU 1: the scheduler.

    @rule(lane="CPU 1")
    def to_a(self) -> None:
        """context_switch() to the thread of A."""
        wait(not self.dead)
        self.context_switch(Task.OF_A)

    @rule(lane="CPU 1")
    def to_b(self) -> None:
        """context_switch() to the thread of B."""
        self.context_switch(Task.OF_B)

    @rule(lane="CPU 1")
    def to_kthread(self) -> None:
        """context_switch() to the kernel thread."""
        self.context_switch(Task.KTHREAD)

    def context_switch(self, to: int) -> None:
        wait(self.curr != to and not self.irqs_off and not self.finishing)
        before = self.active[self.curr]
        borrowed = self.mm[self.curr] == Mm.NONE
        if self.mm[to] == Mm.NONE:
            self.active[to] = before
            if not borrowed:
                self.grab_lazy(before)
        else:
            self.switch_mm(before, self.mm[to])
            if borrowed:
                self.prev_mm = before
        if borrowed:
            self.active[self.curr] = Mm.NONE
        self.curr = to
        self.finishing = True

    @rule(lane="CPU 1")
    def finish_task_switch(self) -> None:
        """finish_task_switch(): mmdrop_lazy_tlb() of what was borrowed until now."""
        wait(self.finishing)
        self.drop_lazy(self.prev_mm)
        self.prev_mm = Mm.NONE
        self.finishing = False

    def runs(self, task: int) -> bool:
        return self.curr == task and not self.finishing

    # CPU 1: the kernel thread execs.

    @process(lane="kernel thread")
    def exec_mmap(self) -> None:
        with atomic("exec_mmap(): reads tsk->active_mm"):
            only_where(self.runs(Task.KTHREAD))
            self.irqs_off = not self.exec_irqs_on
            self.exec_old = self.active[Task.KTHREAD]
        with atomic("exec_mmap(): sets tsk->active_mm and tsk->mm"):
            only_where(self.runs(Task.KTHREAD))
            self.active[Task.KTHREAD] = Mm.NEW
            self.mm[Task.KTHREAD] = Mm.NEW
        with atomic("exec_mmap(): activate_mm()"):
            only_where(self.runs(Task.KTHREAD))
            self.switch_mm(self.exec_old, Mm.NEW)
            self.irqs_off = False
        with atomic("exec_mmap(): mmdrop_lazy_tlb() of the active_mm it had read"):
            only_where(self.runs(Task.KTHREAD))
            self.drop_lazy(self.exec_old)
            self.exec_old = Mm.NONE

    # CPU 1: the thread of A exits.

    @process(lane="thread of A")
    def do_exit(self) -> None:
        with atomic("exit_mm(): keeps the mm as a lazy one, clears current->mm"):
            only_where(self.runs(Task.OF_A))
            self.grab_lazy(Mm.A)
            self.mm[Task.OF_A] = Mm.NONE
        with atomic("exit_mm(): mmput()"):
            only_where(self.runs(Task.OF_A))
            self.users_of_a -= 1
            self.last = self.users_of_a == 0
        if self.last:
            if self.flushes_lazily:
                self.exit_lazy_flush_tlb()
            with atomic("mmput(), mmdrop(): the threads' reference"):
                only_where(self.runs(Task.OF_A))
                self.shoot_lazies_here()
                self.drop(Mm.A)
        with atomic("do_task_dead(): the thread will not run again"):
            only_where(self.runs(Task.OF_A))
            self.dead = True

    def exit_lazy_flush_tlb(self) -> None:
        with atomic("exit_mmap(), exit_lazy_flush_tlb(): is the mm current->active_mm?"):
            only_where(self.runs(Task.OF_A))
            self.irqs_off = not self.exit_irqs_on
            self.is_lazy_here = self.active[Task.OF_A] == Mm.A
        if self.is_lazy_here:
            with atomic("exit_lazy_flush_tlb(): current->active_mm = &init_mm"):
                only_where(self.runs(Task.OF_A))
                self.active[Task.OF_A] = Mm.INIT
            with atomic("exit_lazy_flush_tlb(): switch_mm_irqs_off(mm, &init_mm)"):
                only_where(self.runs(Task.OF_A))
                self.switch_mm(Mm.A, Mm.INIT)
            with atomic("exit_lazy_flush_tlb(): mmdrop_lazy_tlb(mm)"):
                only_where(self.runs(Task.OF_A))
                self.drop_lazy(Mm.A)
        with atomic("exit_lazy_flush_tlb() is done"):
            only_where(self.runs(Task.OF_A))
            self.irqs_off = False
            self.is_lazy_here = False

    def shoot_lazies_here(self) -> None:
        """do_shoot_lazy_tlb(), on the CPU that frees the mm, or by the IPI."""
        if self.shoots:
            if self.active[self.curr] == Mm.A:
                self.active[self.curr] = Mm.INIT
                self.switch_mm(Mm.A, Mm.INIT)

    # CPU 0.

    @process(lane="CPU 0")
    def exit_elsewhere(self) -> None:
        with atomic("another thread of A exits: mmput()"):
            self.users_of_a -= 1
            self.remote_last = self.users_of_a == 0
        if self.remote_last:
            if self.shoots:
                self.shoot_lazies()
            with atomic("mmput(), mmdrop(): the threads' reference"):
                self.drop(Mm.A)

    @removable("shootdown")
    def shoot_lazies(self) -> None:
        with atomic("__mmdrop(), cleanup_lazy_tlbs(): IPI to CPU 1"):
            self.asked = True
        with atomic("CPU 1 has answered"):
            wait(not self.asked)

    @rule(lane="CPU 1")
    def do_shoot_lazy_tlb(self) -> None:
        """Takes the IPI: do_shoot_lazy_tlb()."""
        wait(self.asked and not self.irqs_off and not self.finishing)
        self.asked = False
        self.shoot_lazies_here()

    @process(lane="membarrier")
    def membarrier(self) -> None:
        with atomic("membarrier_global_expedited(): reads rq->curr->mm of CPU 1"):
            self.looked = self.mm[self.curr]
        if self.reads_through_mm:
            with atomic("membarrier_global_expedited(): reads p->mm->membarrier_state"):
                self.read_freed = self.freed[self.looked]
        with atomic("membarrier_global_expedited() is done with CPU 1"):
            self.looked = Mm.NONE

    # What is asked.

    @never(
        "freed-in-use",
        "no mm is freed that a task has, borrows or that is loaded",
        "whoever runs next on it uses freed page tables",
    )
    def freed_in_use(self) -> bool:
        return any(
            self.freed[one]
            and (
                any(self.mm[task] == one or self.active[task] == one for task in TASKS)
                or self.loaded == one
                or self.prev_mm == one
            )
            for one in COUNTED
        )

    @never("dropped-twice", "no reference is dropped that was not taken", "somebody else's reference is gone")
    def dropped_twice(self) -> bool:
        return self.overdropped

    @never(
        "wrong-tables",
        "a task with an mm runs on that mm's page tables",
        "its accesses go to another process's memory, or fault for ever",
    )
    def wrong_tables(self) -> bool:
        return (
            self.mm[self.curr] != Mm.NONE
            and not self.irqs_off
            and not self.finishing
            and self.loaded != self.mm[self.curr]
        )

    @never("freed-mm-read", "membarrier reads nothing of an mm that is freed", "what it reads is somebody else's")
    def freed_mm_read(self) -> bool:
        return self.read_freed

    @sometimes("scene-borrowed", "the kernel thread runs on a borrowed mm whose last thread is gone")
    def outlives(self) -> bool:
        return self.curr == Task.KTHREAD and self.loaded == Mm.A and self.users_of_a == 0

    @sometimes("scene-freed", "A's mm is freed")
    def is_freed(self) -> bool:
        return self.freed[Mm.A]

    @sometimes("scene-exec", "the kernel thread has become a process")
    def has_execed(self) -> bool:
        return self.mm[Task.KTHREAD] == Mm.NEW and self.loaded == Mm.NEW and not self.irqs_off
