"""The one door to ELF: a 64-bit little-endian file's sections, symbols and relocations, checked.

pyelftools reads the container. Symbols and relocations, of which a kernel has a million, are read in bulk, as views of
the file's own bytes, so that a count in a damaged header cannot ask for memory; relocations when they are asked for.
A large file is mapped, not held. Not read here: versions, debugging information (`outside.dwarf`).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt
from elftools.elf.elffile import ELFFile
from elftools.elf.enums import ENUM_E_MACHINE, ENUM_E_TYPE, ENUM_SH_TYPE_BASE
from elftools.elf.sections import Section as ElfSection

from nostale.contract import BadInput
from nostale.outside.compressed import Bytes, open_whole

Table = npt.NDArray[np.void]

MACHINE_X86_64 = 62
MACHINE_NAMES = {3: "i386", 8: "MIPS", 21: "powerpc64", 22: "s390", 40: "arm", 62: "x86-64", 183: "arm64", 243: "riscv"}
TYPE_RELOCATABLE, TYPE_EXECUTABLE, TYPE_SHARED = 1, 2, 3
TYPE_NAMES = {1: "relocatable", 2: "linked executable", 3: "shared object", 4: "core dump"}

FLAG_WRITE, FLAG_ALLOC, FLAG_EXEC, FLAG_COMPRESSED = 1, 2, 4, 0x800
SECTION_UNDEFINED = 0
SECTION_RESERVED = 0xFF00  # from here on an index is a word of its own: absolute, common, extended
SYMBOL_NOTYPE, SYMBOL_OBJECT, SYMBOL_FUNC = 0, 1, 2
BIND_LOCAL, BIND_GLOBAL, BIND_WEAK = 0, 1, 2

SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
# Of one program header what is asked for: Elf64_Phdr, System V ABI, "Program Header".
SEGMENT = np.dtype(
    [
        *(("type", "<u4"), ("flags", "<u4"), ("offset", "<u8"), ("address", "<u8")),
        *(("physical", "<u8"), ("file_size", "<u8"), ("size", "<u8"), ("align", "<u8")),
    ]
)
RELOCATION = np.dtype([("offset", "<u8"), ("type", "<u4"), ("symbol", "<u4"), ("addend", "<i8")])

SEGMENT_LOAD, SEGMENT_EXEC, SEGMENT_WRITE = 1, 1, 2

_HEADER_BYTES = 64
_SEGMENTS_EXTENDED = 0xFFFF  # PN_XNUM: the count stands in the first section header
_SYMTAB, _STRTAB, _RELA, _NOBITS = 2, 3, 4, 8
_LARGEST_NOBITS_BYTES = 1 << 40  # only a size without content can be larger than the file


@dataclass(frozen=True, slots=True)
class Section:
    """One section header. `size_bytes` of a section without content (.bss) says nothing of the file."""

    index: int
    name: str
    type: int
    flags: int
    address: int
    offset: int
    size_bytes: int
    link: int
    info: int

    @property
    def executable(self) -> bool:
        """Whether it holds instructions."""
        return bool(self.flags & FLAG_EXEC)

    @property
    def writable(self) -> bool:
        """Whether it may be written at run time."""
        return bool(self.flags & FLAG_WRITE)


@dataclass(frozen=True, slots=True)
class Segment:
    """What one PT_LOAD program header asks a loader for; `index` counts all program headers."""

    index: int
    flags: int
    address: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Elf:
    """A checked file.

    Args:
        where: its name, for errors.
        data: the unpacked bytes.
        machine: e_machine.
        type: e_type.
        sections: by index.
        symbols: `SYMBOL` records, (n_symbols,), a view of `data`.
        names: the symbols' string table.
        segments: what is loaded, in the file's order; none of an object.
    """

    where: str
    data: Bytes
    machine: int
    type: int
    sections: tuple[Section, ...]
    symbols: Table
    names: bytes
    segments: tuple[Segment, ...] = ()
    _relocations: dict[int, Table] = field(default_factory=dict)

    def content(self, section: Section) -> memoryview:
        """Return a section's bytes, empty for one without content."""
        if section.type == _NOBITS:
            return memoryview(b"")
        return memoryview(self.data)[section.offset : section.offset + section.size_bytes]

    def relocations(self, index: int) -> Table:
        """Return the relocations of section `index`, views of `data`; of a linked file, those kept of its link.

        Raises:
            BadInput: they name a symbol or a place that does not exist.
        """
        if index not in self._relocations:
            tables = [
                _relocations(self.data, one, self.sections, len(self.symbols), self.where, linked=self.linked)
                for one in self.sections
                if one.type == _RELA and one.info == index and self._of_symbols(one)
            ]
            self._relocations[index] = tables[-1] if tables else np.empty(0, RELOCATION)
        return self._relocations[index]

    def dynamic_relocations(self) -> Table:
        """Return what the image relocates itself by when it boots, empty where nothing does.

        Raises:
            BadInput: a table that is not a whole number of records.
        """
        tables = [
            _records(self.data, one, RELOCATION, self.where)
            for one in self.sections
            if one.type == _RELA and one.flags & FLAG_ALLOC
        ]
        return np.concatenate(tables) if tables else np.empty(0, RELOCATION)

    @property
    def linked(self) -> bool:
        """Whether it has addresses."""
        return self.type != TYPE_RELOCATABLE

    def _of_symbols(self, section: Section) -> bool:
        return section.link < len(self.sections) and self.sections[section.link].type == _SYMTAB


