"""Which variables an instruction names: by a relocation, by an address, or as a per-CPU operand in %gs."""

from __future__ import annotations

from nostale.lint import Image, Reference
from nostale.outside.operands import operands

_GS, _PREFIXES = 0x65, 4  # the prefix of an operand in %gs, and among how many bytes it stands


def variables(image: Image, address: int) -> frozenset[str]:
    """Return the names of the variables that the instruction at `address` has in its operands."""
    one = image.instruction(address)
    if one is None:
        return frozenset()
    start, end = one[0], one[0] + one[1]
    names = {_named(image, reference, end) for reference in image.references(start, end)}
    code = image.read(start, one[1])
    if image.linked and _GS in code[:_PREFIXES]:
        names.add(_per_cpu(image, code, start))
    return frozenset(names - {""})


def stored(image: Image, address: int) -> frozenset[str]:
    """Return the variables that the instruction at `address` writes."""
    names = variables(image, address)
    return names if names and operands(_code(image, address)).writes_memory else frozenset()


def loaded(image: Image, address: int) -> frozenset[str]:
    """Return the variables that the instruction at `address` reads."""
    names = variables(image, address)
    return names if names and operands(_code(image, address)).reads_memory else frozenset()


def _code(image: Image, address: int) -> bytes:
    one = image.instruction(address)
    return image.read(one[0], one[1]) if one is not None else b""


def _per_cpu(image: Image, code: bytes, address: int) -> str:
    """Return the per-CPU variable that an operand in %gs is in: its place is what its symbol's value is."""
    place = operands(code, address).place
    symbol = image.symbols.containing(place) if place is not None else None
    return symbol.name if symbol else ""


def _named(image: Image, reference: Reference, end: int) -> str:
    """Return the variable that an operand is in; a local one is referred to by its section."""
    if reference.symbol.name or reference.address is None:
        return reference.symbol.name
    at = reference.address + (end - reference.at if reference.relative else 0)
    symbol = image.symbols.containing(at)
    return symbol.name if symbol else ""
