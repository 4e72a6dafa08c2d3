"""The rules of the lazytlb system over a kernel image, written out."""

from nostale.systems.lazytlb.image.return_path import RETURN_PATH_RULE

RULES = (RETURN_PATH_RULE,)

__all__ = ["RETURN_PATH_RULE", "RULES"]
