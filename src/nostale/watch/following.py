"""What a thread did next: for many rows at once."""

from __future__ import annotations

import numpy as np

from nostale.watch.ring import Ints
from nostale.watch.trace import Trace


def next_of_thread(trace: Trace, rows: Ints, candidates: Ints) -> Ints:
    """Return for each of `rows` the first of `candidates` after it that is of the same thread, -1 where there is none.

    Cost: O(candidates + c log c), where c of them are of one of the threads.
    """
    if not rows.size or not candidates.size:
        return np.full(rows.size, -1, np.int64)
    mine = candidates[np.isin(trace.pid[candidates], trace.pid[rows])]
    keys = np.sort(_by_thread(trace, mine))
    wanted = _by_thread(trace, rows)
    at = np.searchsorted(keys, wanted, side="right")
    found = np.append(keys, -1)[at]
    same = (at < keys.size) & (found // len(trace) == wanted // len(trace))
    return np.where(same, found % len(trace), -1)


def _by_thread(trace: Trace, rows: Ints) -> Ints:
    """Return numbers that are in the order of threads, and of rows within a thread."""
    return trace.pid[rows].astype(np.int64) * len(trace) + rows
