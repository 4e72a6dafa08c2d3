"""Code generation: no CPU executes an instruction that was replaced before it has synchronised its core."""

from __future__ import annotations

from nostale.contract import Contract, Event, Role, Source

SYNC_BEFORE_EXECUTE = Contract(
    id="codegen.sync-before-execute",
    title="patched code is not executed by a CPU, nor relied on, before that CPU has synchronised its core",
    why="a CPU that fetched the old bytes may execute a mix of old and new ones",
    remedy="synchronise every CPU's core (INT3 protocol, text_poke_sync, membarrier SYNC_CORE) before going on",
    keys=("cpu", "address"),
    observer="cpu",
    events=(
        Event("patch", Role.CHANGE, ("address",), "instruction bytes at an address are written"),
        Event("sync", Role.SYNC, ("cpu",), "a CPU executes a core-serialising instruction"),
        Event("execute", Role.USE, ("cpu", "address"), "a CPU executes the bytes at an address"),
        Event("done", Role.RELY, ("address",), "the patcher goes on as if every CPU had the new bytes"),
    ),
    requirements=(),
    sources=(Source("arch/x86/kernel/alternative.c, smp_text_poke_batch_finish(), v6.16"),),
)
