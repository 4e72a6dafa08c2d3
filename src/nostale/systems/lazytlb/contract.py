"""What must hold for a CPU that runs lazily or on a borrowed mm: for its view of user code, and of page tables."""

from __future__ import annotations

from nostale.contract import FRESH, STALE, Automaton, Contract, Event, Role, Source
from nostale.systems.drift import drift_contract

RELIED_ON = "relied on"  # stale, and the changer has gone on: from here the view must not be used


def _until_relied_on(name: str, *, change: str, sync: str, use: str, rely: str) -> Automaton:
    """Let a stale view be used until the changer relies on it, and let the changer rely while nobody uses it.

    Stricter than needed would be the plain rule: a lazy CPU may stay stale for as long as it stays lazy.
    """
    edges = [
        (FRESH, change, STALE),
        (STALE, change, STALE),
        (RELIED_ON, change, RELIED_ON),
        *((state, sync, FRESH) for state in (FRESH, STALE, RELIED_ON)),
        (FRESH, rely, FRESH),
        (STALE, rely, RELIED_ON),
        (RELIED_ON, rely, RELIED_ON),
        (FRESH, use, FRESH),
        (STALE, use, STALE),
    ]
    return Automaton.of(name, edges, initial=FRESH)


CORE_SYNC = Contract(
    id="lazytlb.core-sync",
    title="once membarrier(SYNC_CORE) has returned, no CPU runs code of the mm as it was before",
    why="a code generator publishes its code when membarrier returns; a CPU that was lazy, or went in and out of the "
    "kernel without a serialising instruction, may then still execute what it had fetched of the old code",
    remedy="synchronise the core between the store to rq->curr (or to tsk->mm) and the return to user mode: by the "
    "IPI's function, by a CR3 write, by a hook where lazy mode ends, or by a return that serialises",
    keys=("cpu", "mm"),
    observer="cpu",
    events=(
        Event("rewrite", Role.CHANGE, ("mm",), "user code of the mm is rewritten; every CPU may hold the old code"),
        Event("sync", Role.SYNC, ("cpu",), "the CPU's core synchronises; what it fetches now is the new code"),
        Event("run", Role.USE, ("cpu", "mm"), "the CPU runs user code of the mm"),
        Event("return", Role.RELY, ("mm",), "membarrier(SYNC_CORE) returns; its caller publishes the new code"),
    ),
    requirements=("LT-1", "LT-2", "LT-4", "LT-12"),
    sources=(
        Source("kernel/sched/membarrier.c, membarrier_private_expedited(), ipi_sync_core(), v6.12"),
        Source("kernel/sched/core.c, finish_task_switch(), v6.12"),
        Source("Documentation/features/sched/membarrier-sync-core/arch-support.txt, v6.12"),
        Source("exit_lazy_tlb, Nicholas Piggin and Andy Lutomirski, July 2020"),
    ),
    automaton=_until_relied_on("lazytlb_core_sync", change="rewrite", sync="sync", use="run", rely="return"),
)

NO_FREED_TRANSLATION = Contract(
    id="lazytlb.no-freed-translation",
    title="nothing is freed while a CPU may still reach it through a TLB or a paging-structure cache",
    why="the page belongs to somebody else by then: an access goes to foreign memory, and a walk of a freed page table "
    "fills the TLB with whatever stands there, which can be a machine check on a lazy CPU that accesses nothing",
    remedy="flush every CPU that may hold it between clearing the entry and freeing: an IPI to all of mm_cpumask where "
    "tables are freed; where only pages are, a lazy CPU may be skipped if it compares tlb_gen before it is used again",
    keys=("cpu", "mm"),
    observer="cpu",
    events=(
        Event("clear", Role.CHANGE, ("mm",), "an entry of the page tables is cleared; CPUs may hold what it was"),
        Event("flush", Role.SYNC, ("cpu", "mm"), "the CPU forgets what it holds of the mm"),
        Event("reach", Role.USE, ("cpu", "mm"), "the CPU goes through what it holds of the mm"),
        Event("free", Role.RELY, ("mm",), "what the entry led to is freed"),
    ),
    requirements=("LT-9",),
    sources=(
        Source("arch/x86/mm/tlb.c, flush_tlb_func(), should_flush_tlb(), native_flush_tlb_multi(), v6.12"),
        Source("SDM vol. 3, Caching Translation Information"),
    ),
    automaton=_until_relied_on("lazytlb_no_freed_translation", change="clear", sync="flush", use="reach", rely="free"),
)

_CPU = ("cpu",)
RETURN_PATH = Contract(
    id="lazytlb.return-path",
    title="every way back to user mode synchronises the core after the last kernel code that may have switched tasks",
    why="membarrier(SYNC_CORE) promises that no thread of the process runs old user text once it returns. It "
    "interrupts those that run, and relies on the way back to user mode for those that are switched to: where that way "
    "neither serialises by itself nor comes after something that does, a thread goes on with what its CPU fetched "
    "before.",
    remedy="Nothing where a core sync at the switch covers it, as sync_core_before_usermode() does on x86 without page "
    "table isolation; else make the switch, or the way back, serialise.",
    keys=_CPU,
    observer="cpu",
    events=(
        Event("kernel", Role.CHANGE, _CPU, "kernel code runs that may switch to another task, whose text has changed"),
        Event("sync", Role.SYNC, _CPU, "a serialising instruction"),
        Event("return", Role.USE, _CPU, "return to user mode, by an instruction that does not serialise"),
        Event("back", Role.OTHER, _CPU, "return to user mode"),
    ),
    requirements=("LT-1", "LT-2", "LT-7", "LT-11", "LT-12"),
    sources=(
        Source("arch/x86/include/asm/sync_core.h, sync_core_before_usermode(), v6.12"),
        Source("Documentation/features/sched/membarrier-sync-core/arch-support.txt, v6.12"),
        Source("SDM vol. 3, Serializing Instructions: IRET is one, SYSRET, SYSEXIT, ERETS and ERETU are none"),
        Source("Piggin to Lutomirski on exit_lazy_tlb, 13 July 2020"),
    ),
    automaton=Automaton.of(
        "return_path",
        (
            *((state, "kernel", STALE) for state in (STALE, FRESH)),
            *((state, "sync", FRESH) for state in (STALE, FRESH)),
            (FRESH, "return", FRESH),
        ),
        initial=FRESH,
        forbidden=("back",),
    ),
)

MODEL_DRIFT = drift_contract("lazytlb")

CONTRACTS = (CORE_SYNC, NO_FREED_TRANSLATION, RETURN_PATH, MODEL_DRIFT)
