"""Rows by a key: the last one with it before a row, the first one after."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nostale.watch.ring import Ints


class Index:
    """The rows of some events by a number that each has.

    Args:
        keys: `(n,)` of any integer type.
        rows: `(n,) int64`, ascending.

    Attributes:
        rows: the same, ordered by key and then by row. Look-ups in that order are the fastest.

    Cost: O(n log n) once, then a look-up O(log n) without numpy, whose calls cost more than the search; `lasts` and
    `nexts` are for many look-ups at once.
    """

    def __init__(self, keys: NDArray[np.integer], rows: Ints) -> None:
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        self.rows = rows[order]
        self._rows = memoryview(np.ascontiguousarray(self.rows).data)
        starts = np.flatnonzero(np.concatenate([np.ones(min(1, len(keys)), bool), keys[1:] != keys[:-1]]))
        ends = np.append(starts[1:], len(keys))
        self._keys, self._starts, self._ends = keys[starts], starts, ends
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

    def lasts(self, keys: NDArray[np.integer], rows: Ints) -> Ints:
        """Return for each key and row what `last` does, -1 for None: `(n,) int64` all three.

        >>> index = Index(np.array([7, 8, 7]), np.array([10, 11, 15]))
        >>> index.lasts(np.array([7, 7, 9]), np.array([15, 10, 99])).tolist()
        [10, -1, -1]
        >>> index.nexts(np.array([7, 7, 9]), np.array([10, 15, 0])).tolist()
        [15, -1, -1]
        """
        low, _, at = self._places(keys, rows, "left")
        return np.where(at > low, np.append(self.rows, -1)[at - 1], -1)

    def nexts(self, keys: NDArray[np.integer], rows: Ints) -> Ints:
        """Return for each key and row what `next` does, -1 for None."""
        _, high, at = self._places(keys, rows, "right")
        return np.where(at < high, np.append(self.rows, -1)[at], -1)

    def _places(self, keys: NDArray[np.integer], rows: Ints, side: Literal["left", "right"]) -> tuple[Ints, Ints, Ints]:
        """Return where the rows with each key begin and end in `rows`, and where the row asked for would stand."""
        known = np.append(self._keys, 0)  # one that is never asked for: there need not be any
        rank = np.searchsorted(self._keys, keys)
        found = (rank < len(self._keys)) & (known[rank] == keys)
        low = np.where(found, np.append(self._starts, 0)[rank], 0)
        high = np.where(found, np.append(self._ends, 0)[rank], 0)
        reach = 1 + max(int(self.rows.max(initial=0)), int(rows.max(initial=0)))
        of_key = np.repeat(np.arange(len(self._keys)), self._ends - self._starts)
        at = np.searchsorted(of_key * reach + self.rows, rank * reach + rows, side=side)
        return low, high, np.where(found, at, 0)
