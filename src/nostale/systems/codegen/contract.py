"""What must hold for instruction bytes that change: nobody executes them before it has synchronised."""

from __future__ import annotations

from nostale.contract import Automaton, Contract, Event, Role, Source
from nostale.systems.drift import drift_contract

SYNC_BEFORE_EXECUTE = Contract(
    id="codegen.sync-before-execute",
    title="no CPU executes changed instructions before its core has synchronised",
    why="a CPU that has not serialised since the change may run old bytes, new bytes or a mixture of both",
    remedy="make every CPU execute a serialising instruction between the change and the first use: text_poke_sync(), "
    "membarrier(SYNC_CORE), or an INT3 in front until then",
    keys=("cpu", "address"),
    observer="cpu",
    events=(
        Event("patch", Role.CHANGE, ("address",), "the bytes at the address change; every CPU's view of them is stale"),
        Event("sync", Role.SYNC, ("cpu",), "the CPU executes a serialising instruction; what it fetches now is fresh"),
        Event("execute", Role.USE, ("cpu", "address"), "the CPU executes bytes that depend on the change"),
        Event("done", Role.RELY, ("address",), "the patcher returns; its caller takes the new code to be in force"),
    ),
    requirements=("CG-9", "CG-11", "CG-13", "TI-7"),
    sources=(
        Source("SDM vol. 3, Handling Self- and Cross-Modifying Code: the executing CPU serialises first"),
        Source("arch/x86/kernel/alternative.c, text_poke_bp_batch(), v6.12"),
        Source("Arm ARM B2.2.5, concurrent modification and execution of instructions"),
    ),
)

WX = Contract(
    id="codegen.wx",
    title="nothing of an image is writable and executable at once",
    why="whoever can write to code that runs needs no other flaw; and code that changes in place under a CPU that "
    "fetches it is a view that goes stale without anybody being told",
    remedy="keep code and what is written apart: drop the w of the section's flags, keep data in a data section, and "
    "change code through text_poke(), which writes through an alias that nobody executes",
    keys=("place",),
    observer="place",
    events=(Event("map", Role.USE, ("place",), "memory is executed from where it may be written"),),
    requirements=("CG-1", "CG-2"),
    sources=(
        Source("kernel/module/strict_rwx.c, module_enforce_rwx_sections(), v6.12"),
        Source("Luto and Kees Cook on bcachefs's code generation: no linear address may be W and X"),
    ),
    automaton=Automaton.of("wx", (), initial="apart", forbidden=("map",)),
)

_CPU = ("cpu",)
PATCHABLE_BEFORE_SYNC = Contract(
    id="codegen.patchable-before-sync",
    title="no kernel entry runs a run-time patchable instruction before its sync point",
    why="Text patching could spare CPUs in user mode its IPIs, and have them catch up at their next kernel entry. "
    "Until that catch-up an entry runs on what the CPU has fetched before: a patchable instruction there may be run as "
    "it was, as it is to be, or as a mixture of both.",
    remedy="Make the key __ro_after_init, or keep its IPI for sites in protected code, or move the sync point up: what "
    "is patched at run time may be executed after it only.",
    keys=_CPU,
    observer="cpu",
    events=(
        Event("patch", Role.CHANGE, _CPU, "text is patched while the CPU is away, and the IPI is deferred"),
        Event("sync", Role.SYNC, _CPU, "the sync point: what is fetched from here on is fresh"),
        Event("patchable", Role.USE, _CPU, "an instruction that may have been patched is executed"),
        Event("unsynced", Role.USE, _CPU, "instrumentable code runs: any of it may have been patched"),
        Event("leave", Role.OTHER, _CPU, "control is past instrumentable code that ran without a sync"),
        Event("later", Role.OTHER, _CPU, "a patchable instruction runs after such code"),
    ),
    requirements=("TI-1", "TI-2", "TI-5", "TI-6", "TI-7", "TI-8", "TI-9b", "CG-9"),
    sources=(
        Source("context_tracking,x86: Defer some IPIs until a user->kernel transition, RFC v1 (July 2023) and later"),
        Source("Fix text_poke_sync() vs NOHZ_FULL, RFC, 29 September 2021: 're-audit the entry code'"),
        Source("Documentation/core-api/entry.rst, v6.12"),
        Source("SDM vol. 3, Serializing Instructions; Handling Self- and Cross-Modifying Code"),
    ),
    automaton=Automaton.of(
        "patchable_before_sync",
        (
            *((state, "sync", "fresh") for state in ("stale", "exposed", "fresh")),
            *((state, "patch", "stale") for state in ("stale", "exposed", "fresh")),
            *((state, event, "fresh") for state in ("fresh",) for event in ("patchable", "unsynced", "leave", "later")),
            *((state, "leave", "exposed") for state in ("stale", "exposed")),
            ("stale", "later", "stale"),
            ("exposed", "patchable", "exposed"),
            ("exposed", "unsynced", "exposed"),
        ),
        initial="stale",
    ),
)

MODEL_DRIFT = drift_contract("codegen")
