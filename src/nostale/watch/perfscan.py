"""The records of a perf.data: by perfscan.c where it is compiled, else and as its oracle one at a time in Python."""

from __future__ import annotations

import ctypes
from ctypes import Structure, byref, c_int64, c_void_p
from dataclasses import dataclass, field, replace
from struct import unpack_from
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nostale.contract import BadInput
from nostale.watch.ring import Lost, too_late
from nostale.watch.scanner import Fates, GrowingArray, check_room, fold
from nostale.watch.trace import WORD, Table

MMAP, LOST, COMM, THROTTLE, SAMPLE, LOST_SAMPLES = 1, 2, 3, 5, 9, 13
AUXTRACE, COMPRESSED, COMPRESSED2 = 71, 81, 83
S_IP, S_TID, S_TIME, S_ADDR, S_READ, S_CALLCHAIN, S_ID, S_CPU, S_PERIOD, S_STREAM_ID, S_RAW = (
    1 << n for n in range(11)
)
S_IDENTIFIER: Final = 1 << 16
_OTHERS: Final = frozenset({MMAP, LOST, COMM, THROTTLE, LOST_SAMPLES})
_CONTEXT_MAX, _CONTEXT_KERNEL = (1 << 64) - 4095, (1 << 64) - 128
_MORE, _STOPPED, _BAD_RECORD, _BAD_SAMPLE, _BAD_TIME = range(5)
_KINDS: Final = 1 << 16
_MOST_OTHERS: Final = 1 << 12


@dataclass(frozen=True, slots=True)
class Attrs:
    """How samples are laid out, and which are kept.

    Args:
        ids: to the number of an attribute; empty where all samples are laid out alike and name no id.
        sample_type, read_format: of each attribute.
        fates: what is done with events.
        kept: `(2, 65536) int32`, which of an event's bytes are kept, as `merge` has them.
        at: where an event's type and thread id lie.
        stack: type of a kernel_stack event, and where its size and its first address lie; None keeps no call chains.
    """

    ids: dict[int, int]
    sample_type: tuple[int, ...]
    read_format: tuple[int, ...]
    fates: Fates
    kept: NDArray[np.int32]
    at: tuple[int, int]
    stack: tuple[int, int, int] | None


class _Attrs(Structure):
    _fields_ = [
        ("n_ids", c_int64),
        *((name, c_void_p) for name in ("ids", "attr_of", "sample_type", "read_format", "fate", "start", "until")),
        *((name, c_int64) for name in ("type_at", "pid_at", "stack_type", "stack_size_at", "stack_caller_at")),
    ]


class _Found(Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("ts", "word", "pid", "size", "type", "cpu")),
        ("used", c_int64),
        ("heap", c_void_p),
        ("heap_used", c_int64),
        *((name, c_void_p) for name in ("other", "other_row")),
        *((name, c_int64) for name in ("n_other", "most_other")),
        *((name, c_int64) for name in ("consumed", "events", "first_ns", "last_ns", "bad_at")),
        ("counts", c_void_p),
    ]


