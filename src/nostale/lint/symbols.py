"""Symbols of an image in one flat address space, and the naming of places as objtool prints them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

FUNC, NOTYPE, OBJECT = "func", "notype", "object"
MAPPING = "mapping"  # $x, $d: what stands from here on is code, or data (ELF for the Arm 64-bit Architecture, 5.5.4)


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


@dataclass(slots=True)
class Spans:
    """Symbols with a size, by place. Where several contain it: lowest start, then table order, as objtool has it."""

    _symbols: list[Symbol]
    _starts: list[int] = field(init=False)
    _reach: list[int] = field(init=False)  # the furthest end of all up to here

    def __init__(self, symbols: Iterable[Symbol]) -> None:
        sized = [one for one in symbols if one.address is not None and one.size_bytes]
        self._symbols = sorted(sized, key=lambda one: (one.address, one.index))
        self._starts = [one.address or 0 for one in self._symbols]
        self._reach = []
        furthest = 0
        for one in self._symbols:
            furthest = max(furthest, one.end)
            self._reach.append(furthest)

    def containing(self, address: int) -> Symbol | None:
        """Return the symbol that `address` lies in."""
        found = None
        at = bisect_right(self._starts, address) - 1
        while at >= 0 and self._reach[at] > address:
            if self._symbols[at].end > address:
                found = self._symbols[at]
            at -= 1
        return found

    def starting(self, address: int) -> Symbol | None:
        """Return the first symbol of the table that starts at `address`."""
        at = bisect_right(self._starts, address - 1)
        if at < len(self._starts) and self._starts[at] == address:
            return self._symbols[at]
        return None


@dataclass(slots=True)
class SymbolTable:
    """All symbols of an image, by index, by name and by place."""

    symbols: list[Symbol]
    functions: Spans = field(init=False)
    _others: Spans = field(init=False)
    _labels: dict[int, Symbol] = field(init=False)
    _by_name: dict[str, Symbol] = field(init=False)
    _mapped: list[tuple[int, bool]] = field(init=False)  # (place, whether data begins there), sorted

    def __post_init__(self) -> None:
        named = [one for one in self.symbols if one.name and one.kind != MAPPING]
        self.functions = Spans(one for one in named if one.kind == FUNC)
        self._others = Spans(named)
        mapping = [one for one in self.symbols if one.kind == MAPPING and one.address is not None]
        self._mapped = sorted((one.address or 0, one.name.startswith("$d")) for one in mapping)
        self._labels = {}
        self._by_name = {}
        for one in named:
            if one.address is not None:
                self._labels.setdefault(one.address, one)
            # A local name may stand for many; the global one is what others refer to.
            if one.bind != "local" or one.name not in self._by_name:
                self._by_name[one.name] = one

    def named(self, name: str) -> Symbol | None:
        """Return the symbol of that name, the global one if there are several."""
        return self._by_name.get(name)

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
        return self.functions.containing(address) or self._others.containing(address)

    def starting(self, address: int) -> Symbol | None:
        """Return a symbol that starts at `address`, a function rather than another, a sized one rather than a label."""
        return self.functions.starting(address) or self._others.starting(address) or self._labels.get(address)
