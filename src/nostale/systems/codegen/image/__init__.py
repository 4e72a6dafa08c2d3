"""The rules of the codegen system over a kernel image, written out."""

from nostale.systems.codegen.contract import MODEL_DRIFT
from nostale.systems.codegen.image.patchable_before_sync import PATCHABLE_BEFORE_SYNC_RULE
from nostale.systems.codegen.image.wx import WX_RULE
from nostale.systems.codegen.kernel import KERNEL
from nostale.systems.drift_rule import drift_rule

RULES = (WX_RULE, PATCHABLE_BEFORE_SYNC_RULE, drift_rule("codegen", MODEL_DRIFT, KERNEL))

__all__ = ["PATCHABLE_BEFORE_SYNC_RULE", "RULES", "WX_RULE"]
