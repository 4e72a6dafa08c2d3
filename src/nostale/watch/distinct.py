"""Columns by their distinct values: those, and which of them each row has, so that each value is looked at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from nostale.contract import BadInput
from nostale.watch.ring import Ints
from nostale.watch.trace import Column, Trace

T = TypeVar("T", covariant=True)


@dataclass(frozen=True, slots=True)
class Distinct(Generic[T]):
    """One value of each of some rows.

    Args:
        values: in any order; of two places one value may be met in both.
        which: `(n,) int64`, for each row the place of its value.
    """

    values: tuple[T, ...]
    which: Ints

    def that(self, fits: Callable[[T], bool]) -> NDArray[np.bool_]:
        """Say of each row whether its value fits."""
        fitting = np.array([fits(one) for one in self.values], bool)
        return fitting[self.which]


def numbers(column: NDArray[np.integer]) -> Distinct[int]:
    """Return the values of a column of numbers."""
    values, which = np.unique(column, return_inverse=True)
    return Distinct(tuple(values.tolist()), which)


def functions(trace: Trace, addresses: Column) -> Distinct[str]:
    """Return the functions that `addresses` lie in."""
    places = numbers(addresses)
    name = trace.origin.symbols.name
    return Distinct(tuple(name(one & ((1 << 64) - 1)) for one in places.values), places.which)


def texts(trace: Trace, rows: Ints, event: str, name: str) -> Distinct[str]:
    """Return what `Trace.text` says of each of `rows`, all of kind `event`.

    Raises:
        BadInput: the event has no such field, or one of the rows is too short to say where its text lies.
    """
    known = trace.formats.by_name[event].field_of(name)
    if known is None:
        raise BadInput(trace.origin.name, f"{event} has no field {name!r} here", cause="a newer or older kernel")
    low: Ints | int = known.offset
    length: Ints | int = known.size
    if "__data_loc" in known.type:
        where = trace.field(rows, event, name).astype(np.int64) & 0xFFFFFFFF
        low, length = where & 0xFFFF, where >> 16
    start = trace.places(rows)
    begins, ends = (start + low).tolist(), (start + np.minimum(low + length, trace.size[rows])).tolist()
    raw = trace.raw.data
    found = [raw[begin:end].tobytes() for begin, end in zip(begins, ends, strict=True)]
    places = {one: at for at, one in enumerate(dict.fromkeys(found))}
    values = tuple(one.split(b"\0")[0].decode("utf-8", "replace") for one in places)
    return Distinct(values, np.fromiter(map(places.__getitem__, found), np.int64, len(found)))


def rows_of_function(trace: Trace, event: str, function: str) -> Ints:
    """Return the rows of a kind of event whose field `func` holds that function."""
    rows = trace.rows(event)
    if not rows.size:  # perhaps without a description
        return rows
    return rows[functions(trace, trace.field(rows, event, "func")).that(function.__eq__)]
