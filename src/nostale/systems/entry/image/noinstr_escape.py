"""entry.noinstr-escape: a transfer from protected code to instrumentable code outside of an annotated range."""

from __future__ import annotations

from nostale.contract import Binding, Bound, Grade
from nostale.lint import How, Occurrence, Rule, Target, Transfer, Via
from nostale.systems.entry.contract import NOINSTR_ESCAPE
from nostale.systems.entry.image.protected import ASSUMPTIONS, MARKS, PROTECTED, SCOPE, START_WHY

# What objtool lets pass by name, and why it is a doubt here: (prefix, reason).
_PATCHED_OUT = "objtool --hacks=noinstr makes this call a NOP; this image may be from before that"
_DOUBTFUL = (
    ("__ubsan_handle_", "it is called only if an operation turns out to be undefined"),
    ("__sanitizer_cov_", _PATCHED_OUT),
    ("__tsan_func_", _PATCHED_OUT),
    ("__tsan_atomic_signal_fence", _PATCHED_OUT),
)


def classify(transfer: Transfer, section: str) -> tuple[Occurrence, ...]:
    """Return the escape that a transfer is or may be.

    Exact: one of its known targets is instrumentable. May: its targets are not all known, whatever the known ones are.
    """
    if transfer.how in (How.RETURN, How.RESUME):
        return ()
    outside = [target for target in transfer.targets if not _protected(target)]
    verb = "jump" if transfer.how is How.JUMP else "call"
    what = f"{verb} to {transfer.callee}() leaves {section} section"
    reason = next((reason for prefix, reason in _DOUBTFUL if transfer.callee.startswith(prefix)), None)
    if reason is not None and outside:
        doubt = f"cannot tell whether {transfer.callee}() runs: {reason}"
        return (Occurrence("escape", what, doubt, transfer.callee, Grade.MAY, doubt),)
    # The initial target of a static call is one that it starts with, not one that it is known to keep.
    if outside and transfer.via is not Via.STATIC_CALL:
        return (Occurrence("escape", what, _why(outside[0], transfer), _callee(outside[0], transfer)),)
    if transfer.complete and not outside:
        return ()
    what = f"{verb} to {transfer.callee} may leave {section} section"
    return (Occurrence("escape", what, _known(transfer), transfer.callee, Grade.MAY, _doubt(transfer)),)


def _protected(target: Target) -> bool:
    return target.kind in PROTECTED


def _callee(target: Target, transfer: Transfer) -> str:
    return target.name if transfer.via is Via.DIRECT else f"{transfer.callee} ({target.name})"


def _why(target: Target, transfer: Transfer) -> str:
    if target.kind is None:
        return f"{target.name} is not defined in this image, so not in its protected sections, and no range is open"
    return f"{target.name} may be traced, probed or sanitized, and no annotated range is open"


def _known(transfer: Transfer) -> str:
    if not transfer.targets:
        return "no target is known"
    names = (f"{one.name} ({one.kind.value if one.kind else 'not defined here'})" for one in transfer.targets)
    return f"known targets: {', '.join(names)}"


def _doubt(transfer: Transfer) -> str:
    return f"cannot tell where {transfer.callee} goes: {_known(transfer)}; missing: {transfer.missing}"


NOINSTR_ESCAPE_RULE = Rule(
    binding=Binding(
        NOINSTR_ESCAPE,
        "lint",
        {
            "enter": Bound("the start state at every function and unwind hint", Grade.ASSUMED),
            "begin": Bound("an entry of .discard.instr_begin", Grade.EXACT, "the image has no such section"),
            "end": Bound("an entry of .discard.instr_end", Grade.EXACT),
            "escape": Bound(
                "a call, tail call or jump to code outside of .noinstr.text, .entry.text, .cpuidle.text and the thunks",
                Grade.EXACT,
                "a static or indirect call leaves only if a target that it has at run time does",
            ),
        },
        start="0",
        start_why=START_WHY,
        assumptions=(
            *ASSUMPTIONS,
            "a function that the image does not define is instrumentable, as objtool --link has it: of a single object "
            "link the others to it first",
        ),
    ),
    what="Follows every path from every function and assembly entry of the protected sections, through alternatives, "
    "both arms of jump labels and fault fixups, counting instrumentation_begin() and instrumentation_end(). A transfer "
    "to code outside of the protected sections at a count of zero or below is a violation. A static call is only as "
    "good as what is known of its targets: where objtool passes it, this says unknown.",
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
    counted="depth of annotated ranges",
)
