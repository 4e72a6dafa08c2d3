"""A kernel image as a walk needs it: code by address, symbols, relocations and the tables that say what may change.

A relocatable object has no addresses; each of its sections gets a range of its own in one flat space, so that a place
is one number here. Linked images, when they come, keep the addresses they have.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from nostale.contract import BadInput
from nostale.lint.machine import BY_ELF_NUMBER, Machine
from nostale.lint.symbols import FUNC, MAPPING, NOTYPE, OBJECT, Symbol, SymbolTable
from nostale.outside.instruction import Instruction, Kind

if TYPE_CHECKING:
    from nostale.outside import elf  # loads numpy: only where an image is read, not where rules are listed

_PAGE = 4096
_ODD_BYTES = 256  # decoded at once from a place that a linear sweep did not come to


class Class(StrEnum):
    """What a section is for, by its name."""

    NOINSTR = "noinstr"  # .noinstr.text
    ENTRY = "entry"  # .entry.text
    CPUIDLE = "cpuidle"  # .cpuidle.text
    THUNK = "thunk"  # .text..__x86.*, the return and indirect branch thunks
    ALTERNATIVE = "alternative"  # pieces of functions: replacement code, tests that run until it is in place, fixups
    STATIC_CALL = "static-call"  # trampolines
    TEXT = "text"  # all other code: may be traced, probed and patched
    DATA = "data"


_CLASSES = {
    ".noinstr.text": Class.NOINSTR,
    ".entry.text": Class.ENTRY,
    ".cpuidle.text": Class.CPUIDLE,
    ".altinstr_replacement": Class.ALTERNATIVE,
    ".altinstr_aux": Class.ALTERNATIVE,
    ".fixup": Class.ALTERNATIVE,  # v5.15 and before
    ".static_call.text": Class.STATIC_CALL,
}


def class_of_section(name: str, *, executable: bool) -> Class:
    """Tell what a section is for; kernel/include/asm-generic/vmlinux.lds.h and tools/objtool/check.c, v6.12."""
    if not executable:
        return Class.DATA
    if name.startswith(".text..__x86."):
        return Class.THUNK
    return _CLASSES.get(name, Class.TEXT)


@dataclass(frozen=True, slots=True)
class Section:
    """One section at its place in the flat space."""

    name: str
    kind: Class
    start: int
    end: int
    writable: bool
    index: int

    @property
    def executable(self) -> bool:
        """Whether it holds instructions."""
        return self.kind is not Class.DATA


@dataclass(frozen=True, slots=True)
class Reference:
    """A relocation: the place that is filled in, with what, and whether as a distance from the place."""

    at: int
    symbol: Symbol
    addend: int
    type: int
    relative: bool

    @property
    def address(self) -> int | None:
        """Symbol and addend as an address, None where the image does not define the symbol."""
        return None if self.symbol.address is None else self.symbol.address + self.addend


@dataclass(slots=True)
class Image:
    """One loaded image.

    Args:
        where: the file, as the user named it.
        machine: the architecture it is for.
        sections: in file order, those that stay in memory and the tables beside them.
        symbols: every symbol, by flat address.
    """

    where: str
    machine: Machine
    sections: tuple[Section, ...]
    symbols: SymbolTable
    _elf: elf.Elf
    _starts: list[int] = field(init=False)
    _references: dict[int, tuple[list[int], list[tuple[int, int, int, int]]]] = field(default_factory=dict)
    _code: dict[int, Instruction] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._starts = [section.start for section in self.sections]

    def section_at(self, address: int) -> Section | None:
        """Return the section that `address` lies in."""
        at = bisect_right(self._starts, address) - 1
        if at < 0 or address >= self.sections[at].end:
            return None
        return self.sections[at]

    def section_named(self, name: str) -> Section | None:
        """Return the first section of that name."""
        return next((section for section in self.sections if section.name == name), None)

    def class_at(self, address: int) -> Class | None:
        """Return what the code or data at `address` is for."""
        section = self.section_at(address)
        return section.kind if section else None

    def content(self, section: Section) -> memoryview:
        """Return a section's bytes, relocations not applied."""
        return self._elf.content(self._elf.sections[section.index])

    def read(self, address: int, size_bytes: int) -> bytes:
        """Return bytes at a place, fewer at the end of the section."""
        section = self.section_at(address)
        if section is None:
            return b""
        offset = address - section.start
        return bytes(self.content(section)[offset : offset + size_bytes])

    def signed(self, address: int, size_bytes: int) -> int:
        """Return the little-endian signed number at a place, 0 beyond the end of the section."""
        return int.from_bytes(self.read(address, size_bytes), "little", signed=True)

    def place(self, address: int) -> str:
        """Name a place as objtool does: the containing symbol and the distance in hexadecimal."""
        symbol = self.symbols.containing(address)
        if symbol is not None and symbol.address is not None:
            return f"{symbol.name}+{address - symbol.address:#x}"
        section = self.section_at(address)
        return f"{section.name}+{address - section.start:#x}" if section else f"{address:#x}"

    def name(self, address: int) -> str:
        """Name what starts at a place: a symbol, else the place itself."""
        symbol = self.symbols.starting(address)
        return symbol.name if symbol else self.place(address)

    def references(self, start: int, end: int) -> Iterator[Reference]:
        """Yield the relocations of [start, end), by place."""
        section = self.section_at(start)
        if section is None:
            return
        offsets, rows = self._rows(section.index)
        at = bisect_left(offsets, start - section.start)
        limit = end - section.start
        while at < len(offsets) and offsets[at] < limit:
            offset, kind, symbol, addend = rows[at]
            relative = kind in self.machine.relative
            yield Reference(section.start + offset, self.symbols.symbols[symbol], addend, kind, relative)
            at += 1

    def reference(self, address: int) -> Reference | None:
        """Return the relocation of exactly this place."""
        return next(self.references(address, address + 1), None)

    def references_to(self, symbol: Symbol) -> list[Reference]:
        """Return the relocations in code that name `symbol` itself, by place: O(relocations of code), in numpy."""
        found = []
        for section in self.sections:
            table = self._elf.relocations.get(section.index)
            if section.kind is Class.DATA or table is None:
                continue
            for offset, kind, _, addend in table[table["symbol"] == symbol.index].tolist():
                found.append(Reference(section.start + offset, symbol, addend, kind, kind in self.machine.relative))
        return sorted(found, key=lambda one: one.at)

    def references_into(self, start: int, end: int) -> list[Reference]:
        """Return the relocations of code and data whose symbol and addend lie in [start, end): O(relocations)."""
        import numpy as np

        places = np.array([-1 if one.address is None else one.address for one in self.symbols.symbols], "i8")
        found = []
        for section in self.sections:
            table = self._elf.relocations.get(section.index)
            if table is None or section.name.startswith(".discard."):
                continue
            to = places[table["symbol"]]
            within = (to >= 0) & (to + table["addend"] >= start) & (to + table["addend"] < end)
            for offset, kind, symbol, addend in table[within].tolist():
                found.append(
                    Reference(
                        section.start + offset,
                        self.symbols.symbols[symbol],
                        addend,
                        kind,
                        kind in self.machine.relative,
                    )
                )
        return sorted(found, key=lambda one: one.at)

    def instruction_around(self, address: int) -> Instruction | None:
        """Return the instruction that the byte at `address` is part of, by a sweep of its function."""
        function = self.symbols.functions.containing(address)
        section = self.section_at(address)
        if section is None or section.kind is Class.DATA:
            return None
        start = function.address if function is not None and function.address is not None else section.start
        return next((one for one in self.decoded(start, address + 1) if one[0] <= address < one[0] + one[1]), None)

    def pointed(self, address: int) -> int | None:
        """Return what a table's field at `address` points to, by relocation or as a distance; None where undefined."""
        reference = self.reference(address)
        if reference is not None:
            return reference.address
        distance = self.signed(address, 4)
        return address + distance if distance else None

    def instruction(self, address: int) -> Instruction | None:
        """Return the instruction at a place, None outside of code. Decoded in bulk when first asked for."""
        found = self._code.get(address)
        if found is not None:
            return found
        section = self.section_at(address)
        if section is None or section.kind is Class.DATA:
            return None
        for start, end in self._extents(section, address):
            if address in self._code:
                break
            for one in self._decode(section, start, end):
                # What is cut off by our own choice of an end is not undecodable; it is decoded when it is asked for.
                if one[2] is not Kind.INVALID or one[0] + one[1] < end or end == section.end:
                    self._code.setdefault(one[0], one)
        return self._code.get(address)

    def decoded(self, start: int, end: int) -> list[Instruction]:
        """Return the instructions of [start, end) one after the other, as a linear sweep finds them."""
        found = []
        while start < end and (one := self.instruction(start)) is not None:
            found.append(one)
            start += one[1]
        return found

    @property
    def decoded_count(self) -> int:
        """How many instructions have been decoded so far."""
        return len(self._code)

    def _extents(self, section: Section, address: int) -> Iterator[tuple[int, int]]:
        """Yield what to decode at once: all of a small special section, one function of the rest."""
        if section.kind is not Class.TEXT and section.start not in self._code:
            yield section.start, section.end
        function = self.symbols.functions.containing(address)
        if function is not None and function.address is not None and function.address not in self._code:
            yield function.address, min(function.end, section.end)
        # A jump into the middle of an instruction, or code without a symbol.
        yield address, min(section.end, address + _ODD_BYTES)

    def _decode(self, section: Section, start: int, end: int) -> Iterator[Instruction]:
        """Yield what stands in [start, end): a run of data between the code, where symbols tell, is one of its kind."""
        content, at = self.content(section), start
        for begin, stop in self.symbols.data_runs(start, end):
            yield from self.machine.decode(content[at - section.start : begin - section.start], at)
            yield begin, stop - begin, Kind.DATA, 0
            at = stop
        yield from self.machine.decode(content[at - section.start : end - section.start], at)

    def _rows(self, index: int) -> tuple[list[int], list[tuple[int, int, int, int]]]:
        if index not in self._references:
            table = self._elf.relocations.get(index)
            rows = sorted(table.tolist()) if table is not None else []
            self._references[index] = ([row[0] for row in rows], rows)
        return self._references[index]


