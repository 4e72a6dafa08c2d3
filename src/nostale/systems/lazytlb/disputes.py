"""What was argued about lazy TLB mode and membarrier's core sync, and the models that decide it."""

from __future__ import annotations

from nostale.systems.claims import Dispute, Settings
from nostale.systems.lazytlb.contract import CORE_SYNC
from nostale.systems.lazytlb.core_sync import MACHINES, CoreSync, KthreadUseMm


def _there_is(one: Settings) -> bool:
    """Leave out what nobody proposed: the change to arch/x86/mm/tlb.c on another architecture."""
    return one["hook"] != "tlb.c" or one["machine"].startswith("x86")


def _is_open(one: Settings) -> bool:
    """Whether delivery serialises is open on x86 only; arm64's exception entry synchronises, riscv's trap does not."""
    return one["delivery"] == "no" or one["machine"].startswith("x86")


DISPUTES = (
    Dispute(
        id="D3",
        question="is a CPU covered whose kernel thread has used the mm and then switches back to a thread of it?",
        sides=(
            (
                "Nicholas Piggin (LT-4)",
                "no: kthread_use_mm() leaves lazy mode without an mm switch, and the switch back is then no lazy one "
                "either; the sync belongs where lazy mode ends, in exit_lazy_tlb",
            ),
            (
                "Andy Lutomirski (LT-5, LT-7)",
                "exit_lazy_tlb has no clear promise; what relies on the mm switch serialising is an accident and "
                "belongs into the architecture's code, in the return of switch_mm_irqs_off() that writes no CR3",
            ),
            (
                "kernel/sched/core.c, v6.12",
                "the hook in finish_task_switch() runs if the task before had no mm, and neither change was merged",
            ),
        ),
        model=KthreadUseMm,
        asked=(CORE_SYNC.id,),
        over={
            "machine": MACHINES,
            "hook": ("finish_task_switch", "exit_lazy_tlb", "tlb.c"),
            "use_mm": ("no", "whole", "switched"),
            "left_by": ("syscall", "interrupt"),
        },
        # The caller goes back by a system call whatever the sibling does: it would hide what the return decides.
        settings={"caller_runs": "no"},
        exists=_there_is,
        exists_why="the hook tlb.c, a change to arch/x86/mm/tlb.c, on other architectures",
    ),
    Dispute(
        id="D6",
        question="does the IPI by itself synchronise its target, so that the function need not?",
        sides=(
            (
                "kernel/sched/membarrier.c, v6.12",
                "IPIs should be serialising, but the function is paranoid and does it all the same",
            ),
            (
                "Andy Lutomirski (LT-11)",
                "return from an interrupt may cease to serialise; and an interrupt may reschedule before it returns",
            ),
            (
                "SDM vol. 3, Serializing Instructions; FRED specification",
                "delivery of an interrupt is not on the list; IRET is, ERETS and ERETU are not",
            ),
        ),
        model=CoreSync,
        asked=(CORE_SYNC.id,),
        over={"machine": MACHINES, "delivery": ("no", "yes"), "between": ("nothing", "thread")},
        variant="skip-in-irq",
        settings={"use_mm": "no"},
        exists=_is_open,
        exists_why="delivery = yes where the architecture leaves it not open: arm64 synchronises on entry, riscv never",
    ),
    Dispute(
        id="D7",
        question="does every switch of mm write CR3 and so serialise, whatever way it takes?",
        sides=(
            (
                "arch/x86/mm/tlb.c, v6.12",
                "writing to CR3 provides the full memory barrier and the core serialisation that membarrier needs",
            ),
            (
                "Andy Lutomirski (LT-7, LT-8)",
                "that is an accident: two ways through switch_mm_irqs_off() write no CR3, and hardware may come whose "
                "switch of mm does not serialise",
            ),
        ),
        model=CoreSync,
        asked=(CORE_SYNC.id,),
        over={
            "hook": ("none", "finish_task_switch"),
            "between": ("nothing", "process", "kthread"),
            "unmaps": ("never", "always"),
            "pcid": ("yes", "no"),
            "cr3": ("every", "flushing", "none"),
        },
        settings={"use_mm": "no"},
    ),
)
