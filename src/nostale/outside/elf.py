"""The one door to ELF: a 64-bit little-endian file's sections, symbols and relocations, read in bulk and checked.

Everything is a view of the file's own bytes, so that a count in a damaged header cannot ask for memory. Not read:
program headers, versions, dynamic sections, debugging information.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nostale.contract import BadInput
from nostale.outside.compressed import read_whole

Table = npt.NDArray[np.void]

MACHINE_X86_64 = 62
MACHINE_NAMES = {3: "i386", 8: "MIPS", 21: "powerpc64", 22: "s390", 40: "arm", 62: "x86-64", 183: "arm64", 243: "riscv"}
TYPE_RELOCATABLE = 1
TYPE_NAMES = {1: "relocatable", 2: "linked executable", 3: "shared object", 4: "core dump"}

FLAG_WRITE, FLAG_ALLOC, FLAG_EXEC = 1, 2, 4
SECTION_UNDEFINED = 0
SECTION_RESERVED = 0xFF00  # from here on an index is a word of its own: absolute, common, extended
SYMBOL_NOTYPE, SYMBOL_OBJECT, SYMBOL_FUNC = 0, 1, 2
BIND_LOCAL, BIND_GLOBAL, BIND_WEAK = 0, 1, 2

_HEADER = np.dtype(
    [
        ("ident", "S16"),
        ("type", "<u2"),
        ("machine", "<u2"),
        ("version", "<u4"),
        ("entry", "<u8"),
        ("phoff", "<u8"),
        ("shoff", "<u8"),
        ("flags", "<u4"),
        ("ehsize", "<u2"),
        ("phentsize", "<u2"),
        ("phnum", "<u2"),
        ("shentsize", "<u2"),
        ("shnum", "<u2"),
        ("shstrndx", "<u2"),
    ]
)
_SECTION = np.dtype(
    [
        ("name", "<u4"),
        ("type", "<u4"),
        ("flags", "<u8"),
        ("addr", "<u8"),
        ("offset", "<u8"),
        ("size", "<u8"),
        ("link", "<u4"),
        ("info", "<u4"),
        ("align", "<u8"),
        ("entsize", "<u8"),
    ]
)
SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
RELOCATION = np.dtype([("offset", "<u8"), ("type", "<u4"), ("symbol", "<u4"), ("addend", "<i8")])

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
class Elf:
    """A checked file.

    Args:
        where: its name, for errors.
        data: the unpacked bytes.
        machine: e_machine.
        type: e_type.
        sections: by index.
        symbols: `SYMBOL` records, (n_symbols,), a view of `data`.
        relocations: by index of the section they apply to: `RELOCATION` records, views of `data`.
        names: the symbols' string table.
    """

    where: str
    data: bytes
    machine: int
    type: int
    sections: tuple[Section, ...]
    symbols: Table
    relocations: Mapping[int, Table]
    names: bytes

    def content(self, section: Section) -> memoryview:
        """Return a section's bytes, empty for one without content."""
        if section.type == _NOBITS:
            return memoryview(b"")
        return memoryview(self.data)[section.offset : section.offset + section.size_bytes]

    def symbol_names(self) -> list[str]:
        """Return every symbol's name, in table order. Cost: O(bytes of the names)."""
        names = self.names
        # ld shares the tails of strings, so a name is what stands from its offset to the next NUL.
        return [_text(names[at : names.index(0, at)]) for at in self.symbols["name"].tolist()]


def read_elf(path: Path) -> Elf:
    """Read a file, plain or packed by xz or zstd.

    Raises:
        BadInput: unreadable, damaged, cut short, or not a 64-bit little-endian ELF file.
    """
    return parse_elf(read_whole(path), str(path))


def parse_elf(data: bytes, where: str) -> Elf:
    """Check the bytes of a file and return their parts.

    Raises:
        BadInput: not a 64-bit little-endian ELF file, or one whose tables do not hold together.
    """
    header = _header(data, where)
    sections = _sections(data, header, where)
    symtabs = [section for section in sections if section.type == _SYMTAB]
    symbols = np.empty(0, SYMBOL)
    names = b"\0"
    if symtabs:
        symbols = _records(data, symtabs[0], SYMBOL, where)
        names = _string_table(data, sections, symtabs[0].link, where)
        _check_symbols(symbols, names, len(sections), where)
    relocations: dict[int, Table] = {}
    for section in sections:
        if section.type == _RELA and section.link == (symtabs[0].index if symtabs else -1):
            relocations[section.info] = _relocations(data, section, sections, len(symbols), where)
    return Elf(where, data, int(header["machine"]), int(header["type"]), sections, symbols, relocations, names)


