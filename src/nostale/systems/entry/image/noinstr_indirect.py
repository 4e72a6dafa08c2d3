"""entry.noinstr-indirect: protected code that goes through a pointer, outside of an annotated range."""

from __future__ import annotations

from nostale.contract import Binding, Bound, Grade
from nostale.lint import Occurrence, Rule, Transfer, Via
from nostale.systems.entry.contract import NOINSTR_INDIRECT
from nostale.systems.entry.image.protected import (
    ASSUMPTIONS,
    BEGUN_BY,
    ENDED_BY,
    MARKS,
    PROTECTED,
    SCOPE,
    START_WHY,
    doubt_of,
    known,
    verb,
    why_not,
)
from nostale.systems.entry.image.regions import regions


def classify(transfer: Transfer, section: str) -> tuple[Occurrence, ...]:
    """Return the escape that an indirect transfer is or may be.

    Exact: of all the functions that the pointer holds at one time or another, one is instrumentable. May: they are not
    all known, and one that it starts with need not be one that it keeps.
    """
    if transfer.via not in (Via.SLOT, Via.POINTER):
        return ()
    outside = [target for target in transfer.targets if target.kind not in PROTECTED]
    # What a boot-time table is known to hold stands in it on some machine, whatever else is stored there.
    if outside and (transfer.complete or transfer.assumption):
        what = f"{verb(transfer)} to {transfer.callee}() leaves {section} section"
        callee = f"{transfer.callee} ({outside[0].name})"
        return (Occurrence("indirect", what, why_not(outside[0]), callee),)
    if transfer.complete and not outside:
        return ()
    what = f"{verb(transfer)} to {transfer.callee} may leave {section} section"
    return (Occurrence("indirect", what, known(transfer), transfer.callee, Grade.MAY, doubt_of(transfer)),)


NOINSTR_INDIRECT_RULE = Rule(
    binding=Binding(
        NOINSTR_INDIRECT,
        "lint",
        {
            "enter": Bound("the start state at every function and unwind hint", Grade.ASSUMED),
            "begin": Bound(BEGUN_BY, Grade.EXACT, "the image has no such section"),
            "end": Bound(ENDED_BY, Grade.EXACT),
            "indirect": Bound(
                "a call or jump through a register or memory, or an indirect branch thunk",
                Grade.EXACT,
                "it leaves only if a function that the pointer holds at run time is outside of the protected sections",
            ),
        },
        start="0",
        start_why=START_WHY,
        assumptions=ASSUMPTIONS,
    ),
    what="Follows every path as entry.noinstr-escape does and takes from it what goes through a pointer. A pointer is "
    "resolved where the image tells what it holds: a slot of pv_ops by its initialisers and the stores to it, a "
    "constant in read-only data, a static variable by its initial value and all its stores, a register by its one "
    "assignment before the call, a jump table by its entries (those stay in their function and are no finding). One "
    "function outside of the protected sections is a violation; a pointer that may hold what the image does not show "
    "is unknown, with the reason. Static calls are entry.noinstr-escape's: they are calls by name.",
    why=NOINSTR_INDIRECT.why,
    example="""\
struct ops *chip;

noinstr void exc_example(struct pt_regs *regs)
{
	chip->ack(regs);                 /* unknown: nothing tells what chip->ack holds */
	irqentry_state_t state = irqentry_enter(regs);

	instrumentation_begin();
	chip->handle(regs);              /* allowed */
	instrumentation_end();
	irqentry_exit(regs, state);
}
""",
    remedy=NOINSTR_INDIRECT.remedy,
    scope=SCOPE,
    marks=MARKS,
    classify=classify,
    regions=regions,
    counted="depth of annotated ranges",
)