def load_image(path: str | Path) -> Image:
    """Read a relocatable x86-64 or arm64 kernel object: vmlinux.o, an .o or a .ko, plain or packed by xz or zstd.

    Raises:
        BadInput: unreadable, damaged, of another machine, or linked.
    """
    from nostale.outside.elf import read_elf

    return build_image(read_elf(Path(path)))


def build_image(file: elf.Elf) -> Image:
    """Lay the sections of a checked file out in the flat space and name its symbols.

    Raises:
        BadInput: of another machine, or linked.
    """
    from nostale.outside import elf

    machine = BY_ELF_NUMBER.get(file.machine)
    if machine is None:
        name = elf.MACHINE_NAMES.get(file.machine, f"machine {file.machine}")
        raise BadInput(file.where, f"an image for {name}", remedy="only x86-64 and arm64 images are read")
    if file.type != elf.TYPE_RELOCATABLE:
        form = elf.TYPE_NAMES.get(file.type, f"file of type {file.type}")
        raise BadInput(
            file.where,
            f"a {form}, not a relocatable object",
            remedy="give vmlinux.o, an .o or a .ko: the build's object still has its annotations",
        )
    sections, starts, at = [], {}, 1 << 20
    for section in file.sections:
        if section.type == 0 or not (section.flags & elf.FLAG_ALLOC or section.name.startswith(".discard.")):
            continue
        starts[section.index] = at
        kind = class_of_section(section.name, executable=section.executable)
        end = at + section.size_bytes
        sections.append(Section(section.name, kind, at, end, section.writable, section.index))
        at = (end + 2 * _PAGE) // _PAGE * _PAGE  # a gap, so that the end of one is not the start of the next
    return Image(file.where, machine, tuple(sections), SymbolTable(_symbols(file, starts, machine)), file)


