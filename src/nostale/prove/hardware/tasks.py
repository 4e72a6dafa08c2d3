"""Tasks and kernel threads on CPUs, and whose page tables each CPU keeps loaded: lazy mm.

A kernel thread has no mm: it borrows that of the task before it, and no CR3 is written. Going back to a task of the
borrowed mm writes none either, unless its mappings changed meanwhile; so between leaving user mode and coming back
there may be no event that serialises (the gap that membarrier's SYNC_CORE closes in finish_task_switch()).
Source: kernel/sched/core.c, context_switch() and finish_task_switch(); arch/x86/mm/tlb.c, switch_mm_irqs_off(), v6.12.
Not modelled: kthread_use_mm(), run queues and wake-ups, migration while a task runs, CPUs that leave an mm's mask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nostale.prove.language import Component, array, flag, upto, wait

NO_MM = 0  # a kernel thread's


def only_where(condition: bool) -> None:
    """Go on only where code can run at all: its task has the CPU, or it is its turn.

    That is how the machine is and no wait of the protocol, so that `--ablate` does not try to take it away.
    """
    wait(condition)


class Tasks(Component):
    """What runs where.

    Args:
        cpus: how many CPUs; CPU n starts with task `first[n]`.
        mms: the mm of each task, numbered from 1; `NO_MM` is a kernel thread.
        first: the task each CPU starts with, and it must have an mm.
        cr3: called with (cpu, mm) where a switch writes CR3: the model's own helper.
    """

    def __init__(self, cpus: int, mms: Sequence[int], first: Sequence[int], cr3: Callable[[int, int], None]) -> None:
        self.cpus, self.mms, self.cr3 = cpus, tuple(mms), cr3
        self.current = [upto(len(mms) - 1, first=task) for task in first]
        self.loaded = [upto(max(mms), first=mms[task]) for task in first]
        self.lazy = array(cpus, flag)
        self.stale = array(cpus, flag)

    def mm(self, cpu: int) -> int:
        """Return the mm of the CPU's current task (rq->curr->mm), `NO_MM` for a kernel thread."""
        return self.mms[self.current[cpu]]

    def in_user_of(self, cpu: int, mm: int) -> bool:
        """Whether the CPU's current task is of `mm`: what membarrier and TLB shootdowns go by."""
        return self.mm(cpu) == mm

    def borrows(self, cpu: int, mm: int) -> bool:
        """Whether the CPU runs a kernel thread on `mm`: what mm_count or a shootdown must cover."""
        return self.lazy[cpu] and self.loaded[cpu] == mm

    def borrowed(self, mm: int) -> bool:
        """Whether any CPU borrows `mm`."""
        return any(self.borrows(cpu, mm) for cpu in range(self.cpus))

    def changed(self, mm: int) -> None:
        """Mappings of `mm` changed (tlb_gen): no lazy CPU is interrupted; each writes CR3 on its way back."""
        for cpu in range(self.cpus):
            self.stale[cpu] = self.stale[cpu] or self.borrows(cpu, mm)

    def switch(self, cpu: int, task: int) -> None:
        """context_switch(): to a kernel thread lazily, to a task of another or a changed mm by a CR3 write."""
        self.current[cpu] = task
        if self.mms[task] == NO_MM:
            self.lazy[cpu] = True
        else:
            if self.loaded[cpu] != self.mms[task] or self.stale[cpu]:
                self.cr3(cpu, self.mms[task])
            self.loaded[cpu] = self.mms[task]
            self.lazy[cpu] = False
            self.stale[cpu] = False
