"""Rows by a key: the last one with it before a row, the first one after."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import numpy as np
from numpy.typing import NDArray

from nostale.watch.ring import Ints


class Index:
    """The rows of some events by a number that each has.

    Args:
        keys: `(n,)` of any integer type.
        rows: `(n,) int64`, ascending.

    Cost: O(n log n) once, then a look-up O(log n) without numpy, whose calls cost more than the search.
    """

    def __init__(self, keys: NDArray[np.integer], rows: Ints) -> None:
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        self.rows = rows[order]
        self._rows = memoryview(np.ascontiguousarray(self.rows).data)
        starts = np.flatnonzero(np.concatenate([np.ones(min(1, len(keys)), bool), keys[1:] != keys[:-1]]))
        ends = np.append(starts[1:], len(keys))
        self._range: dict[int, tuple[int, int]] = dict(zip(keys[starts].tolist(), zip(starts.tolist(), ends.tolist())))

    def range(self, key: int) -> tuple[int, int]:
        """Return where the rows with `key` begin and end in `rows`."""
        return self._range.get(key, (0, 0))

    def last(self, key: int, row: int) -> int | None:
        """Return the last row with `key` before `row`.

        >>> index = Index(np.array([7, 8, 7]), np.array([10, 11, 15]))
        >>> index.last(7, 15), index.last(7, 10), index.next(7, 10), index.next(9, 0)
        (10, None, 15, None)
        """
        low, high = self._range.get(key, (0, 0))
        at = bisect_left(self._rows, row, low, high)
        return self._rows[at - 1] if at > low else None

    def next(self, key: int, row: int) -> int | None:
        """Return the first row with `key` after `row`."""
        low, high = self._range.get(key, (0, 0))
        at = bisect_right(self._rows, row, low, high)
        return self._rows[at] if at < high else None
