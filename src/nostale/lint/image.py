"""A kernel image as a walk needs it: code by address, symbols, and what its code and tables refer to.

A place is one number in a flat space: the address that a linked image has, and in a relocatable object, which has none,
one that `loading` gives its section.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from nostale.contract import BadInput
from nostale.lint.machine import Machine
from nostale.lint.references import Linked, Reference, Relocated
from nostale.lint.symbols import Symbol, SymbolTable
from nostale.outside.instruction import Instruction, Kind

if TYPE_CHECKING:
    from nostale.outside import elf  # loads numpy: only where an image is read, not where rules are listed
    from nostale.outside.dwarf import Debug, Inlined

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
    """A range of one class at its place in the flat space: a section of an object, a part of one of a linked image.

    Args:
        name: as objects have it, whatever the linker put the range into.
        kind: what it is for.
        start: its first byte.
        end: one past its last.
        writable: whether what is in it now may be another thing later, at boot or after.
        index: of the section of the file.
        offset: where in that section it begins.
    """

    name: str
    kind: Class
    start: int
    end: int
    writable: bool
    index: int
    offset: int = 0

    @property
    def executable(self) -> bool:
        """Whether it holds instructions."""
        return self.kind is not Class.DATA


@dataclass(frozen=True, slots=True)
class Segment:
    """What a linked image asks whoever loads it for: a range of memory, [start, end), with its permissions."""

    number: int
    start: int
    end: int
    writable: bool
    executable: bool


@dataclass(frozen=True, slots=True)
class Pointed:
    """What a field of a table names: its address, or where this image does not define it a name and an addend."""

    name: str
    address: int | None
    addend: int


@dataclass(slots=True)
class Image:
    """One loaded image.

    Args:
        where: the file, as the user named it.
        machine: the architecture it is for.
        sections: by place, those that stay in memory and the tables beside them; no two overlap.
        symbols: every symbol, by flat address.
        segments: what is loaded, by number; none of an object.
    """

    where: str
    machine: Machine
    sections: tuple[Section, ...]
    symbols: SymbolTable
    _elf: elf.Elf
    segments: tuple[Segment, ...] = ()
    _starts: list[int] = field(init=False)
    _held: Linked | Relocated = field(init=False)
    _code: dict[int, Instruction] = field(default_factory=dict)
    _inlined: dict[frozenset[str], list[Inlined]] = field(default_factory=dict)
    _debug: Debug | None = None

    def __post_init__(self) -> None:
        self._starts = [section.start for section in self.sections]
        self._held = (Linked if self.linked else Relocated)(self, self._elf)

    @property
    def linked(self) -> bool:
        """Whether it has addresses; what refers to something then holds its address or distance."""
        return self._elf.linked

    def section_at(self, address: int) -> Section | None:
        """Return the section that `address` lies in."""
        at = bisect_right(self._starts, address) - 1
        if at < 0 or address >= self.sections[at].end:
            return None
        return self.sections[at]

    def section_named(self, name: str) -> Section | None:
        """Return the first section of that name."""
        return next((section for section in self.sections if section.name == name), None)

    def sections_named(self, name: str) -> list[Section]:
        """Return every section of that name, by place."""
        return [section for section in self.sections if section.name == name]

    def class_at(self, address: int) -> Class | None:
        """Return what the code or data at `address` is for."""
        section = self.section_at(address)
        return section.kind if section else None

    def content(self, section: Section) -> memoryview:
        """Return a section's bytes, relocations not applied."""
        content = self._elf.content(self._elf.sections[section.index])
        return content[section.offset : section.offset + section.end - section.start]

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
        """Yield what the fields in [start, end) refer to, by place.

        Of an object, its relocations. Of a linked image, the constants in instructions, near branches excepted, and in
        data the pointers at `start` and every eight bytes on.
        """
        return self._held.within(start, end)

    def relocated(self, start: int, end: int, symbol: Symbol | None = None) -> bool:
        """Return whether a relocation stands in [start, end), of `symbol` if it is given; never in a linked image."""
        return self._held.any(start, end, symbol)

    def reference(self, address: int) -> Reference | None:
        """Return what the field at exactly this place refers to."""
        return next(self.references(address, address + 1), None)

    def references_to(self, symbol: Symbol) -> list[Reference]:
        """Return what in code refers to `symbol`, by place. Cost: O(code) once, in numpy."""
        return self._held.to(symbol)

    def references_into(self, start: int, end: int) -> list[Reference]:
        """Return what in code and data refers to [start, end), by place; `Reference.address` counts. Cost: as above."""
        return self._held.into(start, end)

    def instruction_around(self, address: int) -> Instruction | None:
        """Return the instruction that the byte at `address` is part of, by a sweep from the symbol before it."""
        section = self.section_at(address)
        if section is None or section.kind is Class.DATA:
            return None
        start = max(section.start, self.symbols.begin(address))
        return next((one for one in self.decoded(start, address + 1) if one[0] <= address < one[0] + one[1]), None)

    def field(self, address: int, size_bytes: int) -> Pointed:
        """Return what a table's field of 4 or 8 bytes names, by relocation or as a distance."""
        reference = None if self.linked else self.reference(address)
        if reference is not None:
            return Pointed(reference.symbol.name, reference.address, reference.addend)
        return Pointed("?", address + self.signed(address, size_bytes), 0)

    def column(self, section: Section, stride: int, offset: int = 0, *, size_bytes: int = 4) -> list[int]:
        """Return where one field of every record of a table points to, 0 where nowhere in this image.

        Args:
            stride: bytes of a record.
            offset: of the field in it.
            size_bytes: 4 for a distance from the field, 8 for an address.

        Raises:
            BadInput: the section is not a whole number of records.
        """
        if (section.end - section.start) % stride:
            raise BadInput(
                self.where,
                f"{section.name} is not a whole number of {stride}-byte records",
                cause="another kernel version",
            )
        return self._held.column(section, stride, offset, size_bytes)

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
        found, code = [], self._code
        while start < end and (one := code.get(start) or self.instruction(start)) is not None:
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

    def inlined(self, names: Collection[str]) -> list[Inlined] | None:
        """Return the inlined copies of the functions of those names in code that is not ordinary text.

        Returns:
            None without debugging information.

        Raises:
            BadInput: the debugging information does not hold together.
        """
        debug, key = self._debugging(), frozenset(names)
        if not debug.present:
            return None
        if key not in self._inlined:
            special = [one for one in self.sections if one.executable and one.kind is not Class.TEXT]
            self._inlined[key] = debug.inlined(key, [(one.start, one.end) for one in special])
        return self._inlined[key]

    def source(self, address: int) -> str | None:
        """Return `file:line` of the instruction at `address`, None where no debugging information tells."""
        return self._debugging().source(address)

    def _debugging(self) -> Debug:
        if self._debug is None:
            from nostale.outside.dwarf import Debug  # here: few images have any

            starts = {} if self.linked else {section.index: section.start for section in self.sections}
            self._debug = Debug(self._elf, starts, self.machine.absolute)
        return self._debug
