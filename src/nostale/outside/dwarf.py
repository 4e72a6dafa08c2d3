"""The one door to DWARF: where functions were inlined. pyelftools reads it; relocations are applied here, in bulk.

Not read: types, variables, line numbers.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nostale.contract import BadInput

if TYPE_CHECKING:
    from elftools.dwarf.compileunit import CompileUnit
    from elftools.dwarf.die import DIE
    from elftools.dwarf.dwarfinfo import DWARFInfo

    from nostale.outside.elf import Elf, Section

# The sections by the name that pyelftools gives them; the others are not needed for what is read here.
_SECTIONS = ("info", "abbrev", "str", "line_str", "ranges", "rnglists", "addr", "str_offsets", "aranges")
_COMPRESSED = 1 << 11  # SHF_COMPRESSED


@dataclass(frozen=True, slots=True)
class Inlined:
    """One copy of a function inside of another: its instructions lie in `spans`, half-open, by address."""

    name: str
    spans: tuple[tuple[int, int], ...]


def inlined(
    file: Elf, starts: Mapping[int, int], absolute: Mapping[int, int], names: Collection[str]
) -> list[Inlined] | None:
    """Return every inlined copy of the functions of those names, by first address.

    Args:
        starts: of each section of a relocatable file, the address that it is laid out at; of a linked one {}.
        absolute: relocation type to the bytes it fills in with an address.

    Returns:
        None where the file has no debugging information, or it is compressed: nothing can be told.

    Raises:
        BadInput: it does not hold together.
    """
    sections = {section.name: section for section in file.sections}
    info = sections.get(".debug_info")
    if info is None or info.flags & _COMPRESSED:
        return None
    try:
        dwarf = _opened(file, sections, starts, absolute)
        found = [one for unit in dwarf.iter_CUs() for one in _of_unit(dwarf, unit, names)]
    except Exception as error:  # the library fails in ways of its own on damaged information
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        what = f"its debugging information cannot be read ({said})"
        raise BadInput(file.where, what, cause="a cut or damaged file") from error
    return sorted(found, key=lambda one: one.spans)


def _opened(
    file: Elf, sections: Mapping[str, Section], starts: Mapping[int, int], absolute: Mapping[int, int]
) -> DWARFInfo:
    from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo

    held = dict.fromkeys(DWARFInfo.__init__.__annotations__)
    for name in ("return", "config"):
        held.pop(name)
    for name in _SECTIONS:
        section = sections.get(f".debug_{name}")
        if section is not None:
            content = _relocated(file, section, starts, absolute)
            held[f"debug_{name}_sec"] = DebugSectionDescriptor(
                io.BytesIO(content), section.name, section.offset, len(content), 0
            )
    return DWARFInfo(config=DwarfConfig(little_endian=True, default_address_size=8, machine_arch=""), **held)


def _relocated(file: Elf, section: Section, starts: Mapping[int, int], absolute: Mapping[int, int]) -> bytes:
    """Return a section's bytes, with the places that hold addresses and offsets filled in."""
    content = np.frombuffer(file.content(section), np.uint8).copy()
    if file.linked:
        return content.tobytes()
    table = file.relocations(section.index)
    base = np.zeros(1 << 16, np.uint64)
    base[list(starts)] = list(starts.values())
    symbols = file.symbols[table["symbol"]]
    values = base[symbols["section"]] + symbols["value"] + table["addend"].view(np.uint64)
    for kind, size in absolute.items():
        rows = table["type"] == kind
        places = table["offset"][rows].astype(np.int64)
        whole = places + size <= len(content)
        written = values[rows][whole].astype("<u8").view(np.uint8).reshape(-1, 8)[:, :size]
        content[places[whole][:, None] + np.arange(size)] = written
    return content.tobytes()


def _of_unit(dwarf: DWARFInfo, unit: CompileUnit, names: Collection[str]) -> Iterator[Inlined]:
    """Yield the copies in one unit. A copy names its function by offset, which may come later."""
    copies: list[DIE] = []
    functions: dict[int, str] = {}
    for die in unit.iter_DIEs():
        if die.tag == "DW_TAG_inlined_subroutine":
            copies.append(die)
        elif die.tag == "DW_TAG_subprogram" and "DW_AT_name" in die.attributes:
            name = die.attributes["DW_AT_name"].value.decode("utf-8", "backslashreplace")
            if name in names:
                functions[die.offset - unit.cu_offset] = name
    if not functions:
        return
    for die in copies:
        origin = die.attributes.get("DW_AT_abstract_origin")
        name = functions.get(origin.value) if origin is not None else None
        spans = _spans(dwarf, unit, die) if name else ()
        if name and spans:
            yield Inlined(name, spans)


def _spans(dwarf: DWARFInfo, unit: CompileUnit, die: DIE) -> tuple[tuple[int, int], ...]:
    from elftools.dwarf.ranges import BaseAddressEntry

    held = die.attributes
    if "DW_AT_ranges" in held:
        lists = dwarf.range_lists()
        assert lists is not None
        base = _low(unit.get_top_DIE())
        found = []
        for entry in lists.get_range_list_at_offset(held["DW_AT_ranges"].value, unit):
            if isinstance(entry, BaseAddressEntry):
                base = entry.base_address
            elif entry.end_offset > entry.begin_offset:
                add = 0 if entry.is_absolute else base
                found.append((add + entry.begin_offset, add + entry.end_offset))
        return tuple(sorted(found))
    if "DW_AT_low_pc" not in held or "DW_AT_high_pc" not in held:
        return ()
    low, high = held["DW_AT_low_pc"].value, held["DW_AT_high_pc"]
    end = high.value if high.form == "DW_FORM_addr" else low + high.value
    return ((low, end),) if end > low else ()


def _low(top: DIE) -> int:
    low = top.attributes.get("DW_AT_low_pc")
    return int(low.value) if low is not None else 0