def _header(data: bytes, where: str) -> np.void:
    if data[:4] != b"\x7fELF":
        raise BadInput(where, "not an ELF file", cause="a file of another kind", remedy="give vmlinux.o or a .ko")
    if len(data) < _HEADER.itemsize:
        raise _cut(where, f"{len(data)} bytes, less than an ELF header")
    if data[4] != 2 or data[5] != 1:
        raise BadInput(where, "not a 64-bit little-endian ELF file", cause="an object of another architecture")
    header: np.void = np.frombuffer(data, _HEADER, 1)[0]
    if int(header["shoff"]) and int(header["shentsize"]) != _SECTION.itemsize:
        raise _cut(where, f"section headers of {int(header['shentsize'])} bytes")
    return header


def _sections(data: bytes, header: np.void, where: str) -> tuple[Section, ...]:
    at, count, strings = int(header["shoff"]), int(header["shnum"]), int(header["shstrndx"])
    if not at:
        raise BadInput(where, "has no section headers", cause="a stripped image", remedy="give the unstripped file")
    if at + _SECTION.itemsize > len(data):
        raise _cut(where, f"its section headers would start at byte {at:#x} of {len(data):#x}")
    if count == 0:  # more than the field holds: the first header's size is the number
        count = int(np.frombuffer(data, _SECTION, 1, at)[0]["size"])
    if at + count * _SECTION.itemsize > len(data):
        raise _cut(where, f"{count} section headers would end beyond byte {len(data):#x}")
    table = np.frombuffer(data, _SECTION, count, at)
    if strings == 0xFFFF and count:
        strings = int(table[0]["link"])
    for index, row in enumerate(table.tolist()):
        kind, offset, size = row[1], row[4], row[5]
        if kind not in (0, _NOBITS) and offset + size > len(data):
            raise _cut(where, f"section {index} would end at byte {offset + size:#x} of {len(data):#x}")
        if kind == _NOBITS and size > _LARGEST_NOBITS_BYTES:
            raise _cut(where, f"section {index} is {size} bytes of nothing")
    if strings >= count or table[strings]["type"] != _STRTAB:
        raise _cut(where, f"section {strings} is not the table of section names")
    start, length = int(table[strings]["offset"]), int(table[strings]["size"])
    names = data[start : start + length]
    return tuple(
        Section(index, _name_at(names, row[0], where), row[1], row[2], row[3], row[4], row[5], row[6], row[7])
        for index, row in enumerate(table.tolist())
    )


def _string_table(data: bytes, sections: tuple[Section, ...], index: int, where: str) -> bytes:
    if index >= len(sections) or sections[index].type != _STRTAB:
        raise _cut(where, f"section {index} is not the table of symbol names")
    section = sections[index]
    names = data[section.offset : section.offset + section.size_bytes]
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


def _relocations(data: bytes, section: Section, sections: tuple[Section, ...], symbols: int, where: str) -> Table:
    table = _records(data, section, RELOCATION, where)
    if section.info >= len(sections):
        raise _cut(where, f"{section.name} relocates section {section.info} of {len(sections)}")
    if len(table):
        if int(table["symbol"].max()) >= symbols:
            raise _cut(where, f"{section.name} names a symbol beyond the last, {symbols - 1}")
        if int(table["offset"].max()) >= sections[section.info].size_bytes:
            raise _cut(where, f"{section.name} relocates a place beyond the end of {sections[section.info].name}")
    return table


def _records(data: bytes, section: Section, form: np.dtype[np.void], where: str) -> Table:
    if section.size_bytes % form.itemsize:
        raise _cut(where, f"{section.name} is not a whole number of {form.itemsize}-byte records")
    return np.frombuffer(data, form, section.size_bytes // form.itemsize, section.offset)


def _name_at(names: bytes, at: int, where: str) -> str:
    end = names.find(b"\0", at) if at < len(names) else -1
    if end < 0:
        raise _cut(where, "a section's name lies outside the table of names")
    return _text(names[at:end])


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _cut(where: str, what: str) -> BadInput:
    return BadInput(where, what, cause="a cut or damaged file", remedy="build or copy it again")
