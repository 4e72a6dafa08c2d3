"""Switch tables: where `jmp *table(,%reg,8)` and its position-independent form may go, and `br` on arm64."""

from __future__ import annotations

from nostale.lint.image import Class, Image
from nostale.lint.machine import ARM64
from nostale.lint.symbols import Symbol
from nostale.outside.arm64 import constants, fields
from nostale.outside.instruction import Instruction

_LOOK_BACK = 24  # instructions; gcc loads the table's address just before the bounds check or after it


def switch_targets(image: Image, jump: Instruction, function: Symbol) -> tuple[int, ...]:
    """Return the targets of an indirect jump through a table of its function, sorted; () if there is no such table.

    The table is the read-only data that the jump itself or the nearest instruction before it refers to, whose entries
    point into the function. It ends where they stop doing so: a table that follows it directly adds edges, never takes
    any away. On arm64 the entries may be distances in words from a label of the function instead.
    """
    if function.address is None:
        return ()
    if image.machine is ARM64 and (targets := _distances(image, jump[0], function)):
        return targets
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


def _distances(image: Image, jump: int, function: Symbol) -> tuple[int, ...]:
    """Return the targets of a table without relocations, of `ldrb|ldrh|ldr; adr base; add x, base, x, sxtb #2; br x`.

    (gcc's casesi_dispatch.) It has as many entries as the comparison with its last one says; without that, it ends as
    other tables do.
    """
    assert function.address is not None
    start = max(function.address, jump - _LOOK_BACK * 4)
    table, base, size, register, low, last = None, None, 0, -1, None, None
    for at in range(jump - 4, start - 4, -4):
        word = image.read(at, 4)
        used = fields(int.from_bytes(word, "little"), at)
        if base is None:
            base = next((place for _, place, _ in constants(word, at)), None)
        elif not size:
            size, register = used.index_bytes, used.base
        elif table is None and used.into == register and image.linked:
            low = used.added if low is None else low
            table = used.page + low if low is not None and used.page is not None else None
        elif table is None and used.into == register:
            reference = image.reference(at)
            table = reference.address if reference is not None else None
        elif table is not None and used.compared is not None:
            last = used.compared
            break
    if base is None or table is None or not size:
        return ()
    found: set[int] = set()
    section = image.section_at(table)
    if section is None or section.kind is not Class.DATA or section.writable:
        return ()
    entries = (section.end - table) // size if last is None else last + 1
    for number in range(entries):
        target = base + 4 * image.signed(table + number * size, size)
        owner = image.symbols.functions.containing(target)
        if owner is None or owner.name.split(".cold")[0] != function.name.split(".cold")[0]:
            break
        found.add(target)
    return tuple(sorted(found))


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
