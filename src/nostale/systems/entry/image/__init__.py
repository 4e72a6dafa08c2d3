"""The rules of the entry system over a kernel image, written out."""

from nostale.systems.entry.image.noinstr_escape import NOINSTR_ESCAPE_RULE
from nostale.systems.entry.image.noinstr_indirect import NOINSTR_INDIRECT_RULE
from nostale.systems.entry.image.noinstr_instrumented import NOINSTR_INSTRUMENTED_RULE
from nostale.systems.entry.image.noinstr_unbalanced import NOINSTR_UNBALANCED_RULE
from nostale.systems.entry.image.probe_recursion import PROBE_RECURSION_RULE

RULES = (
    NOINSTR_ESCAPE_RULE,
    NOINSTR_UNBALANCED_RULE,
    NOINSTR_INDIRECT_RULE,
    NOINSTR_INSTRUMENTED_RULE,
    PROBE_RECURSION_RULE,
)

__all__ = [
    "NOINSTR_ESCAPE_RULE",
    "NOINSTR_INDIRECT_RULE",
    "NOINSTR_INSTRUMENTED_RULE",
    "NOINSTR_UNBALANCED_RULE",
    "PROBE_RECURSION_RULE",
    "RULES",
]