def read_elf(path: Path) -> Elf:
    """Read a file, plain or packed by xz or zstd.

    Raises:
        BadInput: unreadable, damaged, cut short, or not a 64-bit little-endian ELF file.
    """
    return parse_elf(open_whole(path), str(path))


def parse_elf(data: Bytes, where: str) -> Elf:
    """Check the bytes of a file and return their parts.

    Raises:
        BadInput: not a 64-bit little-endian ELF file, or one whose tables do not hold together.
    """
    machine, type_, sections, loads = _container(data, where)
    symtabs = [section for section in sections if section.type == _SYMTAB]
    symbols = np.empty(0, SYMBOL)
    names = b"\0"
    if symtabs:
        symbols = _records(data, symtabs[0], SYMBOL, where)
        names = _string_table(data, sections, symtabs[0].link, where)
        _check_symbols(symbols, names, len(sections), where)
    segments = _segments(data, *loads, where)
    file = Elf(where, data, machine, type_, sections, symbols, names, segments)
    if not file.linked:
        for section in sections:
            if section.type == _RELA and not section.name.startswith(".rela.debug_"):
                file.relocations(section.info)
    return file


def _container(data: Bytes, where: str) -> tuple[int, int, tuple[Section, ...], tuple[int, int, int]]:
    """Return the machine, the type, the sections, each within the file, and of program headers place, size, count."""
    if data[:4] != b"\x7fELF":
        raise BadInput(where, "not an ELF file", cause="a file of another kind", remedy="give vmlinux.o or a .ko")
    if len(data) > 5 and data[4:6] != b"\x02\x01":
        raise BadInput(where, "not a 64-bit little-endian ELF file", cause="an object of another architecture")
    if len(data) < _HEADER_BYTES:
        raise _cut(where, f"{len(data)} bytes, less than an ELF header")
    try:
        file = ELFFile(io.BytesIO(data) if isinstance(data, bytes) else cast(IO[bytes], data))
        machine = _number(file.header["e_machine"], ENUM_E_MACHINE)
        type_ = _number(file.header["e_type"], ENUM_E_TYPE)
        sections = tuple(_section(index, held) for index, held in enumerate(file.iter_sections()))
        strings = file.get_shstrndx()
        loads = (file["e_phoff"], file["e_phentsize"], file["e_phnum"])
    except Exception as error:  # the library fails in ways of its own on damaged headers: it is the file in any case
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        raise _cut(where, f"its headers cannot be read ({said})") from error
    if not sections:
        raise BadInput(where, "has no section headers", cause="a stripped image", remedy="give the unstripped file")
    if strings >= len(sections) or sections[strings].type != _STRTAB:
        raise _cut(where, f"section {strings} is not the table of section names")
    for section in sections:
        if section.type == _NOBITS and section.size_bytes > _LARGEST_NOBITS_BYTES:
            raise _cut(where, f"section {section.index} is {section.size_bytes} bytes of nothing")
        if section.type not in (0, _NOBITS) and section.offset + section.size_bytes > len(data):
            end = section.offset + section.size_bytes
            raise _cut(where, f"section {section.index} would end at byte {end:#x} of {len(data):#x}")
    return machine, type_, sections, loads


