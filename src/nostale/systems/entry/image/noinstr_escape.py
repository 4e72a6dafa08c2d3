"""entry.noinstr-escape: a transfer from protected code to instrumentable code outside of an annotated range."""

from __future__ import annotations

from nostale.contract import Binding, Bound, Grade
from nostale.lint import How, Occurrence, Rule, Transfer, Via
from nostale.systems.entry.contract import NOINSTR_ESCAPE
from nostale.systems.entry.image.noinstr_instrumented import inserted
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

# What objtool lets pass by name, and why it is a doubt here.
_HANDLER = "__ubsan_handle_"
_UNDEFINED = "it is called only if an operation turns out to be undefined"


def classify(transfer: Transfer, section: str) -> tuple[Occurrence, ...]:
    """Return the escape that a transfer is or may be.

    Exact: its target is instrumentable. May: a static call, whose targets are not all known. What goes through a
    pointer is entry.noinstr-indirect's, what the compiler inserted entry.noinstr-instrumented's.
    """
    if transfer.how in (How.RETURN, How.RESUME) or transfer.via in (Via.SLOT, Via.POINTER):
        return ()
    outside = [target for target in transfer.targets if target.kind not in PROTECTED]
    what = f"{verb(transfer)} to {transfer.callee}() leaves {section} section"
    if (transfer.complete and not outside) or inserted(transfer.callee):
        return ()
    if transfer.callee.startswith(_HANDLER):
        doubt = f"cannot tell whether {transfer.callee}() runs: {_UNDEFINED}"
        return (Occurrence("escape", what, doubt, transfer.callee, Grade.MAY, doubt),)
    # The initial target of a static call is one that it starts with, not one that it is known to keep.
    if outside and transfer.via is not Via.STATIC_CALL:
        return (Occurrence("escape", what, why_not(outside[0]), outside[0].name),)
    what = f"{verb(transfer)} to {transfer.callee} may leave {section} section"
    return (Occurrence("escape", what, known(transfer), transfer.callee, Grade.MAY, doubt_of(transfer)),)


NOINSTR_ESCAPE_RULE = Rule(
    binding=Binding(
        NOINSTR_ESCAPE,
        "lint",
        {
            "enter": Bound("the start state at every function and unwind hint", Grade.ASSUMED),
            "begin": Bound(BEGUN_BY, Grade.EXACT, "the image has no such section"),
            "end": Bound(ENDED_BY, Grade.EXACT),
            "escape": Bound(
                "a direct or static call, tail call or jump to code outside of .noinstr.text, .entry.text, "
                ".cpuidle.text and the thunks",
                Grade.EXACT,
                "a static call leaves only if a target that it has at run time does, an arm64 one only if no context "
                "that the image does not tell of is established",
            ),
        },
        start="0",
        start_why=START_WHY,
        assumptions=(
            *ASSUMPTIONS,
            "calls through pointers are looked at by entry.noinstr-indirect, those that the compiler inserts by "
            "entry.noinstr-instrumented",
            "a function that the image does not define is instrumentable, as objtool --link has it: of a single object "
            "link the others to it first",
        ),
    ),
    what="Follows every path from every function and assembly entry of the protected sections, through alternatives, "
    "both arms of jump labels and fault fixups, counting instrumentation_begin() and instrumentation_end(). A transfer "
    "to code outside of the protected sections at a count of zero or below is a violation. A static call is only as "
    "good as what is known of its targets: where objtool passes it, this says unknown. On arm64, whose source marks no "
    "ranges, they are those of enter_from_*_mode(), arm64_enter_*() and their counterparts, called or inlined; what "
    "the image cannot tell there (an undefined callee, a function that no vector comes to) is unknown. The handler of "
    "a debug exception goes to nothing that may be probed, range or not: the probe would come back to it.",
    why=NOINSTR_ESCAPE.why,
    example="""\
noinstr void exc_example(struct pt_regs *regs)
{
	pr_info("before the range\\n");   /* violated: leaves .noinstr.text */
	irqentry_state_t state = irqentry_enter(regs);

	instrumentation_begin();
	pr_info("inside\\n");             /* allowed */
	instrumentation_end();
	irqentry_exit(regs, state);
}
""",
    remedy=NOINSTR_ESCAPE.remedy,
    scope=SCOPE,
    marks=MARKS,
    classify=classify,
    regions=regions,
    counted="depth of annotated ranges",
)
