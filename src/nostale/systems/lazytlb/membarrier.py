"""membarrier(SYNC_CORE) as a trace can show it: a thread of the mm that ran throughout was interrupted by it."""

from __future__ import annotations

from typing import Final

from nostale.contract import Contract, Event, Role, Source

INTERRUPTS: Final = Contract(
    id="lazytlb.membarrier-interrupts",
    title="membarrier(SYNC_CORE) returns only after every CPU that ran the mm throughout has synchronised its core",
    why="the caller goes on to let the other threads execute the code that it wrote; a CPU that has not synchronised "
    "may run what stood there before",
    remedy="send the IPI to every CPU whose current task has the caller's mm, and wait for it",
    keys=("call", "thread"),
    observer="thread",
    events=(
        Event("call", Role.CHANGE, ("call", "thread"), "membarrier(SYNC_CORE) is called while the thread runs the mm"),
        Event("core-sync", Role.SYNC, ("call", "thread"), "the thread's CPU runs ipi_sync_core() during the call"),
        Event("return", Role.RELY, ("call", "thread"), "membarrier returns 0, the thread having run throughout"),
    ),
    requirements=("LT-1",),
    sources=(
        Source("membarrier(2), MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE"),
        Source("kernel/sched/membarrier.c, membarrier_private_expedited(), v6.12"),
    ),
)
