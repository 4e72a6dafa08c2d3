"""What both rules share: which code is protected, and where its annotations stand."""

from __future__ import annotations

from nostale.lint import Class

SCOPE = frozenset({Class.NOINSTR, Class.ENTRY, Class.CPUIDLE})
# Thunks are not walked (they do nothing but branch); to go there is not to leave.
PROTECTED = SCOPE | {Class.THUNK}
MARKS = ((".discard.instr_begin", "begin"), (".discard.instr_end", "end"))
ASSUMPTIONS = (
    "a function in a protected section is entered at depth zero, whoever calls it: its callers' ranges are not its own",
)
START_WHY = "whoever enters here may not have established the kernel's context: nothing is annotated yet"
