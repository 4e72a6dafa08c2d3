"""The rules of the codegen system over a kernel image, written out."""

from nostale.systems.codegen.image.wx import WX_RULE

RULES = (WX_RULE,)

__all__ = ["RULES", "WX_RULE"]
