"""The rules of the entry system over a kernel image, written out."""

from nostale.systems.entry.image.cr3_before_gs import CR3_BEFORE_GS_RULE
from nostale.systems.entry.image.nmi_latch import NMI_LATCH_RULE
from nostale.systems.entry.image.noinstr_escape import NOINSTR_ESCAPE_RULE
from nostale.systems.entry.image.noinstr_indirect import NOINSTR_INDIRECT_RULE
from nostale.systems.entry.image.noinstr_instrumented import NOINSTR_INSTRUMENTED_RULE
from nostale.systems.entry.image.noinstr_unbalanced import NOINSTR_UNBALANCED_RULE
from nostale.systems.entry.image.order import ORDER_RULE
from nostale.systems.entry.image.pairing import PAIRING_RULE
from nostale.systems.entry.image.probe_recursion import PROBE_RECURSION_RULE
from nostale.systems.entry.image.swapgs_fence import SWAPGS_FENCE_RULE

RULES = (
    NOINSTR_ESCAPE_RULE,
    NOINSTR_UNBALANCED_RULE,
    NOINSTR_INDIRECT_RULE,
    NOINSTR_INSTRUMENTED_RULE,
    PROBE_RECURSION_RULE,
    SWAPGS_FENCE_RULE,
    ORDER_RULE,
    PAIRING_RULE,
    CR3_BEFORE_GS_RULE,
    NMI_LATCH_RULE,
)

__all__ = [
    "CR3_BEFORE_GS_RULE",
    "NMI_LATCH_RULE",
    "NOINSTR_ESCAPE_RULE",
    "NOINSTR_INDIRECT_RULE",
    "NOINSTR_INSTRUMENTED_RULE",
    "NOINSTR_UNBALANCED_RULE",
    "ORDER_RULE",
    "PAIRING_RULE",
    "PROBE_RECURSION_RULE",
    "RULES",
    "SWAPGS_FENCE_RULE",
]
