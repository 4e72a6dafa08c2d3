"""Litmus tests as herd7 writes them: read, and decided by the hardware library where it can decide them."""

from nostale.prove.litmus.decide import decide
from nostale.prove.litmus.parse import Test, parse

__all__ = ["Test", "decide", "parse"]
