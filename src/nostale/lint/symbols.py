"""Symbols of an image in one flat address space, and the naming of places as objtool prints them.

A kernel has a hundred thousand symbols and a run names a few hundred: they are kept as columns, sorted by place in
bulk, and each becomes an object when it is asked for.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np  # loaded only where an image is read, not where rules are listed
    import numpy.typing as npt

_HEAD_BYTES = 8
KINDS = ("notype", "object", "func", "mapping", "other")
NOTYPE, OBJECT, FUNC, MAPPING, _OTHER = KINDS
# MAPPING is $x, $d: what stands from here on is code, or data (ELF for the Arm 64-bit Architecture, 5.5.4).
BINDS = ("local", "global", "weak", "other")


@dataclass(frozen=True, slots=True)
class Symbol:
    """A named place.

    Args:
        index: in the symbol table, which decides between aliases.
        name: "" for a section's own symbol.
        kind: `FUNC`, `NOTYPE`, `OBJECT`, `MAPPING`, or what else the format has.
        bind: `local`, `global` or `weak`.
        address: None when the image does not define it.
        size_bytes: 0 where the source gave none.
    """

    index: int
    name: str
    kind: str
    bind: str
    address: int | None
    size_bytes: int

    @property
    def end(self) -> int:
        """One past its last byte; of an undefined one 0."""
        return (self.address or 0) + self.size_bytes


@dataclass(frozen=True, slots=True)
class Columns:
    """A symbol table, (n_symbols,) each.

    Args:
        address: uint64, meaningless where not `defined`.
        defined: bool, whether the image says where it is.
        size_bytes: uint64.
        kind: index into `KINDS`.
        bind: index into `BINDS`.
        name: where in `names` its name begins; it goes on to the next NUL.
        names: the string table. The linker shares the tails of strings in it.
    """

    address: npt.NDArray[np.uint64]
    defined: npt.NDArray[np.bool_]
    size_bytes: npt.NDArray[np.uint64]
    kind: npt.NDArray[np.uint8]
    bind: npt.NDArray[np.uint8]
    name: npt.NDArray[np.uint32]
    names: bytes


@dataclass(slots=True)
class Spans:
    """Some symbols by place. Where several contain it: lowest start, then table order, as objtool has it."""

    _table: SymbolTable
    _rows: array[int]  # index in the symbol table
    _starts: array[int]
    _ends: array[int]
    _reach: array[int]  # the furthest end of all up to here

    @classmethod
    def of(cls, table: SymbolTable, chosen: npt.NDArray[np.bool_]) -> Spans:
        """Sort the chosen ones that have an address: O(n log n) in numpy."""
        import numpy as np

        columns = table.columns
        rows = np.flatnonzero(chosen & columns.defined)
        rows = rows[np.argsort(columns.address[rows], kind="stable")]
        starts = columns.address[rows]
        with np.errstate(over="ignore"):
            ends = starts + columns.size_bytes[rows]
        ends = np.maximum(ends, starts)  # a size beyond the end of memory is no size
        reach = np.maximum.accumulate(ends) if len(ends) else ends
        # Looked up one at a time, which a plain array does ten times as fast.
        return cls(table, *(array("Q", one.astype(np.uint64).tobytes()) for one in (rows, starts, ends, reach)))

    def containing(self, address: int) -> Symbol | None:
        """Return the symbol that `address` lies in."""
        found = None
        at = bisect_right(self._starts, address) - 1
        while at >= 0 and self._reach[at] > address:
            if self._ends[at] > address:
                found = at
            at -= 1
        return None if found is None else self._table[self._rows[found]]

    def starting(self, address: int) -> Symbol | None:
        """Return the first symbol of the table that starts at `address`."""
        at = bisect_left(self._starts, address)
        if at < len(self._starts) and self._starts[at] == address:
            return self._table[self._rows[at]]
        return None

    def following(self, address: int) -> int:
        """Return the first place beyond `address` where one starts, `address` where none does."""
        at = bisect_right(self._starts, address)
        return self._starts[at] if at < len(self._starts) else address

    def last(self, address: int) -> int:
        """Return the last place at or before `address` where one starts, 0 where none does."""
        at = bisect_right(self._starts, address) - 1
        return self._starts[at] if at >= 0 else 0

    def ends(self) -> Sequence[int]:
        """Return one past the last byte of each."""
        return self._ends

    def between(self, start: int, end: int) -> list[Symbol]:
        """Return those that start in [start, end), by place."""
        rows = self._rows[bisect_left(self._starts, start) : bisect_left(self._starts, end)]
        return [self._table[row] for row in rows]


@dataclass(slots=True)
class SymbolTable:
    """All symbols of an image, by index, by name and by place."""

    columns: Columns
    functions: Spans = field(init=False)
    labels: Spans = field(init=False)  # whatever has a name and a place
    _sized: Spans = field(init=False)
    _heads: npt.NDArray[np.uint64] = field(init=False)  # the first letters of each name as one number
    _mapped: list[tuple[int, bool]] = field(init=False)  # (place, whether data begins there), sorted
    _made: dict[int, Symbol] = field(default_factory=dict)
    _by_name: dict[bytes, int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import numpy as np

        columns = self.columns
        named = (self._letters(0) != 0) & (columns.kind != KINDS.index(MAPPING))
        sized = named & (columns.size_bytes != 0)
        self.functions = Spans.of(self, sized & (columns.kind == KINDS.index(FUNC)))
        self._sized = Spans.of(self, sized)
        self.labels = Spans.of(self, named)
        self._heads, within = np.zeros(len(columns.name), np.uint64), np.ones(len(columns.name), np.bool_)
        for number in range(_HEAD_BYTES):
            letters = self._letters(number)
            within &= letters != 0  # what follows the end is the next name
            self._heads = self._heads << np.uint64(8) | letters * within
        mapping = np.flatnonzero((columns.kind == KINDS.index(MAPPING)) & columns.defined)
        data = self._letters(1)[mapping] == ord("d")
        self._mapped = sorted(zip(columns.address[mapping].tolist(), data.tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.columns.name)

    def __getitem__(self, index: int) -> Symbol:
        found = self._made.get(index)
        if found is None:
            columns = self.columns
            address = int(columns.address[index]) if columns.defined[index] else None
            kind, bind = KINDS[columns.kind[index]], BINDS[columns.bind[index]]
            name = self._name(int(columns.name[index])).decode("utf-8", "backslashreplace")
            found = self._made[index] = Symbol(index, name, kind, bind, address, int(columns.size_bytes[index]))
        return found

    def named(self, name: str) -> Symbol | None:
        """Return the symbol of that name, the global one if there are several."""
        wanted = name.encode()
        if wanted not in self._by_name:
            self._by_name[wanted] = self._find(wanted)
        at = self._by_name[wanted]
        return None if at is None else self[at]

    def prefixed(self, prefix: str) -> list[Symbol]:
        """Return the symbols whose names begin so, by name, the global one of each. Cost: O(symbols), in numpy."""
        import numpy as np

        fits = np.ones(len(self), np.bool_)
        for number, letter in enumerate(prefix.encode()):
            fits &= self._letters(number) == letter
        found: dict[str, Symbol] = {}
        for row in np.flatnonzero(fits & (self.columns.kind != KINDS.index(MAPPING))).tolist():
            one = self[row]
            if one.bind != "local" or one.name not in found:  # as `named` has it
                found[one.name] = one
        return [found[name] for name in sorted(found)]

    def data_runs(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the parts of [start, end) that mapping symbols call data, in order; what they do not name is code."""
        runs: list[tuple[int, int]] = []
        at = bisect_right(self._mapped, (start, True)) - 1
        while at < len(self._mapped) and (at < 0 or self._mapped[at][0] < end):
            if at >= 0 and self._mapped[at][1]:
                stop = self._mapped[at + 1][0] if at + 1 < len(self._mapped) else end
                run = max(self._mapped[at][0], start), min(stop, end)
                if run[0] < run[1]:
                    runs.append(run)
            at += 1
        return runs

    def containing(self, address: int) -> Symbol | None:
        """Return the function that `address` lies in, else any other symbol with a size."""
        return self.functions.containing(address) or self._sized.containing(address)

    def begin(self, address: int) -> int:
        """Return where the code at `address` begins: its function, else the last name before it, else 0."""
        function = self.functions.containing(address)
        if function is not None and function.address is not None:
            return function.address
        return self.labels.last(address)

    def starting(self, address: int) -> Symbol | None:
        """Return a symbol that starts at `address`, a function rather than another, a sized one rather than a label."""
        return self.functions.starting(address) or self._sized.starting(address) or self.labels.starting(address)

    def _find(self, name: bytes) -> int | None:
        """Return the symbol of a name. A local name may stand for many; the global one is what others refer to.

        A run asks for some hundred of a hundred thousand names: only those that begin alike are looked at whole.
        """
        import numpy as np

        columns, begin = self.columns, np.uint64(int.from_bytes(name[:_HEAD_BYTES].ljust(_HEAD_BYTES, b"\0"), "big"))
        alike, whole = np.flatnonzero(self._heads == begin) if name else np.empty(0, np.int64), name + b"\0"
        places = zip(alike.tolist(), columns.name[alike].tolist(), strict=True)
        rows = [row for row, at in places if columns.names.startswith(whole, at)]
        elsewhere = [row for row in rows if columns.bind[row] != BINDS.index("local")]
        if elsewhere:
            return elsewhere[-1]
        return next((row for row in rows if columns.kind[row] != KINDS.index(MAPPING)), None)

    def _name(self, at: int) -> bytes:
        return self.columns.names[at : self.columns.names.index(0, at)]

    def _letters(self, number: int) -> npt.NDArray[np.uint8]:
        """Return that letter of every name, 0 beyond its end for the first two."""
        import numpy as np

        letters = np.frombuffer(self.columns.names, np.uint8)
        found: npt.NDArray[np.uint8] = letters[np.minimum(self.columns.name + np.uint32(number), len(letters) - 1)]
        return found
