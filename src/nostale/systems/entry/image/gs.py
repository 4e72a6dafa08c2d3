"""Whether an instruction uses memory through GS, where a kernel keeps what is each CPU's own."""

from __future__ import annotations

from nostale.lint import Image

_GS = 0x65
_PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x66, 0x67, 0xF0, 0xF2, 0xF3))


def through_gs(image: Image, address: int) -> bool:
    """Return whether the instruction at `address` has an operand in %gs, by its prefixes."""
    one = image.instruction(address)
    for byte in image.read(one[0], one[1]) if one is not None else b"":
        if byte == _GS:
            return True
        if byte not in _PREFIXES:
            return False
    return False