def _symbols(file: elf.Elf, starts: dict[int, int], machine: Machine) -> list[Symbol]:
    from nostale.outside import elf

    kinds = {elf.SYMBOL_NOTYPE: NOTYPE, elf.SYMBOL_OBJECT: OBJECT, elf.SYMBOL_FUNC: FUNC}
    binds = {elf.BIND_LOCAL: "local", elf.BIND_GLOBAL: "global", elf.BIND_WEAK: "weak"}
    found = []
    for index, (row, name) in enumerate(zip(file.symbols.tolist(), file.symbol_names())):
        _, info, _, section, value, size = row
        start = starts.get(section)
        address = None if start is None else start + value
        kind, bind = kinds.get(info & 15, "other"), binds.get(info >> 4, "other")
        if machine.mapping_symbols and kind == NOTYPE and bind == "local" and name[:2] in ("$x", "$d"):
            kind = MAPPING
        found.append(Symbol(index, name, kind, bind, address, size))
    return found


def records(image: Image, section: Section, form: str) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield (address, fields) of each record of a table, relocations not applied.

    Args:
        form: as `struct` has it, without the byte order.

    Raises:
        BadInput: the section is not a whole number of records.
    """
    size = struct.calcsize("<" + form)
    content = image.content(section)
    if len(content) % size:
        raise BadInput(
            image.where, f"{section.name} is not a whole number of {size}-byte records", cause="another kernel version"
        )
    for number, fields in enumerate(struct.iter_unpack("<" + form, content)):
        yield section.start + number * size, fields
