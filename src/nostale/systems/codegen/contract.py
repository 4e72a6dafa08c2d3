"""What must hold for instruction bytes that change: nobody executes them before it has synchronised."""

from __future__ import annotations

from nostale.contract import Automaton, Contract, Event, Role, Source

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
