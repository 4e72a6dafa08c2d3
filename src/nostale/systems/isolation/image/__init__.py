"""The rules of the isolation system over a kernel image, written out."""

from nostale.systems.drift_rule import drift_rule
from nostale.systems.isolation.contract import MODEL_DRIFT
from nostale.systems.isolation.kernel import KERNEL

RULES = (drift_rule("isolation", MODEL_DRIFT, KERNEL),)

__all__ = ["RULES"]
