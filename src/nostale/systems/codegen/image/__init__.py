"""The rules of the codegen system over a kernel image, written out."""

from nostale.systems.codegen.image.patchable_before_sync import PATCHABLE_BEFORE_SYNC_RULE
from nostale.systems.codegen.image.wx import WX_RULE

RULES = (WX_RULE, PATCHABLE_BEFORE_SYNC_RULE)

__all__ = ["PATCHABLE_BEFORE_SYNC_RULE", "RULES", "WX_RULE"]
