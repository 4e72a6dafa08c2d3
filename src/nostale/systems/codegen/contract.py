"""What must hold for instruction bytes that change: nobody executes them before it has synchronised."""

from __future__ import annotations

from nostale.contract import Contract, Event, Role, Source

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
