"""The tables of an image that say where code may differ at run time, where it is annotated and where it may go on."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nostale.contract import BadInput
from nostale.lint.image import Class, Image, Section
from nostale.lint.machine import X86_64

_JUMP_ENTRY_BYTES, _FIXUP_BYTES, _HINT_BYTES, _PLACE_BYTES, _POINTER_BYTES = 16, 12, 12, 4, 8
_KEY_OFFSET, _KEY_FLAGS = 8, 3  # struct jump_entry; the low bits of the key say how the branch is laid out
_BUGFLAG_WARNING = 1
_ALT_NOT, _ALT_DIRECT_CALL = 1, 2  # arch/x86/include/asm/alternative.h; before v6.4 only the first, as bit 15
_WIDE_FIELDS = 6
_FEATURE_POPCNT = 4 * 32 + 23  # X86_FEATURE_POPCNT, arch/x86/include/asm/cpufeatures.h


@dataclass(frozen=True, slots=True)
class Replacement:
    """Code that may stand in the place of a group's original: [start, end), empty where NOPs do.

    Args:
        feature: the number of the CPU feature that decides, word * 32 + bit.
        inverted: it is put there where the CPU lacks the feature (ALT_NOT).
        calls: it stands for a call of what the original's pointer holds at boot (ALT_FLAG_DIRECT_CALL).
    """

    start: int
    end: int
    feature: int
    inverted: bool = False
    calls: bool = False


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
        jump_labels: place of the jump or NOP to (target, entry of the table, for `jump_key`).
        fixups: place of an instruction that may fault to where it goes on.
        hints: places with an unwind hint, sorted: entries of code written in assembly.
        reachable: places that are reached although they follow a trap.
        inner_calls: calls that stay in their function.
    """

    alternatives: Mapping[int, Group]
    replaced: tuple[tuple[int, int, int], ...]
    jump_labels: Mapping[int, tuple[int, int]]
    fixups: Mapping[int, tuple[int, ...]]
    hints: tuple[int, ...]
    reachable: frozenset[int]
    inner_calls: frozenset[int]


