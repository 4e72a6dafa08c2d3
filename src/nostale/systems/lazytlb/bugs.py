"""Real defects of lazy TLB mode, membarrier and mm_cpumask, as runs of the models that must show them."""

from __future__ import annotations

from nostale.systems.claims import Bug, NotShown, Run
from nostale.systems.lazytlb.contract import CORE_SYNC
from nostale.systems.lazytlb.core_sync import CoreSync

_THREADS = {"use_mm": "no", "between": "thread"}
_SIBLING = {"use_mm": "no", "caller_runs": "no"}

BUGS: tuple[Bug | NotShown, ...] = (
    Bug(
        "B27",
        "the core sync is left to the IRET of the interrupt, which may reschedule to a thread that goes back by SYSRET",
        "a493d1ca1a03",
        CoreSync,
        Run("skip-in-irq", _THREADS),
        Run("", _THREADS),
        CORE_SYNC.id,
        (
            "sends the IPIs",
            "CPU 1 Takes the IPI in user mode",
            "CPU 1 __schedule(): the other thread is next",
            "CPU 1 Goes back to user mode by the return of a system call",
            "CPU 1 Runs user code",
        ),
    ),
    Bug(
        "B29",
        "the calling thread's CPU is not synchronised; a sibling that takes its place there runs old code",
        "e45cdc71d1fa",
        CoreSync,
        Run("skip-self", _SIBLING),
        Run("", _SIBLING),
        CORE_SYNC.id,
        (
            "reads rq->curr->mm of CPU 0",
            "membarrier(SYNC_CORE) returns",
            "CPU 0 __schedule(): the sibling is next",
            "CPU 0 Runs user code",
        ),
    ),
)
