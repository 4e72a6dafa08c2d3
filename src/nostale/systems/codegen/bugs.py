"""Real defects of patching and of code generation, as runs of the models that must show them."""

from __future__ import annotations

from nostale.systems.claims import Bug, NotShown, Run
from nostale.systems.codegen.double_buffer import DoubleBuffer
from nostale.systems.codegen.flip import Flip
from nostale.systems.codegen.fresh_code import FreshCode

_LATE, _OLD = "codegen.late", "codegen.old-code"
_XOL = {"arch": "riscv", "history": "rox-reused", "runs_on": "writer", "sync": "none"}
_WASM = {"arch": "arm64", "history": "nx", "sync": "ipi"}
_JAVA = {"arch": "riscv", "history": "nx", "sync": "ipi"}

BUGS = (
    Bug(
        "B09",
        "a kprobe's INT3 is written without an IPI; a grace period of RCU is taken for proof that it is seen",
        "5c02ece81848 x86/kprobes: Fix ordering while text-patching",
        Flip,
        Run("", {"means": "rcu"}),
        Run("", {"means": "ipi"}),
        _LATE,
        ("writes the instruction", "quiescent state", "synchronize_rcu_tasks(): returns", "Executes the instruction"),
    ),
    Bug(
        "B11",
        "arm64 jump labels: without stop_machine() no other CPU is made to synchronise",
        "cfb00a357864 arm64: Ensure patched jump_labels are visible to all CPUs",
        Flip,
        Run("", {"arch": "arm64", "means": "none"}),
        Run("", {"arch": "arm64", "means": "ipi"}),
        _LATE,
        ("writes the instruction", "ISB", "returns", "Executes the instruction"),
    ),
    Bug(
        "B64",
        "riscv flushes the other harts' caches first, by code that it has just patched",
        "bb8958d5dc79 riscv: Flush current cpu icache before other cpus",
        Flip,
        Run("", {"arch": "riscv", "order": "remote-first", "in_the_way": "yes"}),
        Run("", {"arch": "riscv", "order": "local-first", "in_the_way": "yes"}),
        "codegen.own-foot",
        ("writes the instruction", "the code that tells the others executes the instruction"),
    ),
    Bug(
        "B66",
        "riscv: an XOL slot is written again and run without a FENCE.I",
        "7d1d19a11cfb riscv: uprobes: Add missing fence.i after building the XOL buffer",
        FreshCode,
        Run("no-local-sync", _XOL),
        Run("", _XOL),
        _OLD,
        ("writes the code", "publishes the pointer", "jumps there"),
    ),
    Bug(
        "B68",
        "a half of the dispatcher's image is written while a CPU is still in it",
        "4121d4481b72 bpf: Synchronize dispatcher update with bpf_dispatcher_xdp_func",
        DoubleBuffer,
        Run("no-grace-period"),
        Run(),
        "codegen.overwritten",
        ("enters the half that is live", "the branch goes to the new half", "writes the half that is not live"),
    ),
    Bug(
        "B73",
        "an AArch64 JIT publishes code without cleaning caches or synchronising the other PEs",
        "wasmtime PR 3426",
        FreshCode,
        Run("no-maintenance", {**_WASM, "sync": "none"}),
        Run("", _WASM),
        _OLD,
        ("writes the code", "publishes the pointer", "jumps there"),
    ),
    Bug(
        "B74",
        "riscv: the system call behind __builtin___clear_cache() is blocked by seccomp, and nobody looks",
        "openjdk PR 14670",
        FreshCode,
        Run("silent-sync", _JAVA),
        Run("", _JAVA),
        _OLD,
        ("writes the code", "every CPU has answered", "jumps there"),
    ),
    NotShown("B70", "writes to the ROX alias of module text", "which pointer is written through is a property of code"),
    NotShown("B71", "unused executable space holds old code", "a property of memory contents, not of an interleaving"),
    NotShown("B76", "the wrong mapping is taken for the alias", "a property of addresses, which no model here has"),
)
