"""What was argued about code generation and text patching, and the models that decide it."""

from __future__ import annotations

from nostale.prove.hardware.fetch import FETCHES
from nostale.systems.claims import Dispute
from nostale.systems.codegen.model import TextPoke

DISPUTES = (
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
