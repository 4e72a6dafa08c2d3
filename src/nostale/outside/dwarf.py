"""The one door to DWARF, versions 4 and 5: the source line of an address, and where functions were inlined.

pyelftools reads compilation units and their entries; nothing is read before it is asked for, and of a kernel's two
thousand units only those that an address lies in. Which these are, .debug_aranges says, or where a compiler leaves that
out the units themselves. Line programs are run here, because the library takes 20 us for each of their rows. Sections
of an object are relocated to the places that its loader gave them, so that addresses here are addresses there.
"""

from __future__ import annotations

import io
import struct
import zlib
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from posixpath import join, normpath
from typing import IO, cast

import numpy as np
from elftools.dwarf.compileunit import CompileUnit
from elftools.dwarf.die import DIE
from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo
from elftools.dwarf.lineprogram import LineProgram
from elftools.dwarf.ranges import BaseAddressEntry

from nostale.contract import BadInput
from nostale.outside import elf, zstd

_ZLIB, _ZSTD = 1, 2  # ELFCOMPRESS_*
_LIMIT_BYTES = 1 << 30  # of one section, unpacked
_PARTS = ("info", "abbrev", "str", "line", "line_str", "ranges", "rnglists", "addr", "str_offsets")
_NEVER = ("aranges", "frame", "loc", "pubtypes", "pubnames", "loclists", "sup", "types")
_COPY, _ADVANCE_PC, _ADVANCE_LINE, _SET_FILE, _CONST_ADD_PC, _FIXED_ADVANCE_PC = 1, 2, 3, 4, 8, 9
_END_SEQUENCE, _SET_ADDRESS = 1, 2
_NEAREST = 8  # ranges of units that may overlap
_DEEPEST = 200  # entries within entries: no compiler nests so deep
_WITH_CODE = frozenset(
    f"DW_TAG_{name}"
    for name in ("compile_unit", "subprogram", "inlined_subroutine", "lexical_block", "try_block", "catch_block")
)

Span = tuple[int, int, int]  # (start, end, offset of the unit)


@dataclass(frozen=True, slots=True)
class Inlined:
    """One copy of a function inside of another: its instructions lie in `spans`, half-open, by address."""

    name: str
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Lines:
    """The line table of one unit: from each address on, up to the next, one line. A line of 0 belongs to none."""

    starts: list[int]
    rows: list[tuple[int, int]]  # (file, line)
    names: tuple[str, ...]

    def at(self, address: int) -> str | None:
        """Return `file:line`, None where the table says nothing."""
        at = bisect_right(self.starts, address) - 1
        if at < 0:
            return None
        file, line = self.rows[at]
        return f"{self.names[file]}:{line}" if line and file < len(self.names) else None