class Samples:
    """The tracepoint samples found so far, in the order of the file.

    Args:
        lib: the compiled scanner, None for the slow one.
        where: the file's name, for what is said of damage.
    """

    def __init__(self, lib: ctypes.CDLL | None, attrs: Attrs, where: str) -> None:
        self.lib, self.attrs, self.where = lib, attrs, where
        kinds = {"ts": np.int64, "word": np.uint32, "pid": np.int32, "size": np.int32}
        self.columns = {name: GrowingArray(kind) for name, kind in kinds.items()}
        self.columns |= {name: GrowingArray(np.uint16) for name in ("type", "cpu")}
        self.heap = GrowingArray(np.uint8)
        self.counts = np.zeros(_KINDS, np.int64)
        self.others, self.other_rows = np.empty(_MOST_OTHERS, np.int64), np.empty(_MOST_OTHERS, np.int64)
        self.found = _Found(
            other=self.others.ctypes.data,
            other_row=self.other_rows.ctypes.data,
            most_other=_MOST_OTHERS,
            counts=self.counts.ctypes.data,
            heap_used=int(attrs.kept[0].max()),  # so that no row's word lies before the first
        )
        ids = sorted(attrs.ids.items())
        self._held = (
            np.array([one for one, _ in ids], np.uint64),
            np.array([one for _, one in ids], np.int32),
            np.array(attrs.sample_type, np.uint64),
            np.array(attrs.read_format, np.uint64),
            attrs.fates.of_type,
            *attrs.kept,
        )
        self._attrs = _Attrs(
            len(ids), *(one.ctypes.data for one in self._held), *attrs.at, *(attrs.stack or (-1, 0, 0))
        )

    def take(self, raw: bytes) -> tuple[int, list[tuple[int, int]], bool]:
        """Take the samples of whole records.

        Returns:
            How many bytes were looked at; where in them records lie that the caller is to look at, each with how many
            rows there were before; and whether it stopped before a record with others or with data behind it.

        Raises:
            BadInput: a record or a sample that cannot be.
        """
        found = self.found
        for name, column in self.columns.items():
            setattr(found, name, column.make_room(found.used + len(raw) // 16 + 2))
        check_room(found.heap_used + 3 * len(raw) + 64, self.where)
        found.heap = self.heap.make_room(found.heap_used + 3 * len(raw) + 64)
        found.n_other = 0
        if self.lib is not None:
            address = np.frombuffer(raw, np.uint8).ctypes.data if raw else None
            result = self.lib.nostale_perf(byref(self._attrs), c_void_p(address), c_int64(len(raw)), byref(found))
        else:
            result = _Slowly(self, raw).run()
        if result > _STOPPED:
            raise _problem(result, self.where)
        others = zip(self.others[: found.n_other].tolist(), self.other_rows[: found.n_other].tolist())
        return int(found.consumed), list(others), result == _STOPPED

    def last_ns(self, cpu: int | None, row: int) -> int:
        """Return the time of the last sample of `cpu` before `row` in the file, -2^62 where there is none."""
        near = self.columns["cpu"].array(row)
        for low in range(max(0, row - _MOST_OTHERS), -_MOST_OTHERS, -_MOST_OTHERS):
            there = np.flatnonzero(near[max(0, low) : low + _MOST_OTHERS] == cpu)
            if there.size:
                return int(self.columns["ts"].array(row)[max(0, low) + int(there[-1])])
        return -(1 << 62)

    def cpus(self) -> tuple[int, ...]:
        """Return the CPUs that have samples so far."""
        return tuple(np.flatnonzero(np.bincount(self.columns["cpu"].array(self.found.used))).tolist())

    def table(self, lost: tuple[Lost, ...]) -> Table:
        """Return them in time order; system calls and faults are folded as `merge` does, unless events were lost."""
        found = self.found
        columns: dict[str, Any] = {name: column.array(found.used) for name, column in self.columns.items()}
        heap = self.heap.array(found.heap_used)
        table = Table(
            **columns, heap=heap, lost=lost, total=found.events, first_ns=found.first_ns, last_ns=found.last_ns
        )
        order = np.argsort(table.ts, kind="stable")
        if self.lib is None or lost:
            return table.rows(order)
        order, folded = fold(self.lib, order, columns, heap, self.attrs.fates)
        return replace(table.rows(order), folded=folded)


def _problem(result: int, where: str) -> BadInput:
    if result == _BAD_TIME:
        return too_late(where)
    what = "a record shorter than its head" if result == _BAD_RECORD else "a sample that ends before what it declares"
    return BadInput(where, what, cause="a damaged file")


class _BadSampleError(Exception):
    """A sample that ends before what it declares."""


@dataclass(slots=True)
class _Slowly:
    """What nostale_perf does, in Python."""

    samples: Samples
    raw: bytes
    heap: NDArray[np.uint8] = field(init=False)
    columns: dict[str, NDArray[Any]] = field(init=False)

    def __post_init__(self) -> None:
        most = len(self.raw) // 16 + 2
        self.columns = {name: one.array(self.samples.found.used + most) for name, one in self.samples.columns.items()}
        self.heap = self.samples.heap.array(self.samples.found.heap_used + 3 * len(self.raw) + 64)

    def run(self) -> int:
        found, at, result = self.samples.found, 0, _MORE
        while result == _MORE and len(self.raw) - at >= 8:
            kind, _, length = unpack_from("<IHH", self.raw, at)
            if length < 8:
                result = _BAD_RECORD
            elif kind in (AUXTRACE, COMPRESSED, COMPRESSED2):
                result = _STOPPED
            elif length > len(self.raw) - at:
                break
            elif kind == SAMPLE:
                try:
                    result = self.sample(self.raw[at + 8 : at + length])
                except _BadSampleError:
                    result = _BAD_SAMPLE
            elif kind in _OTHERS:
                if found.n_other == _MOST_OTHERS:
                    break
                self.samples.others[found.n_other] = at
                self.samples.other_rows[found.n_other] = found.used
                found.n_other += 1
            if result == _MORE:
                at += length
        found.consumed = at
        return result

    def sample(self, data: bytes) -> int:
        attrs, found = self.samples.attrs, self.samples.found
        at = 0

        def number(size: int) -> int:
            nonlocal at
            if at + size > len(data):
                raise _BadSampleError
            at += size
            return int.from_bytes(data[at - size : at], "little")

        which = 0
        if attrs.ids:
            which = attrs.ids.get(number(8), -1)
            at = 0
        if which < 0:
            raise _BadSampleError
        kind, form = attrs.sample_type[which], attrs.read_format[which]
        if not kind & S_RAW:
            return _MORE
        for bit in (S_IDENTIFIER, S_IP, S_TID):
            number(8 if kind & bit else 0)
        ts = number(8 if kind & S_TIME else 0)
        for bit in (S_ADDR, S_ID, S_STREAM_ID):
            number(8 if kind & bit else 0)
        cpu = number(8 if kind & S_CPU else 0) & 0xFFFFFFFF
        number(8 if kind & S_PERIOD else 0)
        if kind & S_READ:
            count = number(8) if form & 8 else 1
            number(8 * (count * (1 + bool(form & 4) + bool(form & 16)) + bool(form & 1) + bool(form & 2)))
        chain: list[int] = []
        if kind & S_CALLCHAIN:
            count = number(8)
            if count > len(data) // 8:
                raise _BadSampleError
            chain = [number(8) for _ in range(count)]
        size = number(4)
        start = at
        number(size)
        event = data[start:at]
        if size < attrs.at[0] + 2 or size < attrs.at[1] + 4 or cpu >> 16:
            raise _BadSampleError
        if ts >> 62:
            return _BAD_TIME
        (type_,), (pid,) = unpack_from("<H", event, attrs.at[0]), unpack_from("<i", event, attrs.at[1])
        found.first_ns = min(found.first_ns, ts) if found.events else ts
        found.events += 1
        found.last_ns = max(found.last_ns, ts)
        self.samples.counts[type_] += 1
        if attrs.fates.of_type[type_]:
            self.keep(ts, cpu, pid, type_, event)
            if chain and attrs.stack is not None:
                self.keep_stack(ts, cpu, pid, chain, attrs.stack)
        return _MORE

    def keep(self, ts: int, cpu: int, pid: int, kind: int, event: bytes) -> None:
        found = self.samples.found
        first, end = self.samples.attrs.kept[:, kind].tolist()
        word, part = (found.heap_used - first) // WORD, event[first:end]
        values = {"ts": ts, "cpu": cpu, "pid": pid, "type": kind, "size": len(event), "word": word}
        for name, value in values.items():
            self.columns[name][found.used] = value
        self.heap[found.heap_used : found.heap_used + len(part)] = np.frombuffer(part, np.uint8)
        found.used += 1
        found.heap_used += (len(part) + 3) & ~3

    def keep_stack(self, ts: int, cpu: int, pid: int, chain: list[int], stack: tuple[int, int, int]) -> None:
        kernel, frames = False, []
        for address in chain:
            if address >= _CONTEXT_MAX:
                kernel = address == _CONTEXT_KERNEL
            elif kernel:
                frames.append(address)
        if frames:
            kind, size_at, caller_at = stack
            event = bytearray(caller_at)
            event[size_at : size_at + 4] = len(frames).to_bytes(4, "little")
            self.keep(ts, cpu, pid, kind, bytes(event) + b"".join(one.to_bytes(8, "little") for one in frames))
