"""The compiled scan and merge: `scan.c` through ctypes, one table that grows as pages are fed.

What it finds is what `ring.scan` and a stable sort find; those are its oracle, and serve where there is no compiler.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from ctypes import Structure, byref, c_char_p, c_int64, c_void_p
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nostale.contract import BadInput
from nostale.watch.ring import Geometry, Lost, claims, overrun, too_late, too_short
from nostale.watch.threads import MOST

DROP, KEEP, ENTER, EXIT, FAULT = range(5)  # what scan.c does with a kind of event
_GROWTH: Final = 1.5
_HUGE: Final = 8 << 20  # bytes from which on an array is asked for in huge pages: fewer faults, 2 MB more at most
_KINDS: Final = 1 << 16
_FOLDED: Final = 1 << 14
_AT_ONCE: Final = 1 << 20  # bytes of pages taken at a time, all CPUs together: they stay in the processor's cache
_LEAST: Final = 1 << 17  # of one CPU
_MOST_HEAP: Final = 4 << 32  # words of 4 bytes are numbered in 32 bits
_NO_LIMIT: Final = (1 << 63) - 1


class _Staying(Structure):
    _fields_ = [("number_at", c_int64), ("n", c_int64), ("stays", c_void_p)]


class _Layout(Structure):
    _fields_ = [
        *((name, c_int64) for name in ("page_bytes", "commit_at", "data_at", "type_at", "pid_at")),
        ("fate", c_void_p),
        ("calls", _Staying),
    ]


class _Rows(Structure):
    _fields_ = [*((name, c_void_p) for name in ("ts", "event", "pid", "size", "type", "mark")), ("used", c_int64)]


class _State(Structure):
    _fields_ = [
        *((name, c_int64) for name in ("events", "first_ns", "last_ns", "backwards", "n_lost")),
        *((name, c_int64) for name in ("bad", "bad_page", "bad_at")),
        ("counts", c_void_p),
        ("lost", c_void_p),
    ]


class _Table(Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("ts", "word", "pid", "size", "type", "cpu")),
        ("used", c_int64),
        ("heap", c_void_p),
        ("heap_used", c_int64),
        ("open", c_void_p),
        ("n_open", c_int64),
        ("folded_key", c_void_p),
        ("folded_count", c_void_p),
        ("n_folded", c_int64),
        ("folded_used", c_int64),
        ("start", c_void_p),
        ("until", c_void_p),
    ]


class _Folding(Structure):
    _fields_ = [
        ("order", c_void_p),
        ("n", c_int64),
        *((name, c_void_p) for name in ("type", "cpu", "pid", "size", "word", "heap", "fate")),
        *((name, c_void_p) for name in ("next", "last", "left", "kept")),
        ("calls", _Staying),
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Fates:
    """What is done with events, and with system calls.

    Args:
        of_type: `(65536,) uint8`, for each type one of DROP, KEEP, ENTER, EXIT, FAULT. Where types have the last three,
            system calls without anything in them, and page faults, are counted instead of kept if another follows.
        number_at: where an event of type ENTER has the number of the system call, 8 bytes.
        stays: `(n,) uint8`, whether a system call is kept whatever happens in it; those from n on are not.
    """

    of_type: NDArray[np.uint8]
    number_at: int = 0
    stays: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))

    def staying(self) -> _Staying:
        return _Staying(self.number_at, len(self.stays), self.stays.ctypes.data)


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """What was found on all CPUs, in time order: columns of one length, and the bytes that `word` points into.

    Args:
        counts: `(65536,) int64`, events of each type, those dropped included.
        first_ns, last_ns: of any event.
        folded: system calls and page faults left out, by CPU and thread.
        backwards: whether the time of some CPU went back, so that the columns are not yet in order.
    """

    ts: NDArray[np.int64]
    cpu: NDArray[np.uint16]
    pid: NDArray[np.int32]
    type: NDArray[np.uint16]
    word: NDArray[np.uint32]
    size: NDArray[np.int32]
    heap: NDArray[np.uint8]
    counts: NDArray[np.int64]
    first_ns: int
    last_ns: int
    lost: tuple[Lost, ...]
    folded: Mapping[tuple[int, int], int]
    backwards: bool


def merge(
    lib: ctypes.CDLL,
    streams: Mapping[int, Iterable[bytes]],
    geometry: Geometry,
    at: tuple[int, int],
    fates: Fates,
    kept: NDArray[np.int32],
    where: str,
) -> Merged:
    """Scan and merge the pages of every CPU, holding only a few at a time.

    Args:
        at: where an event's type (2 bytes) and thread id (4 bytes) lie.
        kept: `(2, 65536) int32`, for each type the first of the bytes that are kept, a multiple of 4, and the one after
            the last.

    Raises:
        BadInput: damaged pages.
    """
    fate = fates.of_type
    pages = (geometry.page_bytes, geometry.commit_offset, geometry.data_offset)
    layout = _Layout(*pages, *at, fate.ctypes.data, fates.staying())
    cpus = np.array(sorted(streams), np.uint16)
    share = max(geometry.page_bytes, _LEAST, _AT_ONCE // max(1, len(cpus)))
    inputs = [
        _Input(lib, layout, fate, _batches(streams[int(cpu)], share, geometry.page_bytes), int(cpu), where)
        for cpu in cpus
    ]
    table = _Growing(lib, cpus, fate, kept, where)
    while any(not one.done for one in inputs):
        slowest = min((one for one in inputs if not one.done), key=lambda one: one.last_ns)
        slowest.feed()
        table.take(inputs, min((one.last_ns for one in inputs if not one.done), default=_NO_LIMIT))
    return table.merged(inputs)


def _batches(chunks: Iterable[bytes], least: int, page_bytes: int) -> Iterator[list[bytes]]:
    """Gather chunks until they are `least` bytes; those that are not whole pages are joined."""
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= least:
            yield _whole(held, page_bytes)
            held, size = [], 0
    if held:
        yield _whole(held, page_bytes)


def _whole(chunks: list[bytes], page_bytes: int) -> list[bytes]:
    return [b"".join(chunks)] if any(len(one) % page_bytes for one in chunks) else chunks


class _Input:
    """The pages of one CPU as they are scanned, and the rows found that the table has not taken yet."""

    def __init__(
        self,
        lib: ctypes.CDLL,
        layout: _Layout,
        fate: NDArray[np.uint8],
        batches: Iterator[list[bytes]],
        cpu: int,
        where: str,
    ) -> None:
        self.lib, self.layout, self.fate, self.batches, self.cpu, self.where = lib, layout, fate, batches, cpu, where
        self.counts = np.zeros(_KINDS, np.int64)
        self.state = _State(counts=self.counts.ctypes.data)
        self.columns: dict[str, NDArray[Any]] = {}
        self.rows = _Rows()
        self.taken = c_int64(0)
        self.raws: list[tuple[list[bytes], int, int]] = []  # each with its size, and the row after its last
        self.pages = 0
        self.lost: list[Lost] = []
        self.done = False
        self.last_ns = -(1 << 62)

    def feed(self) -> None:
        """Scan the next pages; without any the input is done."""
        chunks = next(self.batches, None)
        if chunks is None:
            self.done = True
            return
        size = sum(map(len, chunks))
        n_pages, rest = divmod(size, self.layout.page_bytes)
        if rest:
            raise BadInput(
                self.where, f"{size} bytes are not whole pages of {self.layout.page_bytes}", cause="a cut file"
            )
        first = self._make_room(size // 8)
        lost = np.empty((n_pages, 3), np.int64)
        self.state.lost, self.state.n_lost = lost.ctypes.data, 0
        failed = self.lib.nostale_scan(
            byref(self.layout),
            (c_char_p * len(chunks))(*chunks),
            (c_int64 * len(chunks))(*(len(one) // self.layout.page_bytes for one in chunks)),
            c_int64(len(chunks)),
            byref(self.rows),
            byref(self.state),
        )
        if failed:
            raise self._problem()
        self.lib.nostale_mark(byref(self.rows), c_void_p(self.fate.ctypes.data), c_int64(first))
        self.raws.append((chunks, size, self.rows.used))
        self.pages += n_pages
        self.last_ns = self.state.last_ns if self.state.events else self.last_ns
        self.lost += [
            Lost(self.cpu, after, before, count if count >= 0 else None)
            for after, before, count in lost[: self.state.n_lost].tolist()
        ]

    def _make_room(self, more: int) -> int:
        """Move what was not taken to the front, with room for `more` rows; return how many were not taken."""
        taken = int(self.taken.value)
        left = int(self.rows.used) - taken
        size = left + more
        old, fresh = self.columns, not self.columns or len(self.columns["ts"]) < size
        if fresh:
            kinds = {"ts": np.int64, "event": np.uint64, "pid": np.int32, "size": np.int32, "type": np.uint16}
            self.columns = {name: np.empty(size, kind) for name, kind in kinds.items()}
            self.columns["mark"] = np.empty(size, np.uint8)
        for name, column in self.columns.items():
            if left:
                column[:left] = old[name][taken : taken + left].copy()
            setattr(self.rows, name, column.ctypes.data)
        self.raws = [(chunks, size, end - taken) for chunks, size, end in self.raws if end > taken]
        self.rows.used, self.taken.value = left, 0
        return left

    def _problem(self) -> BadInput:
        page, at, geometry = self.pages + self.state.bad_page, self.state.bad_at, self.layout
        return {
            1: lambda: claims(self.where, page, at, geometry.page_bytes - geometry.data_at),
            2: lambda: overrun(self.where, page, at),
            3: lambda: too_short(self.where, at),
            4: lambda: too_late(self.where),
        }[self.state.bad]()


class GrowingArray:
    """An array that grows in place: pages that are not written to yet cost nothing, and none are copied."""

    def __init__(self, kind: type[Any]) -> None:
        self.kind = np.dtype(kind)
        self.map = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def make_room(self, size: int) -> int:
        """Make room for `size` values and return the address of the first."""
        if size * self.kind.itemsize > len(self.map):
            self.map.resize(int(size * self.kind.itemsize * _GROWTH) // mmap.PAGESIZE * mmap.PAGESIZE + mmap.PAGESIZE)
            if len(self.map) >= _HUGE:
                with suppress(OSError):  # a kernel without huge pages
                    self.map.madvise(mmap.MADV_HUGEPAGE)
        return _address(self.map)

    def array(self, size: int) -> NDArray[Any]:
        return np.frombuffer(self.map, self.kind, size)


class _Folds:
    """What is counted instead of kept, and which threads are in a call that is kept."""

    def __init__(self) -> None:
        self.open = np.zeros(MOST // 8, np.uint8)
        self.key, self.count = np.zeros(_FOLDED, np.int64), np.zeros(_FOLDED, np.int64)

    def table(self, **others: int) -> _Table:
        """Return a table that has them."""
        return _Table(
            open=self.open.ctypes.data,
            n_open=MOST,
            folded_key=self.key.ctypes.data,
            folded_count=self.count.ctypes.data,
            n_folded=_FOLDED,
            **others,
        )

    def counted(self) -> dict[tuple[int, int], int]:
        """Return how many there are by CPU and thread."""
        keys = np.flatnonzero(self.key)
        folded = zip(self.key[keys].tolist(), self.count[keys].tolist())
        return {(key >> 32, key & 0xFFFFFFFF): count for key, count in folded}


class _Growing:
    """The table as it grows."""

    def __init__(
        self,
        lib: ctypes.CDLL,
        cpus: NDArray[np.uint16],
        fate: NDArray[np.uint8],
        kept: NDArray[np.int32],
        where: str,
    ) -> None:
        self.lib, self.cpus, self.fate, self.kept, self.where = lib, cpus, fate, kept, where
        kinds = {"ts": np.int64, "word": np.uint32, "pid": np.int32, "size": np.int32}
        self.columns = {name: GrowingArray(kind) for name, kind in kinds.items()}
        self.columns |= {name: GrowingArray(np.uint16) for name in ("type", "cpu")}
        self.heap = GrowingArray(np.uint8)
        self.folds = _Folds()
        self.table = self.folds.table(
            start=kept[0].ctypes.data,
            until=kept[1].ctypes.data,
            heap_used=int(kept[0].max()),  # so that no row's word lies before the first
        )

    def take(self, inputs: list[_Input], limit: int) -> None:
        """Take every row with a time before `limit`."""
        rows = sum(one.rows.used - one.taken.value for one in inputs)
        # Each event lies in its page after a head of 4 bytes, which is more than it is rounded up by.
        size = self.table.heap_used + sum(size for one in inputs for _, size, _ in one.raws)
        check_room(size, self.where)
        self.table.heap = self.heap.make_room(size)
        for name, column in self.columns.items():
            setattr(self.table, name, column.make_room(self.table.used + rows))
        every = (_Rows * len(inputs))(*(one.rows for one in inputs))
        taken = (c_int64 * len(inputs))(*(one.taken.value for one in inputs))
        self.lib.nostale_merge(
            every,
            taken,
            c_void_p(self.cpus.ctypes.data),
            c_int64(len(inputs)),
            c_int64(limit),
            c_void_p(self.fate.ctypes.data),
            byref(self.table),
        )
        for one, value in zip(inputs, taken):
            one.taken.value = value

    def merged(self, inputs: list[_Input]) -> Merged:
        """Return what was taken."""
        met = [one.state for one in inputs if one.state.events]
        return Merged(
            **{name: column.array(self.table.used) for name, column in self.columns.items()},
            heap=self.heap.array(self.table.heap_used),
            counts=np.sum([one.counts for one in inputs], axis=0, dtype=np.int64, initial=0),
            first_ns=min((one.first_ns for one in met), default=0),
            last_ns=max((one.last_ns for one in met), default=0),
            lost=tuple(lost for one in inputs for lost in one.lost),
            folded=self.folds.counted(),
            backwards=any(one.backwards for one in met),
        )


def fold(
    lib: ctypes.CDLL,
    order: NDArray[np.int64],
    columns: Mapping[str, NDArray[Any]],
    heap: NDArray[np.uint8],
    fates: Fates,
) -> tuple[NDArray[np.int64], dict[tuple[int, int], int]]:
    """Return which rows are kept, in time order, and how many calls and faults are counted instead, as `merge` does.

    Args:
        order: `(n,)`, the rows in time order; no event between them was lost.
        columns: `type`, `cpu`, `pid`, `size` and `word` of the rows, as a table has them.
    """
    folds, n = _Folds(), len(order)
    scratch = (np.empty(n, np.int64), np.full(_KINDS, -1, np.int64), np.zeros(n, np.uint8), np.empty(n, np.int64))
    given = (*(columns[name] for name in ("type", "cpu", "pid", "size", "word")), heap, fates.of_type, *scratch)
    n_kept = c_int64(0)
    it = _Folding(order.ctypes.data, n, *(one.ctypes.data for one in given), fates.staying())
    lib.nostale_fold(byref(it), byref(folds.table()), byref(n_kept))
    return scratch[-1][: n_kept.value], folds.counted()


def by_type(
    types: NDArray[np.uint16], lib: ctypes.CDLL | None
) -> tuple[NDArray[np.int32 | np.int64], NDArray[np.int64]]:
    """Return the rows ordered by type, in each as they come, and where those of each type begin, up to the last type.

    >>> by_type(np.array([3, 1, 3], np.uint16), None)
    (array([1, 0, 2], dtype=int32), array([0, 0, 1, 1, 3]))
    """
    n_types = int(types.max(initial=0)) + 1
    if lib is None or len(types) >= 1 << 31:
        order = np.argsort(types, kind="stable")  # 16 bits: sorted by radix
        starts = np.concatenate([[0], np.cumsum(np.bincount(types, minlength=n_types))])
        return order.astype(np.int32) if len(order) < 1 << 31 else order, starts
    ends, small = np.zeros(n_types + 1, np.int64), np.empty(len(types), np.int32)
    types = np.ascontiguousarray(types)
    lib.nostale_by_type(
        c_void_p(types.ctypes.data),
        c_int64(len(types)),
        c_int64(n_types),
        c_void_p(ends.ctypes.data),
        c_void_p(small.ctypes.data),
    )
    return small, np.concatenate([[0], ends[:-1]])


def check_room(size_bytes: int, where: str) -> None:
    """Refuse more bytes of events than a table has numbers for.

    Raises:
        BadInput: there are more.
    """
    if size_bytes > _MOST_HEAP:
        raise BadInput(where, f"holds over {_MOST_HEAP >> 30} GiB of events", remedy="record fewer, or in pieces")


def _address(raw: mmap.mmap) -> int:
    return int(np.frombuffer(raw, np.uint8).ctypes.data)