@dataclass(slots=True)
class Debug:
    """The debugging information of one file.

    Args:
        file: the checked file.
        starts: by index of section, where its loader put it; of a linked file nothing: it has addresses.
        fields: by relocation type, how many bytes an address fills in.
    """

    file: elf.Elf
    starts: Mapping[int, int]
    fields: Mapping[int, int]
    _info: DWARFInfo | None = None
    _spans: list[Span] | None = None  # sorted
    _lines: dict[int, Lines] = field(default_factory=dict)
    _contents: dict[str, memoryview | None] = field(default_factory=dict)

    @property
    def present(self) -> bool:
        """Whether there is any."""
        return any(section.name == ".debug_info" for section in self.file.sections)

    def source(self, address: int) -> str | None:
        """Return `file:line` of the instruction at `address`, None where that is not known.

        What is damaged is not known: it says nothing about the code.
        """
        for unit in self._units_at(address):
            if unit not in self._lines:
                try:
                    self._lines[unit] = self._line_table(unit)
                except Exception:  # the library fails in ways of its own on damaged information
                    self._lines[unit] = Lines([], [], ())
            found = self._lines[unit].at(address)
            if found is not None:
                return found
        return None

    def inlined(self, names: Collection[str], within: Collection[tuple[int, int]]) -> list[Inlined]:
        """Return the inlined copies of functions of these names, in units that have code in a range of `within`.

        Returns:
            By first address. Cost: a few ms for each thousand entries of such a unit.

        Raises:
            BadInput: it does not hold together.
        """
        units = {unit for start, end, unit in self._all_spans() if any(start < b and a < end for a, b in within)}
        try:
            found = [one for unit in sorted(units) for one in self._copies(unit, names)]
        except Exception as error:  # the library fails in ways of its own on damaged information
            said = f"{type(error).__name__}: {error}".rstrip(": ")
            what = f"its debugging information cannot be read ({said})"
            raise BadInput(self.file.where, what, cause="a cut or damaged file") from error
        return sorted(found, key=lambda one: (one.spans, one.name))

    # Which unit.

    def _units_at(self, address: int) -> list[int]:
        """Return the units whose ranges begin last at or before `address` and contain it."""
        spans = self._all_spans()
        at = bisect_right(spans, (address, 1 << 64, 0))
        return [unit for start, end, unit in spans[max(at - _NEAREST, 0) : at] if start <= address < end][::-1]

    def _all_spans(self) -> list[Span]:
        if self._spans is None:
            try:
                self._spans = sorted(self._aranges()) or sorted(self._unit_ranges())
            except Exception:  # as above: without them no unit is found
                self._spans = []
        return self._spans

    def _aranges(self) -> Iterator[Span]:
        """Yield (start, end, unit) of .debug_aranges: DWARF 5, section 6.1.2."""
        content = self._content("aranges")
        at = 0
        while content is not None and at + 12 <= len(content):
            length, _, unit, size, _ = struct.unpack_from("<IHIBB", content, at)
            following = at + 4 + length
            if length >= 0xFFFF_FFF0 or size != 8 or following > len(content):
                return
            first = at + 16  # the tuples are aligned to twice an address
            table = np.frombuffer(content, "<u8", max(following - first, 0) // 16 * 2, first).reshape(-1, 2)
            for start, length_bytes in table.tolist():
                if length_bytes:
                    yield start, start + length_bytes, unit
            at = following

    def _unit_ranges(self) -> Iterator[Span]:
        """Yield (start, end, unit) as the units themselves say."""
        info = self._dwarf()
        for unit in info.iter_CUs() if info else ():
            for start, end in self._ranges(unit, unit.get_top_DIE()):
                yield start, end, unit.cu_offset

    # Lines.

    def _line_table(self, offset: int) -> Lines:
        info = self._dwarf()
        if info is None:
            return Lines([], [], ())
        unit = info.get_CU_at(offset)
        program = info.line_program_for_CU(unit)
        if program is None:
            return Lines([], [], ())
        directory = unit.get_top_DIE().attributes.get("DW_AT_comp_dir")
        names = _file_names(program, _text(directory.value) if directory else "")
        content = self._content("line") or b""
        code = bytes(content[program.program_start_offset : program.program_end_offset])
        rows = _run(code, program)
        starts = [row[0] for row in rows]
        return Lines(starts, [(file, line) for _, file, line in rows], names)

    # Inlined copies.

    def _copies(self, offset: int, names: Collection[str]) -> Iterator[Inlined]:
        info = self._dwarf()
        if info is None:
            return
        unit = info.get_CU_at(offset)
        known: dict[int, str] = {}
        waiting = [(unit.get_top_DIE(), 0)]
        for die, depth in waiting:  # grows while it is gone through
            if len(waiting) > unit["unit_length"] or depth > _DEEPEST:
                return  # more entries than there are bytes: they refer to each other in circles
            if die.tag == "DW_TAG_inlined_subroutine":
                name = self._origin(die, known)
                if name in names:
                    yield Inlined(name, tuple(sorted(self._ranges(unit, die))))
            if die.has_children and die.tag in _WITH_CODE:
                waiting += [(child, depth + 1) for child in _children(die, unit["unit_length"])]

    def _origin(self, die: DIE, known: dict[int, str]) -> str:
        held = die.attributes["DW_AT_abstract_origin"]
        if held.value not in known:
            origin = die.get_DIE_from_attribute("DW_AT_abstract_origin")
            name = origin.attributes.get("DW_AT_name")
            known[held.value] = _text(name.value) if name else ""
        return known[held.value]

    def _ranges(self, unit: CompileUnit, die: DIE) -> Iterator[tuple[int, int]]:
        """Yield the address ranges of an entry."""
        low, high = die.attributes.get("DW_AT_low_pc"), die.attributes.get("DW_AT_high_pc")
        if low is not None and high is not None:
            yield low.value, high.value if high.form == "DW_FORM_addr" else low.value + high.value
        held = die.attributes.get("DW_AT_ranges")
        lists = self._dwarf().range_lists() if held is not None else None  # type: ignore[union-attr]
        if held is None or lists is None:
            return
        top = unit.get_top_DIE().attributes.get("DW_AT_low_pc")
        base = top.value if top is not None else 0
        for one in lists.get_range_list_at_offset(held.value, unit):
            if isinstance(one, BaseAddressEntry):
                base = one.base_address
            elif one.end_offset > one.begin_offset:
                shift = 0 if one.is_absolute else base
                yield one.begin_offset + shift, one.end_offset + shift

    # Sections.

    def _dwarf(self) -> DWARFInfo | None:
        if self._info is None:
            held = {name: self._descriptor(name) for name in _PARTS}
            if held["info"] is None or held["abbrev"] is None:
                return None
            rest = {f"debug_{name}_sec": None for name in _NEVER}
            given = {f"debug_{name}_sec": one for name, one in held.items()}
            config = DwarfConfig(little_endian=True, machine_arch="", default_address_size=8)
            self._info = DWARFInfo(config, eh_frame_sec=None, gnu_debugaltlink_sec=None, **given, **rest)
        return self._info

    def _descriptor(self, name: str) -> DebugSectionDescriptor | None:
        content = self._content(name)
        if content is None:
            return None
        stream = cast(IO[bytes], _Window(content))
        return DebugSectionDescriptor(stream, f".debug_{name}", 0, len(content), 0)

    def _content(self, name: str) -> memoryview | None:
        """Return a section of debugging information, unpacked and relocated, None where there is none."""
        if name not in self._contents:
            self._contents[name] = self._read(name)
        return self._contents[name]

    def _read(self, name: str) -> memoryview | None:
        section = next((one for one in self.file.sections if one.name == f".debug_{name}"), None)
        if section is None:
            return None
        content = self.file.content(section)
        if section.flags & elf.FLAG_COMPRESSED:
            content = memoryview(_unpacked(content, self.file.where))
        if self.file.linked:
            return content
        return memoryview(self._relocated(section.index, bytes(content)))

    def _relocated(self, index: int, content: bytes) -> bytes:
        """Fill in what the linker would: O(relocations), in numpy."""
        table = self.file.relocations(index)
        symbols = self.file.symbols[table["symbol"]]
        starts = np.zeros(1 << 16, np.uint64)
        for section, start in self.starts.items():
            starts[section] = start
        with np.errstate(over="ignore"):
            values = starts[symbols["section"]] + symbols["value"] + table["addend"].astype(np.uint64)
        filled = np.frombuffer(content, np.uint8).copy()
        for kind, size in self.fields.items():
            chosen = (table["type"] == kind) & (table["offset"] + size <= len(filled))
            places, held = table["offset"][chosen].astype(np.int64), values[chosen]
            for byte in range(size):
                filled[places + byte] = (held >> np.uint64(8 * byte)).astype(np.uint8)
        return filled.tobytes()


@dataclass(slots=True)
class _Window:
    """A part of a mapped file, read as a file of its own: no byte of it is copied before it is asked for."""

    content: memoryview
    at: int = 0

    def seek(self, at: int, whence: int = io.SEEK_SET) -> int:
        self.at = at + (0, self.at, len(self.content))[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def read(self, size: int = -1) -> bytes:
        end = len(self.content) if size < 0 else self.at + size
        found = bytes(self.content[self.at : end])
        self.at += len(found)
        return found


def _children(die: DIE, limit: int) -> list[DIE]:
    return list(islice(die.iter_children(), limit))


def _file_names(program: LineProgram, directory: str) -> tuple[str, ...]:
    """Return the path of every file of a line table, by its number there, relative to where it was compiled."""
    header = program.header
    new = header["version"] >= 5
    directories = [_text(one) for one in header["include_directory"]]
    if not new:
        directories.insert(0, directory)
    names = [] if new else [""]
    for one in header["file_entry"]:
        number = one.dir_index or 0
        path = normpath(join(directories[number] if number < len(directories) else "", _text(one.name)))
        names.append(path.removeprefix(directory.rstrip("/") + "/") if directory else path)
    return tuple(names)


def _run(code: bytes, program: LineProgram) -> list[tuple[int, int, int]]:
    """Run a line program: DWARF 5, section 6.2.5.

    Returns:
        (address, file, line), by address, the last of several for one; where a sequence ends, with a line of 0.
    """
    header = program.header
    base, line_base, line_range = header["opcode_base"], header["line_base"], header["line_range"]
    unit, lengths = header["minimum_instruction_length"], header["standard_opcode_lengths"]
    const_advance = (255 - base) // line_range * unit
    rows: dict[int, tuple[int, int]] = {}
    ends: set[int] = set()
    address, file, line, at, end = 0, 1, 1, 0, len(code)
    while at < end:
        opcode = code[at]
        at += 1
        if opcode >= base:
            advance, more = divmod(opcode - base, line_range)
            address += advance * unit
            line += line_base + more
            rows[address] = (file, line)
        elif opcode == 0:
            length, at = _uleb(code, at)
            sub, data = code[at], code[at + 1 : at + length]
            at += length
            if sub == _END_SEQUENCE:
                ends.add(address)
                address, file, line = 0, 1, 1
            elif sub == _SET_ADDRESS:
                address = int.from_bytes(data, "little")
        elif opcode == _COPY:
            rows[address] = (file, line)
        elif opcode == _ADVANCE_PC:
            advance, at = _uleb(code, at)
            address += advance * unit
        elif opcode == _ADVANCE_LINE:
            more, at = _sleb(code, at)
            line += more
        elif opcode == _SET_FILE:
            file, at = _uleb(code, at)
        elif opcode == _CONST_ADD_PC:
            address += const_advance
        elif opcode == _FIXED_ADVANCE_PC:
            address += int.from_bytes(code[at : at + 2], "little")
            at += 2
        else:
            for _ in range(lengths[opcode - 1]):
                _, at = _uleb(code, at)
    for address in ends:
        rows.setdefault(address, (0, 0))
    return [(address, *rows[address]) for address in sorted(rows)]


def _uleb(code: bytes, at: int) -> tuple[int, int]:
    """Return an unsigned LEB128 number and the place after it."""
    value = shift = 0
    while True:
        byte = code[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _sleb(code: bytes, at: int) -> tuple[int, int]:
    start = at
    value, at = _uleb(code, at)
    bits = 7 * (at - start)
    return value - (1 << bits) if code[at - 1] & 0x40 else value, at


def _unpacked(content: memoryview, where: str) -> bytes:
    """Unpack a compressed section: ELF, Compression Header."""
    kind, _, size, _ = struct.unpack_from("<IIQQ", content)
    if size > _LIMIT_BYTES:
        return b""
    if kind == _ZSTD:
        return zstd.unpack(bytes(content[24:]), size, where) or b""
    return zlib.decompressobj().decompress(content[24:], size) if kind == _ZLIB else b""


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
