"""What the noinstr rules share: which code is protected, where its annotations stand, how a transfer is told."""

from __future__ import annotations

from nostale.lint import Class, How, Target, Transfer

SCOPE = frozenset({Class.NOINSTR, Class.ENTRY, Class.CPUIDLE})
# Thunks are not walked (they do nothing but branch); to go there is not to leave.
PROTECTED = SCOPE | {Class.THUNK}
MARKS = ((".discard.instr_begin", "begin"), (".discard.instr_end", "end"))
ASSUMPTIONS = (
    "a function in a protected section is entered at depth zero, whoever calls it: its callers' ranges are not its own",
)
BEGUN_BY = "an entry of .discard.instr_begin; on arm64 also the return of what establishes the context (regions.py)"
ENDED_BY = "an entry of .discard.instr_end; on arm64 also a call of what takes the context down"
START_WHY = "whoever enters here may not have established the kernel's context: nothing is annotated yet"


def verb(transfer: Transfer) -> str:
    """Say jump or call, as objtool does: a tail call is a call."""
    return "jump" if transfer.how is How.JUMP else "call"


def why_not(target: Target) -> str:
    """Say why going to `target` matters."""
    if target.kind is None:
        return f"{target.name} is not defined in this image, so not in its protected sections, and no range is open"
    return f"{target.name} may be traced, probed or sanitized, and no annotated range is open"


def known(transfer: Transfer) -> str:
    """List the targets that are known."""
    if not transfer.targets:
        return "no target is known"
    names = (f"{one.name} ({one.kind.value if one.kind else 'not defined here'})" for one in transfer.targets)
    return f"known targets: {', '.join(names)}"


def doubt_of(transfer: Transfer) -> str:
    """Say what would have to be known to tell where a transfer goes."""
    return f"cannot tell where {transfer.callee} goes: {known(transfer)}; missing: {transfer.missing}"