def read_tables(image: Image) -> Tables:
    """Read all of them; one that is absent is empty.

    Raises:
        BadInput: a table that is not a whole number of records, or has records of another form.
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
        {code: (target, entry) for entry, code, target in jump_entries(image)},
        _fixups(image),
        tuple(sorted(_places(image, ".discard.unwind_hints", _HINT_BYTES))),
        frozenset(_places(image, ".discard.reachable")) | warnings(image),
        frozenset(_places(image, ".discard.intra_function_calls")),
    )


def annotated(image: Image, name: str) -> dict[int, int]:
    """Return how often a table of annotations names each place: `.long label - .`, one an annotation."""
    found: dict[int, int] = defaultdict(int)
    for address in _places(image, name):
        found[address] += 1
    return dict(found)


def table_places(image: Image, name: str) -> list[int]:
    """Return the places that a table of 8-byte pointers names, in its order; [] where there is no such table."""
    return _places(image, name, _POINTER_BYTES, size_bytes=_POINTER_BYTES)


def sites(image: Image, name: str) -> list[int]:
    """Return the places that a table of 4-byte distances names: .retpoline_sites, .return_sites and their like."""
    return _places(image, name)


def warnings(image: Image) -> frozenset[int]:
    """Return the places after the traps that only warn: __bug_table says so even where .discard.reachable is gone.

    A module has lost its .discard sections. An entry is 12 bytes with the file's name in it, else 8; the flags are its
    last two bytes but for padding (include/asm-generic/bug.h, struct bug_entry).
    """
    found = set()
    for section in image.sections_named("__bug_table"):
        for size, flags in ((12, 10), (8, 4)):
            traps = _column_of_code(image, section, size, (0,))
            if traps is None:
                continue
            content = image.content(section)
            for at, trap in enumerate(traps[0]):
                if int.from_bytes(content[at * size + flags : at * size + flags + 2], "little") & _BUGFLAG_WARNING:
                    found.add(trap + image.machine.trap_bytes)
            break
    return frozenset(found)


def _column_of_code(image: Image, section: Section, stride: int, offsets: tuple[int, ...]) -> list[list[int]] | None:
    """Return the columns of a table if all of them point into code: how forms of a record are told apart."""
    if (section.end - section.start) % stride or section.end == section.start:
        return None
    columns = [image.column(section, stride, offset) for offset in offsets]
    places = {place for column in columns for place in column if place}
    # A replacement by nothing may stand at the very end of its section.
    if places and all(_is_code(image, place) or _is_code(image, place - 1) for place in places):
        return columns
    return None


def _is_code(image: Image, place: int) -> bool:
    return image.class_at(place) not in (None, Class.DATA)


def _places(image: Image, name: str, stride: int = _PLACE_BYTES, *, size_bytes: int = 4) -> list[int]:
    """Return where the first field of each record points to, in order."""
    found: list[int] = []
    for section in image.sections_named(name):
        found += [place for place in image.column(section, stride, size_bytes=size_bytes) if place]
    return found


def _alternatives(image: Image) -> dict[int, Group]:
    entries: dict[int, list[tuple[int, Replacement]]] = defaultdict(list)
    for section in image.sections_named(".altinstructions"):
        if section.end > section.start:
            for original, length, replacement in _alternative_entries(image, section):
                entries[original].append((length, replacement))
    return {
        start: Group(
            start,
            start + max(length for length, _ in found),
            tuple(one for _, one in found),
            image.machine is X86_64 and any(one.feature == _FEATURE_POPCNT for _, one in found),
        )
        for start, found in entries.items()
    }


def _alternative_entries(image: Image, section: Section) -> Iterator[tuple[int, int, Replacement]]:
    """Yield (original, its length, replacement) of each `struct alt_instr`.

    It is 14 bytes in v6.12, with flags beside the feature, and 12 in v6.1 and on arm64: whichever points into code.
    """
    for form in ("<iiHHBB", "<iiHBB"):
        size = struct.calcsize(form)
        columns = _column_of_code(image, section, size, (0, 4))
        if columns is None:
            continue
        rows = struct.iter_unpack(form, image.content(section))
        for original, place, fields in zip(*columns, rows, strict=True):
            if original and fields[2] & image.machine.callback_bit:
                # The callback, which may lie elsewhere, leaves its instructions, changes immediates, or writes NOPs.
                yield original, fields[-2], Replacement(original, original, fields[2])
            elif original and place:
                # Since Linux commit 5d1dd961e743 ("x86/alternatives: Add alt_instr.flags") (in v6.4) flags are apart.
                feature, flags = (
                    (fields[2], fields[3]) if len(fields) == _WIDE_FIELDS else divmod(fields[2], 1 << 15)[::-1]
                )
                inverted, calls = bool(flags & _ALT_NOT), bool(flags & _ALT_DIRECT_CALL)
                yield original, fields[-2], Replacement(place, place + fields[-1], feature, inverted, calls)
        return
    raise BadInput(image.where, f"{section.name} has entries of no known form", cause="another kernel version")


def jump_key(image: Image, entry: int) -> tuple[str, int | None]:
    """Return the name and the address of the static key of an entry; None where another image defines it."""
    key = image.field(entry + _KEY_OFFSET, 8)
    if key.address is None:
        return key.name, None
    address = key.address & ~_KEY_FLAGS
    return image.name(address), address


def jump_entries(image: Image) -> Iterator[tuple[int, int, int]]:
    """Yield (place, code, target) of every entry of the jump table that this image defines."""
    for section in image.sections_named("__jump_table"):
        codes = image.column(section, _JUMP_ENTRY_BYTES)
        targets = image.column(section, _JUMP_ENTRY_BYTES, 4)
        for number, (code, target) in enumerate(zip(codes, targets, strict=True)):
            if code and target:
                yield section.start + number * _JUMP_ENTRY_BYTES, code, target


def _fixups(image: Image) -> dict[int, tuple[int, ...]]:
    found: dict[int, list[int]] = defaultdict(list)
    for section in image.sections_named("__ex_table"):
        columns = image.column(section, _FIXUP_BYTES), image.column(section, _FIXUP_BYTES, 4)
        for faulting, fixup in zip(*columns, strict=True):
            if faulting and fixup:
                found[faulting].append(fixup)
    return {faulting: tuple(fixups) for faulting, fixups in found.items()}
