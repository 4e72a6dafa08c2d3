"""Switch tables: where `jmp *table(,%reg,8)` and its position-independent form may go."""

from __future__ import annotations

from nostale.lint.image import Class, Image
from nostale.lint.symbols import Symbol
from nostale.outside.instruction import Instruction

_LOOK_BACK = 24  # instructions; gcc loads the table's address just before the bounds check or after it


def switch_targets(image: Image, jump: Instruction, function: Symbol) -> tuple[int, ...]:
    """Return the targets of an indirect jump through a table of its function, sorted; () if there is no such table.

    The table is the read-only data that the jump itself or the nearest instruction before it refers to, whose entries
    point into the function. It ends where they stop doing so: a table that follows it directly adds edges, never takes
    any away.
    """
    if function.address is None:
        return ()
    from_end = image.machine.from_end
    before = [one for one in image.decoded(function.address, jump[0]) if one[0] < jump[0]]
    for one in [jump, *reversed(before[-_LOOK_BACK:])]:
        for reference in image.references(one[0], one[0] + one[1]):
            if reference.address is None:
                continue
            # A displacement is counted from the end of its instruction.
            table = reference.address + (one[0] + one[1] - reference.at if from_end and reference.relative else 0)
            targets = _entries(image, table, function)
            if targets:
                return targets
    return ()


def _entries(image: Image, table: int, function: Symbol) -> tuple[int, ...]:
    section = image.section_at(table)
    if section is None or section.kind is not Class.DATA or section.writable:
        return ()
    first = image.reference(table)
    if first is None:
        return ()
    stride = 8 if first.type == image.machine.pointer else 4
    found: set[int] = set()
    at = table
    while (reference := image.reference(at)) is not None and reference.address is not None:
        # A 4-byte entry is a distance from the table; its relocation counts from the entry.
        target = reference.address - (at - table if reference.relative else 0)
        owner = image.symbols.functions.containing(target)
        if owner is None or owner.name.split(".cold")[0] != function.name.split(".cold")[0]:
            break
        found.add(target)
        at += stride
    return tuple(sorted(found))