def _segments(data: Bytes, offset: int, size_bytes: int, count: int, where: str) -> tuple[Segment, ...]:
    if not count:
        return ()
    if count == _SEGMENTS_EXTENDED:
        raise _cut(where, "more than 65,534 program headers")
    if size_bytes != SEGMENT.itemsize or offset + count * size_bytes > len(data):
        raise _cut(where, f"{count} program headers of {size_bytes} bytes at {offset:#x} of {len(data):#x}")
    table = np.frombuffer(data, SEGMENT, count, offset)
    return tuple(
        Segment(int(at), int(table["flags"][at]), int(table["address"][at]), int(table["size"][at]))
        for at in np.flatnonzero(table["type"] == SEGMENT_LOAD)
    )


def _section(index: int, held: ElfSection) -> Section:
    header = held.header
    kind = _number(header["sh_type"], ENUM_SH_TYPE_BASE)
    rest = (header[f"sh_{name}"] for name in ("flags", "addr", "offset", "size", "link", "info"))
    return Section(index, held.name, kind, *rest)


def _number(value: str | int, names: Mapping[str, int]) -> int:
    """Return a header's field as the number in the file; the library names those that it knows."""
    return names[value] if isinstance(value, str) else value


def _string_table(data: Bytes, sections: tuple[Section, ...], index: int, where: str) -> bytes:
    if index >= len(sections) or sections[index].type != _STRTAB:
        raise _cut(where, f"section {index} is not the table of symbol names")
    section = sections[index]
    names = bytes(data[section.offset : section.offset + section.size_bytes])
    if not names.endswith(b"\0"):
        raise _cut(where, "the table of symbol names does not end")
    return names


def _check_symbols(symbols: Table, names: bytes, sections: int, where: str) -> None:
    if len(symbols) and int(symbols["name"].max()) >= len(names):
        raise _cut(where, "a symbol's name lies outside the table of names")
    owner = symbols["section"]
    if bool(((owner >= sections) & (owner < SECTION_RESERVED)).any()):
        raise _cut(where, f"a symbol lies in a section beyond the last, {sections - 1}")
    if bool((owner == 0xFFFF).any()):
        raise BadInput(
            where, "more than 65,279 sections", cause="-ffunction-sections", remedy="give the linked vmlinux.o"
        )


def _relocations(
    data: Bytes, section: Section, sections: tuple[Section, ...], symbols: int, where: str, *, linked: bool
) -> Table:
    table = _records(data, section, RELOCATION, where)
    if section.info >= len(sections):
        raise _cut(where, f"{section.name} relocates section {section.info} of {len(sections)}")
    if len(table):
        if int(table["symbol"].max()) >= symbols:
            raise _cut(where, f"{section.name} names a symbol beyond the last, {symbols - 1}")
        filled = sections[section.info]
        # Of a compressed section the size of what it unpacks to counts, which is not in the table of sections.
        if not linked and not filled.flags & FLAG_COMPRESSED and int(table["offset"].max()) >= filled.size_bytes:
            raise _cut(where, f"{section.name} relocates a place beyond the end of {sections[section.info].name}")
    return table


def _records(data: Bytes, section: Section, form: np.dtype[np.void], where: str) -> Table:
    if section.size_bytes % form.itemsize:
        raise _cut(where, f"{section.name} is not a whole number of {form.itemsize}-byte records")
    return np.frombuffer(data, form, section.size_bytes // form.itemsize, section.offset)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _cut(where: str, what: str) -> BadInput:
    return BadInput(where, what, cause="a cut or damaged file", remedy="build or copy it again")
