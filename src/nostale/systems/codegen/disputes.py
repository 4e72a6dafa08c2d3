"""What was argued about code generation and text patching, and the models that decide it."""

from __future__ import annotations

from nostale.prove.hardware.fetch import FETCHES
from nostale.systems.claims import Dispute
from nostale.systems.codegen.fresh_code import HISTORIES, FreshCode
from nostale.systems.codegen.model import TextPoke

DISPUTES = (
    Dispute(
        id="D2",
        question="does executing freshly written code, at an address where it was never executed, need IPIs?",
        sides=(
            (
                "Kent Overstreet, June 2023",
                "text_poke() sends none; syncing is for code that others execute while it changes, else every minor "
                "fault that maps code would need it",
            ),
            (
                "Andy Lutomirski, June 2023",
                "an unmapped address can have nothing stale buffered; memory that is mapped executable and filled "
                "later can, so jit_update() must IPI all cores, or all cores must check before use",
            ),
            (
                "mainline, v6.12",
                "x86 sends no IPI when a slot of a bpf_prog_pack is used again; arm64's flush_icache_range() kicks "
                "every CPU",
            ),
        ),
        model=FreshCode,
        asked=("codegen.old-code", "codegen.fault"),
        over={
            "arch": ("x86", "arm64", "riscv"),
            "history": HISTORIES,
            "speculation": ("no", "yes"),
            "runs_on": ("other", "writer"),
            "sync": ("none", "ipi"),
        },
    ),
    Dispute(
        id="D11",
        question="must every CPU synchronise between the tail and the first byte of an INT3 patch?",
        sides=(
            (
                "arch/x86/kernel/alternative.c, text_poke_bp_batch()",
                "according to Intel the sync after the bytes behind the first is very likely not necessary, and it is "
                "done all the same",
            ),
            (
                "SDM vol. 3, Handling Self- and Cross-Modifying Code",
                "the executing processor serialises before it runs modified code; nothing is said of a CPU that sees "
                "the new first byte and an old one behind it",
            ),
        ),
        model=TextPoke,
        asked=("codegen.sync-before-execute", "codegen.no-torn-instruction", "codegen.no-lost-trap"),
        over={"fetch": FETCHES},
        variant="no-tail-sync",
    ),
)
