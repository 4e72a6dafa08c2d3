"""The tables of an image that say where code may differ at run time, where it is annotated and where it may go on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from nostale.contract import BadInput
from nostale.lint.image import Class, Image, Reference, records

JUMP_TABLE_FORM, EX_TABLE_FORM, HINT_FORM = "iiq", "iiI", "ihBBBxxx"
_BUGFLAG_WARNING = 1
_FEATURE_POPCNT = 4 * 32 + 23  # X86_FEATURE_POPCNT, arch/x86/include/asm/cpufeatures.h


@dataclass(frozen=True, slots=True)
class Replacement:
    """Code that may stand in the place of a group's original: [start, end), empty where NOPs do."""

    start: int
    end: int
    feature: int


@dataclass(frozen=True, slots=True)
class Group:
    """One place with alternatives.

    Args:
        start: where the original begins.
        end: one past the longest original of all entries for this place: nested ones share it.
        replacements: what may stand there instead.
        always_replaced: the original never runs (POPCNT: every CPU this is about has it).
    """

    start: int
    end: int
    replacements: tuple[Replacement, ...]
    always_replaced: bool


@dataclass(frozen=True, slots=True)
class Tables:
    """What the tables say, by flat address.

    Args:
        alternatives: by the start of the original.
        replaced: for each byte range of replacement code (start, end), the group it belongs to, sorted.
        jump_labels: place of the jump or NOP to (target, key's name).
        fixups: place of an instruction that may fault to where it goes on.
        hints: places with an unwind hint, sorted: entries of code written in assembly.
        reachable: places that are reached although they follow a trap.
        inner_calls: calls that stay in their function.
    """

    alternatives: Mapping[int, Group]
    replaced: tuple[tuple[int, int, int], ...]
    jump_labels: Mapping[int, tuple[int, str]]
    fixups: Mapping[int, tuple[int, ...]]
    hints: tuple[int, ...]
    reachable: frozenset[int]
    inner_calls: frozenset[int]


def read_tables(image: Image) -> Tables:
    """Read all of them; one that is absent is empty.

    Raises:
        BadInput: a table that is not a whole number of records.
    """
    groups = _alternatives(image)
    replaced = sorted(
        (one.start, one.end, group.start)
        for group in groups.values()
        for one in group.replacements
        if one.end > one.start
    )
    return Tables(
        groups,
        tuple(replaced),
        _jump_labels(image),
        _fixups(image),
        tuple(sorted(_pointed(image, ".discard.unwind_hints", HINT_FORM))),
        frozenset(_pointed(image, ".discard.reachable", "i")) | warnings(image),
        frozenset(_pointed(image, ".discard.intra_function_calls", "i")),
    )


def annotated(image: Image, name: str) -> dict[int, int]:
    """Return how often a table of annotations names each place: `.long label - .`, one an annotation."""
    found: dict[int, int] = defaultdict(int)
    for address in _pointed(image, name, "i"):
        found[address] += 1
    return dict(found)


def table_places(image: Image, name: str) -> list[int]:
    """Return the places that a table of 8-byte pointers names, in its order; [] where there is no such table."""
    return _pointed(image, name, "q")


def warnings(image: Image) -> frozenset[int]:
    """Return the places after the traps that only warn: __bug_table says so even where .discard.reachable is gone.

    A module has lost its .discard sections. An entry is 12 bytes with the file's name in it, else 8; the flags are its
    last two bytes but for padding (include/asm-generic/bug.h, struct bug_entry).
    """
    section = image.section_named("__bug_table")
    if section is None:
        return frozenset()
    traps = [one for one in image.references(section.start, section.end) if _in_code(image, one)]
    size = traps[1].at - traps[0].at if len(traps) > 1 else section.end - section.start
    if size not in (8, 12):
        return frozenset()
    flags = {8: 4, 12: 10}[size]
    return frozenset(
        one.address + image.machine.trap_bytes
        for one in traps
        if one.address is not None and image.signed(one.at + flags, 2) & _BUGFLAG_WARNING
    )


def _in_code(image: Image, reference: Reference) -> bool:
    return reference.address is not None and image.class_at(reference.address) not in (None, Class.DATA)


def _pointed(image: Image, name: str, form: str) -> list[int]:
    """Return where the first field of each record points to."""
    section = image.section_named(name)
    if section is None:
        return []
    places = (image.pointed(address) for address, _ in records(image, section, form))
    return [place for place in places if place is not None]


def _alternatives(image: Image) -> dict[int, Group]:
    section = image.section_named(".altinstructions")
    if section is None or section.end == section.start:
        return {}
    wide = _entry_size(image, section.start, section.end) == 14
    entries: dict[int, list[tuple[int, Replacement]]] = defaultdict(list)
    for address, fields in records(image, section, "iiHHBB" if wide else "iiHBB"):
        original, replacement = image.pointed(address), image.pointed(address + 4)
        if original is not None and replacement is not None:
            entries[original].append((fields[-2], Replacement(replacement, replacement + fields[-1], fields[2])))
    return {
        start: Group(
            start,
            start + max(length for length, _ in found),
            tuple(one for _, one in found),
            any(one.feature == _FEATURE_POPCNT for _, one in found),
        )
        for start, found in entries.items()
    }


def _entry_size(image: Image, start: int, end: int) -> int:
    """Tell the two forms of `struct alt_instr` apart by how far its relocations lie apart: 14 bytes in 6.12, 12 in 6.1.

    The wider one has flags beside the feature (arch/x86/include/asm/alternative.h).
    """
    places = [reference.at - start for reference in islice(image.references(start, end), 3)]
    size = places[2] - places[0] if len(places) == 3 else end - start
    if size not in (12, 14):
        raise BadInput(image.where, f".altinstructions has entries of {size} bytes", cause="another kernel version")
    return size


def _jump_labels(image: Image) -> dict[int, tuple[int, str]]:
    section = image.section_named("__jump_table")
    found = {}
    if section is not None:
        for address, _ in records(image, section, JUMP_TABLE_FORM):
            code, target, key = image.pointed(address), image.pointed(address + 4), image.reference(address + 8)
            if code is not None and target is not None:
                found[code] = (target, _key_name(image, key) if key else "?")
    return found


def _key_name(image: Image, key: Reference) -> str:
    """Name the static key; the two low bits of its address say how the branch is laid out."""
    return key.symbol.name if key.address is None else image.name(key.address & ~3)


def _fixups(image: Image) -> dict[int, tuple[int, ...]]:
    section = image.section_named("__ex_table")
    found: dict[int, list[int]] = defaultdict(list)
    if section is not None:
        for address, _ in records(image, section, EX_TABLE_FORM):
            faulting, fixup = image.pointed(address), image.pointed(address + 4)
            if faulting is not None and fixup is not None:
                found[faulting].append(fixup)
    return {faulting: tuple(fixups) for faulting, fixups in found.items()}
