"""Columns of words: the distinct ones, and which of them each row has, so that each is looked at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nostale.watch.ring import Ints
from nostale.watch.trace import Column, Trace


@dataclass(frozen=True, slots=True)
class Words:
    """One word of each of some rows.

    Args:
        distinct: the words.
        which: `(n,) int64`, for each row its word's place in `distinct`.
    """

    distinct: tuple[str, ...]
    which: Ints

    def that(self, fits: Callable[[str], bool]) -> NDArray[np.bool_]:
        """Say of each row whether its word fits."""
        fitting = np.array([fits(one) for one in self.distinct], bool)
        return fitting[self.which]


def functions(trace: Trace, addresses: Column) -> Words:
    """Return the functions that `addresses` lie in."""
    distinct, which = np.unique(addresses, return_inverse=True)
    name = trace.origin.symbols.name
    return Words(tuple(name(one & ((1 << 64) - 1)) for one in distinct.tolist()), which)


def rows_of_function(trace: Trace, event: str, function: str) -> Ints:
    """Return the rows of a kind of event whose field `func` holds that function."""
    rows = trace.rows(event)
    if not rows.size:  # perhaps without a description
        return rows
    return rows[functions(trace, trace.field(rows, event, "func")).that(function.__eq__)]
