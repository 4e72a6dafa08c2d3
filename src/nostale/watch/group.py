"""Rows of numbers that are alike, put into groups: by group.c, or one by one."""

from __future__ import annotations

from ctypes import c_int64, c_void_p

import numpy as np
from numpy.typing import NDArray

from nostale.watch.compiled import library
from nostale.watch.ring import Ints

Groups = tuple[NDArray[np.int32], NDArray[np.int32]]


def grouped(keys: NDArray[np.int64], rows: Ints) -> Groups:
    """Return for each of some rows of `(n, width)` keys the number of its group, and of each group the first of them.

    >>> [one.tolist() for one in grouped(np.array([[7, 1], [5, 5], [8, 1], [7, 1]]), np.array([0, 2, 3]))]
    [[0, 1, 0], [0, 1]]
    """
    lib = library(worth_compiling=False)
    if lib is None:
        return one_by_one(keys, rows)
    keys, rows = np.ascontiguousarray(keys), np.ascontiguousarray(rows)
    group, first = np.empty(len(rows), np.int32), np.empty(len(rows), np.int32)
    table = np.zeros(2 << len(rows).bit_length(), np.int32)
    lib.nostale_group.restype = c_int64
    groups = lib.nostale_group(
        c_void_p(keys.ctypes.data),
        c_void_p(rows.ctypes.data),
        c_int64(len(rows)),
        c_int64(keys.shape[1]),
        c_void_p(table.ctypes.data),
        c_int64(len(table)),
        c_void_p(group.ctypes.data),
        c_void_p(first.ctypes.data),
    )
    return group, first[:groups]


def one_by_one(keys: NDArray[np.int64], rows: Ints) -> Groups:
    """Return the same, where there is no compiled library and to hold it against."""
    known: dict[tuple[int, ...], int] = {}
    group = np.array([known.setdefault(tuple(key), len(known)) for key in keys[rows].tolist()], np.int32)
    first = np.zeros(len(known), np.int32)
    first[group[::-1]] = np.arange(len(rows) - 1, -1, -1)
    return group, first
