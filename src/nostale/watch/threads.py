"""What is asked of each thread id of a column, asked once of each thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MOST: Final = 1 << 22  # PID_MAX_LIMIT, include/linux/threads.h: tables by thread id have so many entries at most


def by_thread(pids: NDArray[Any], is_one: Callable[[int], bool]) -> NDArray[np.bool_]:
    """Say of each thread id whether it is one.

    >>> by_thread(np.array([3, 5, 3]), lambda pid: pid == 3).tolist()
    [True, False, True]
    """
    if not _tables(pids):
        threads, which = np.unique(pids, return_inverse=True)
        return np.array([is_one(pid) for pid in threads.tolist()], bool)[which]
    told: NDArray[np.bool_] = table(is_one, pids)[pids] != 0
    return told


def last_of_each(pids: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the thread ids of a column, ascending, and where each stands last.

    >>> [one.tolist() for one in last_of_each(np.array([5, 3, 5]))]
    [[3, 5], [1, 2]]
    """
    if not _tables(pids):
        threads, first = np.unique(pids[::-1], return_index=True)
        return threads.astype(np.int64), len(pids) - 1 - first
    last = np.full(int(pids.max()) + 1, -1, np.int64)
    last[pids] = np.arange(len(pids))  # of several the last one stays
    threads = np.flatnonzero(last >= 0)
    return threads, last[threads]


def _tables(pids: NDArray[Any]) -> bool:
    """Whether tables by thread id serve: those of a damaged trace may be any."""
    return bool(pids.size) and int(pids.min()) >= 0 and int(pids.max()) < MOST


def table(is_one: Callable[[int], bool], *columns: NDArray[Any]) -> NDArray[np.uint8]:
    """Return by thread id whether it is one: 1 or 0, 0 for ids that are in none of the columns. All are below MOST."""
    met = np.zeros(1 + max((int(one.max()) for one in columns if one.size), default=0), bool)
    for one in columns:
        met[one] = True
    told = np.zeros(len(met), np.uint8)
    told[[pid for pid in np.flatnonzero(met).tolist() if is_one(pid)]] = 1
    return told
