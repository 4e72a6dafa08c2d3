"""What the fields of code and tables refer to: by relocations in an object, by their values in a linked image.

A linked image needs no relocations: an operand or a table holds the address or the distance itself. Those that a link
kept (--emit-relocs) are not read; tests compare with them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nostale.lint.symbols import Symbol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nostale.lint.image import Image, Section
    from nostale.outside.elf import Elf, Table

_SCANNED_BYTES = 1 << 20  # at once: a scan needs ten times that
_FIELD_BYTES = 4
_LONGEST_IMMEDIATE_BYTES = 4  # behind a displacement, which counts from the end of the instruction
_WORD_BYTES = 8
_WHOLE = Symbol(-1, "", "other", "local", 0, 0)  # what an address of a linked image is relative to


@dataclass(frozen=True, slots=True)
class Reference:
    """A field that refers to something: its place, to what, and whether as a distance from the place.

    Args:
        at: the place.
        symbol: what is referred to; nameless where only its address is known.
        addend: to the symbol's address.
        type: of the relocation; a pointer's in linked data.
        relative: whether what is filled in is a distance.
    """

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
class Relocated:
    """The references of a relocatable object."""

    image: Image
    elf: Elf
    _known: dict[int, tuple[array[int], Table]] = field(default_factory=dict)

    def within(self, start: int, end: int) -> Iterator[Reference]:
        """Yield those of [start, end), by place."""
        section = self.image.section_at(start)
        if section is None:
            return
        relative, symbols = self.image.machine.relative, self.image.symbols
        offsets, rows = self._rows(section.index)
        first = bisect_left(offsets, start - section.start)
        last = bisect_left(offsets, max(end - section.start, 0), first)
        if first < last:
            for offset, kind, symbol, addend in rows[first:last].tolist():
                yield Reference(section.start + offset, symbols[symbol], addend, kind, kind in relative)

    def any(self, start: int, end: int, symbol: Symbol | None) -> bool:
        """Return whether there is one in [start, end), one that names `symbol` if it is given."""
        section = self.image.section_at(start)
        if section is None:
            return False
        offsets, rows = self._rows(section.index)
        first = bisect_left(offsets, start - section.start)
        last = bisect_left(offsets, end - section.start, first)
        return first < last and (symbol is None or bool((rows["symbol"][first:last] == symbol.index).any()))

    def to(self, symbol: Symbol) -> list[Reference]:
        """Return those in code that name `symbol` itself, by place."""
        found = []
        relative = self.image.machine.relative
        for section in self.image.sections:
            if section.kind == "data":
                continue
            table = self.elf.relocations(section.index)
            for offset, kind, _, addend in table[table["symbol"] == symbol.index].tolist():
                found.append(Reference(section.start + offset, symbol, addend, kind, kind in relative))
        return sorted(found, key=lambda one: one.at)

    def into(self, start: int, end: int) -> list[Reference]:
        """Return those of code and data whose symbol and addend lie in [start, end), by place: O(relocations)."""
        import numpy as np

        columns, relative = self.image.symbols.columns, self.image.machine.relative
        found = []
        for section in self.image.sections:
            if section.name.startswith(".discard."):
                continue
            table = self.elf.relocations(section.index)
            named = table["symbol"]
            with np.errstate(over="ignore"):
                to = columns.address[named] + table["addend"].astype(np.uint64)
            within = columns.defined[named] & (to >= start) & (to < end)
            for offset, kind, symbol, addend in table[within].tolist():
                one = Reference(section.start + offset, self.image.symbols[symbol], addend, kind, kind in relative)
                found.append(one)
        return sorted(found, key=lambda one: one.at)

    def column(self, section: Section, stride: int, offset: int, size_bytes: int) -> list[int]:
        """Return where a field of each record points to: by its relocation, else by the distance in it."""
        import numpy as np

        columns, content = self.image.symbols.columns, self.image.content(section)
        found = _distances(section, content, stride, offset) if size_bytes == _FIELD_BYTES else _words(content, stride)
        table = self.elf.relocations(section.index)
        table = table[(table["offset"] % stride == offset) & (table["offset"] // stride < len(found))]
        named = table["symbol"]
        with np.errstate(over="ignore"):
            addresses = columns.address[named] + table["addend"].astype(np.uint64)
        found[(table["offset"] // stride).astype(np.int64)] = np.where(columns.defined[named], addresses, 0)
        kept: list[int] = found.tolist()
        return kept

    def _rows(self, index: int) -> tuple[array[int], Table]:
        """Return a section's relocations by place, and the places alone: a plain array is searched faster than numpy's.

        Of .text, with a hundred thousand of them, a run asks for a few hundred.
        """
        if index not in self._known:
            rows = self.elf.relocations(index)
            places = rows["offset"]
            if bool((places[1:] < places[:-1]).any()):
                rows = rows[places.argsort(kind="stable")]
            self._known[index] = (array("Q", rows["offset"].tobytes()), rows)
        return self._known[index]


@dataclass(slots=True)
class Linked:
    """The references of a linked image, read off its instructions and words."""

    image: Image
    elf: Elf
    _in_code: Scanned | None = None
    _in_data: Scanned | None = None
    _filled: dict[int, int] | None = None

    def within(self, start: int, end: int) -> Iterator[Reference]:
        """Yield those of [start, end), by place."""
        section = self.image.section_at(start)
        if section is None:
            return
        if section.kind == "data":
            yield from self._pointers(start, min(end, section.end))
            return
        first = max(section.start, self.image.symbols.begin(start))
        for address, length, _, _ in self.image.decoded(first, min(end, section.end)):
            if address + length > start:
                for one in self._constants(address, length):
                    if start <= one.at < end:
                        yield one

    def any(self, start: int, end: int, symbol: Symbol | None) -> bool:
        """Return False: what is linked is not relocated any more."""
        return False

    def to(self, symbol: Symbol) -> list[Reference]:
        """Return those in code that point into `symbol`, by place."""
        if symbol.address is None:
            return []
        found = []
        end = symbol.address + max(symbol.size_bytes, 1)
        for place in self._operands_near(symbol.address, end):
            one = self.image.instruction_around(place)
            for held in self._constants(one[0], one[1]) if one else ():
                value = (held.address or 0) + (one[0] + one[1] - held.at if one and held.relative else 0)
                if held.at == place and symbol.address <= value < end:
                    addend = (held.address or 0) - symbol.address
                    found.append(Reference(place, symbol, addend, held.type, held.relative))
        return found

    def into(self, start: int, end: int) -> list[Reference]:
        """Return those of code and data whose address, before what an instruction adds, lies in [start, end)."""
        found = []
        for place in self._operands_near(start, end):
            one = self.image.instruction_around(place)
            for held in self._constants(one[0], one[1]) if one else ():
                if held.at == place and start <= (held.address or 0) < end:
                    found.append(held)
        self._in_data = self._in_data or self._scan(code=False)
        for place, value in self._in_data.between(start, end):
            found.append(Reference(place, _WHOLE, value, 0, relative=False))
        return sorted(found, key=lambda one: one.at)

    def column(self, section: Section, stride: int, offset: int, size_bytes: int) -> list[int]:
        """Return where a field of each record points to."""
        content = self.image.content(section)
        if size_bytes == _FIELD_BYTES:
            distances: list[int] = _distances(section, content, stride, offset).tolist()
            return distances
        words: list[int] = _words(content[offset:], stride).tolist()
        filled = self._self_relocated()
        if not filled:
            return words
        return [filled.get(section.start + offset + at * stride, word) for at, word in enumerate(words)]

    def _operands_near(self, start: int, end: int) -> list[int]:
        """Return the places in code that may be operands naming [start, end); what an instruction has there decides."""
        self._in_code = self._in_code or self._scan(code=True)
        # A distance counts from the end of the instruction, which may have an immediate behind it.
        return sorted({place for place, _ in self._in_code.between(start - _LONGEST_IMMEDIATE_BYTES, end + 12)})

    def _constants(self, address: int, length: int) -> Iterator[Reference]:
        machine = self.image.machine
        for offset, value, relative in machine.constants(self.image.read(address, length), address):
            addend = value - (length - offset) if relative and machine.from_end else value
            yield Reference(address + offset, _WHOLE, addend, 0, relative)

    def _pointers(self, start: int, end: int) -> Iterator[Reference]:
        filled, pointer = self._self_relocated(), self.image.machine.pointer
        for at in range(start, end, _WORD_BYTES):
            word = filled.get(at) or int.from_bytes(self.image.read(at, _WORD_BYTES), "little")
            if word and self.image.section_at(word) is not None:
                yield Reference(at, _WHOLE, word, pointer, relative=False)

    def _self_relocated(self) -> dict[int, int]:
        """Return the words that the image fills in itself when it boots: an arm64 kernel leaves them empty."""
        if self._filled is None:
            table = self.elf.dynamic_relocations()
            rows = table[(table["symbol"] == 0) & (table["type"] == self.image.machine.self_relocated)]
            self._filled = dict(zip(rows["offset"].tolist(), rows["addend"].astype("u8").tolist(), strict=True))
        return self._filled

    def _scan(self, *, code: bool) -> Scanned:
        """Return every field that may name data: O(bytes), in numpy.

        In code any four bytes are read as an address, sign-extended, and as a distance; in data any eight as an
        address, and four that are aligned as a distance. All are signed, as the kernel's half of the address space is.
        """
        import numpy as np

        data = [one for one in self.image.sections if one.kind == "data" and one.end > one.start]
        kernel = [one for one in data if one.start >= 1 << 63] or data
        low = min((_signed(one.start) for one in kernel), default=0) - _LONGEST_IMMEDIATE_BYTES
        high = max((_signed(one.end) for one in kernel), default=0)
        values, places = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        forms = [(_FIELD_BYTES, range(4), True)] if code else [(_WORD_BYTES, range(8), False), (4, range(1), True)]
        for section in self.image.sections:
            if (section.kind == "data") == code:
                continue
            content = np.frombuffer(self.image.content(section), np.uint8)
            for start in range(0, len(content), _SCANNED_BYTES):
                for size, shifts, relative in forms:
                    piece = content[start : start + _SCANNED_BYTES + size - 1]
                    for shift in shifts:
                        whole = piece[shift : shift + (len(piece) - shift) // size * size]
                        held = np.ascontiguousarray(whole).view(f"<i{size}").astype(np.int64)
                        at = _signed(section.start + start + shift) + size * np.arange(len(held), dtype=np.int64)
                        readings = [held] if code or not relative else []
                        if relative:
                            readings.append(held + at + (size if code else 0))
                        for value in readings:
                            near = (value >= low) & (value < high) & (held != 0)  # nothing is at no distance
                            values.append(value[near])
                            places.append(at[near])
        value, place = np.concatenate(values), np.concatenate(places)
        order = np.argsort(value, kind="stable")
        return Scanned(value[order], place[order])


@dataclass(frozen=True, slots=True)
class Scanned:
    """Fields that may name data, by what they hold: signed values and the signed places of the fields, (n,) int64."""

    values: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]

    def between(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return (place, value) of those that hold [start, end), by value, both as addresses."""
        first, last = self.values.searchsorted([_signed(start), _signed(end)]).tolist()
        mask = (1 << 64) - 1
        pairs = zip(self.places[first:last].tolist(), self.values[first:last].tolist(), strict=True)
        return [(place & mask, value & mask) for place, value in pairs]


def _signed(address: int) -> int:
    return address - (1 << 64) if address >= 1 << 63 else address


def _distances(section: Section, content: memoryview, stride: int, offset: int) -> npt.NDArray[np.uint64]:
    """Return the places that a column of 4-byte distances names; a distance of 0 names nothing."""
    import numpy as np

    rows = np.frombuffer(content, np.uint8).reshape(-1, stride)[:, offset : offset + _FIELD_BYTES]
    distances = np.ascontiguousarray(rows).view("<i4").ravel().astype(np.int64).astype(np.uint64)
    places = np.uint64(section.start + offset) + np.uint64(stride) * np.arange(len(distances), dtype=np.uint64)
    return np.where(distances == 0, np.uint64(0), distances + places)


def _words(content: memoryview, stride: int) -> npt.NDArray[np.uint64]:
    """Return the first eight bytes of every record as a number."""
    import numpy as np

    rows = np.frombuffer(content, np.uint8)
    rows = rows[: len(rows) // stride * stride].reshape(-1, stride)[:, :_WORD_BYTES]
    return np.ascontiguousarray(rows).view("<u8").ravel().astype(np.uint64)
