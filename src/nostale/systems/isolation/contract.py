"""What must hold for a CPU that is not told at once: it runs nothing stale once the change is declared done."""

from __future__ import annotations

from nostale.contract import Automaton, Contract, Event, Role, Source
from nostale.systems.drift import drift_contract

# Before the changer returns an old view is legal: it must cope with that itself, as the INT3 protocol does. After, not.
_DEFERRED = [
    ("fresh", "change", "stale"),
    ("stale", "change", "stale"),
    ("overdue", "change", "overdue"),
    *((state, "sync", "fresh") for state in ("fresh", "stale", "overdue")),
    ("fresh", "use", "fresh"),
    ("stale", "use", "stale"),
    ("fresh", "done", "fresh"),
    ("stale", "done", "overdue"),
    ("overdue", "done", "overdue"),
]

_SOURCES = (
    Source("context_tracking,x86: Defer some IPIs until a user->kernel transition, v1 (July 2023) to v8 (March 2026)"),
    Source("review of task isolation, Thomas Gleixner, 23 July 2020: instruction synchronisation, delayed"),
)

DEFERRED_SYNC = Contract(
    id="isolation.deferred-sync",
    title="once a patch is done, no CPU executes the old text, however it was told",
    why="the patcher spares a CPU in user mode its IPI and returns; if that CPU executes the old instruction later, "
    "the change is not in force where it is relied on, and nothing will tell",
    remedy="decide whether to spare a CPU by the same atomic word that says it is in the kernel, and let every kernel "
    "entry catch up before it executes anything that can be patched at run time",
    keys=("cpu",),
    observer="cpu",
    events=(
        Event("change", Role.CHANGE, (), "the text changes; what a CPU has fetched of it is stale"),
        Event("sync", Role.SYNC, ("cpu",), "the CPU executes a serialising instruction; what it fetches now is fresh"),
        Event("use", Role.USE, ("cpu",), "the CPU executes patched text"),
        Event("done", Role.RELY, (), "the patcher returns; its caller takes the new text to be in force"),
    ),
    requirements=("TI-1", "TI-4", "TI-5", "TI-6", "TI-7", "TI-8", "TI-21", "TI-22"),
    sources=_SOURCES,
    automaton=Automaton.of("isolation_deferred_sync", _DEFERRED, initial="fresh"),
)

DEFERRED_FLUSH = Contract(
    id="isolation.deferred-flush",
    title="once a kernel range is freed, no CPU reaches it by an old translation",
    why="the pages belong to somebody else: a read leaks what is there now, a write corrupts it, and a walk through a "
    "freed page table takes whatever stands there for a translation",
    remedy="flush before the kernel may touch any such range on its way in, keep the range out of the tables that user "
    "mode runs on, and do not defer where CPUs share translations",
    keys=("cpu",),
    observer="cpu",
    events=(
        Event("change", Role.CHANGE, (), "a kernel range is unmapped; what a CPU keeps of it is stale"),
        Event("sync", Role.SYNC, ("cpu",), "the CPU flushes its translations of kernel ranges"),
        Event("use", Role.USE, ("cpu",), "the CPU reaches the range by a translation that is gone from the tables"),
        Event("done", Role.RELY, (), "the pages are freed"),
    ),
    requirements=("TI-1", "TI-5", "TI-10"),
    sources=(*_SOURCES, Source("Jann Horn and Dave Hansen on kernel TLB flush deferral, v4 29/30, January 2025")),
    automaton=Automaton.of("isolation_deferred_flush", _DEFERRED, initial="fresh"),
)

MODEL_DRIFT = drift_contract("isolation")

CONTRACTS = (DEFERRED_SYNC, DEFERRED_FLUSH, MODEL_DRIFT)
