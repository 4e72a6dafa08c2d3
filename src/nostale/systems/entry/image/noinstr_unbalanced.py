"""entry.noinstr-unbalanced: a return or tail call from protected code while an annotated range is open."""

from __future__ import annotations

from nostale.contract import Binding, Bound, Grade
from nostale.lint import How, Occurrence, Rule, Transfer
from nostale.systems.entry.contract import NOINSTR_UNBALANCED
from nostale.systems.entry.image.protected import ASSUMPTIONS, MARKS, SCOPE, START_WHY


def classify(transfer: Transfer, section: str) -> tuple[Occurrence, ...]:
    """Return the return that a transfer is: its own, or that of the function it goes to in its place."""
    if transfer.how in (How.RETURN, How.RESUME):
        why = "the range that was begun on this path has no end on it"
        return (Occurrence("return", "return with instrumentation enabled", why),)
    if transfer.how is How.TAIL and transfer.returns:
        why = f"{transfer.callee} returns to the caller in its place, and the range is still open"
        return (
            Occurrence("return", f"tail call to {transfer.callee} with instrumentation enabled", why, transfer.callee),
        )
    return ()


NOINSTR_UNBALANCED_RULE = Rule(
    binding=Binding(
        NOINSTR_UNBALANCED,
        "lint",
        {
            "begin": Bound("an entry of .discard.instr_begin", Grade.EXACT),
            "end": Bound("an entry of .discard.instr_end", Grade.EXACT, "the image has no such section"),
            "return": Bound("a return, iret, sysret or tail call", Grade.EXACT),
        },
        start="0",
        start_why=START_WHY,
        assumptions=ASSUMPTIONS,
    ),
    what="Follows every path as entry.noinstr-escape does. A return, a return to the interrupted context or a tail "
    "call at a count above zero is a violation. A count below zero is not: it makes the next range void, and the "
    "escape from that is what entry.noinstr-escape reports.",
    why=NOINSTR_UNBALANCED.why,
    example="""\
noinstr void exc_example(struct pt_regs *regs)
{
	irqentry_state_t state = irqentry_enter(regs);

	instrumentation_begin();
	if (handle(regs))
		return;                  /* violated: the range is still open */
	instrumentation_end();
	irqentry_exit(regs, state);
}
""",
    remedy=NOINSTR_UNBALANCED.remedy,
    scope=SCOPE,
    marks=MARKS,
    classify=classify,
    counted="depth of annotated ranges",
)
