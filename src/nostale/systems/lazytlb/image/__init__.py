"""The rules of the lazytlb system over a kernel image, written out."""

from nostale.systems.drift_rule import drift_rule
from nostale.systems.lazytlb.contract import MODEL_DRIFT
from nostale.systems.lazytlb.image.return_path import RETURN_PATH_RULE
from nostale.systems.lazytlb.kernel import KERNEL

RULES = (RETURN_PATH_RULE, drift_rule("lazytlb", MODEL_DRIFT, KERNEL))

__all__ = ["RETURN_PATH_RULE", "RULES"]
