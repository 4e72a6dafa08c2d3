"""The stretches of the watched CPUs as columns: by walk.c, or from those that walk.py makes one by one."""

from __future__ import annotations

import ctypes
from bisect import bisect_left
from collections.abc import Callable, Sequence
from ctypes import Structure, byref, c_int64, c_uint8, c_void_p
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nostale.contract import Kind
from nostale.contract.breaks import NONE
from nostale.watch.compiled import library
from nostale.watch.related import Related, fits
from nostale.watch.ring import Ints
from nostale.watch.spans import CLOSES, ENTRIES, OWN, Span
from nostale.watch.threads import table
from nostale.watch.trace import Trace
from nostale.watch.walk import bare_calls, walk_slowly

KINDS: Final = tuple(Kind)
CODE: Final = {kind: code for code, kind in enumerate(KINDS)}
# struct stretch of walk.c
STRETCH: Final = np.dtype(
    [
        *((name, np.int64) for name in ("start", "end", "nested", "at_most")),
        *((name, np.int32) for name in ("row", "pid", "next_pid", "via", "cpu")),
        ("what", np.uint16),
        ("kind", np.uint8),
        ("told", np.uint8),
    ]
)
_TYPES: Final = 1 << 16
_NOTHING, _OPENS, _CLOSES, _SWITCHES, _CALLS, _RETURNS, _FAULTS, _USER, _NMI, _WORKS, _PART = range(11)
_WHAT: Final = {
    **dict.fromkeys(ENTRIES, _OPENS),
    **dict.fromkeys(CLOSES, _CLOSES),
    "sched_switch": _SWITCHES,
    "sys_enter": _CALLS,
    "sys_exit": _RETURNS,
    "page_fault_user": _FAULTS,
    "user_enter": _USER,
    "nmi_handler": _NMI,
    "workqueue_execute_start": _WORKS,
    "csd_function_entry": _PART,
    "hrtimer_expire_entry": _PART,
}
_THREAD_BYTES: Final = 24  # struct thread of walk.c
# What walk.c calls the kinds that it has to know.
_CODES: Final = {
    "call": Kind.SYSCALL,
    "fault": Kind.PAGE_FAULT,
    "nmi": Kind.NMI,
    "switch": Kind.CONTEXT_SWITCH,
    "ipi": Kind.IPI_CALL,
    "softirq": Kind.SOFTIRQ,
}


class _Walk(Structure):
    _fields_ = [
        *((name, c_int64) for name in ("n_rows", "n_lost", "n_bare", "n_forgets", "n", "n_parts", "own", "cpu")),
        *((name, c_void_p) for name in ("ts", "type", "on", "pid", "what", "kind", "opener")),
        *((name, c_void_p) for name in ("switches", "prev", "next", "came", "left", "runnable", "call", "nobody")),
        *((name, c_void_p) for name in ("forgets", "lost_after", "lost_reach", "bare")),
        *((name, c_void_p) for name in ("threads", "open", "made", "part_of", "part")),
        *((f"kind_{name}", c_uint8) for name in _CODES),
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Stretches:
    """Stretches of some CPUs, one CPU after the other, each in order of start.

    Args:
        made: `(n,)` of `STRETCH`: times in ns, NONE where not known; `via` an index into the same, or -1; `told` is
            0 for those that interrupted nobody.
        part_of, part: `(m,)`, of each part the stretch that it ran in, ascending, and its row.
        names: of a type of events its name.
    """

    made: NDArray[Any]
    part_of: NDArray[np.int32]
    part: NDArray[np.int32]
    names: dict[int, str]

    def __len__(self) -> int:
        return len(self.made)

    def span(self, at: int) -> Span:
        """Return one stretch as an object."""
        one = self.made[at]
        first, end = (bisect_left(self.part_of.data, one) for one in (at, at + 1))
        start, end_ns, nested, at_most, row, pid, next_pid, via, cpu, what, kind, _ = one.tolist()
        return Span(
            KINDS[kind],
            self.names[what],
            row,
            cpu,
            pid,
            start,
            None if end_ns == NONE else end_ns,
            nested,
            tuple(self.part[first:end].tolist()),
            next_pid,
            None if via < 0 else self.span(via),
            None if at_most == NONE else at_most,
        )


def stretches(
    trace: Trace, cpus: Sequence[int], related: Related, is_kernel_thread: Callable[[int], bool], *, own: bool = True
) -> Stretches:
    """Return the stretches of some CPUs.

    Args:
        own: also those that tasks made themselves, system calls and page faults. Without, only those of them are there
            out of which a switch led, and they are not told.

    Cost: O(events).
    """
    lib, bare = library(worth_compiling=False), bare_calls(trace)
    if lib is None or not fits(trace, related.switches.prev, related.switches.next):
        spans = [span for cpu in cpus for span in walk_slowly(trace, cpu, related, bare)]
        found = of_spans(spans, trace, is_kernel_thread, own=own)
    else:
        nobody = table(is_kernel_thread, trace.pid, related.switches.prev, related.switches.next)
        found = _compiled(lib, trace, cpus, related, bare, nobody, own=own)
    return Stretches(*found, {one.id: one.name for one in trace.formats.by_id.values()})


Columns = tuple[NDArray[Any], NDArray[np.int32], NDArray[np.int32]]


def of_spans(spans: Sequence[Span], trace: Trace, is_kernel_thread: Callable[[int], bool], *, own: bool) -> Columns:
    """Return as columns what was made one by one."""
    made = np.zeros(len(spans), STRETCH)
    number = {id(span): at for at, span in enumerate(spans)}
    for at, span in enumerate(spans):
        told = span.pid != 0 and not is_kernel_thread(span.pid) and (own or span.kind not in OWN)
        made[at] = (
            span.start_ns,
            NONE if span.end_ns is None else span.end_ns,
            span.nested_ns,
            NONE if span.at_most_ns is None else span.at_most_ns,
            span.row,
            span.pid,
            span.next_pid,
            -1 if span.via is None else number[id(span.via)],
            span.cpu,
            trace.formats.by_name[span.what].id,
            CODE[span.kind],
            told,
        )
    parts = [(at, row) for at, span in enumerate(spans) for row in span.parts]
    part_of, part = (np.array([pair[side] for pair in parts], np.int32) for side in (0, 1))
    return made, part_of, part


def _compiled(
    lib: ctypes.CDLL,
    trace: Trace,
    cpus: Sequence[int],
    related: Related,
    bare: Ints,
    nobody: NDArray[np.uint8],
    *,
    own: bool,
) -> Columns:
    what, kind, opener = np.zeros(_TYPES, np.uint8), np.zeros(_TYPES, np.uint8), np.zeros(_TYPES, np.uint16)
    for name, number in _WHAT.items():
        if trace.has(name):
            type_ = trace.formats.by_name[name].id
            what[type_] = number
            if name in ENTRIES:
                kind[type_] = CODE[ENTRIES[name]]
            elif name in CLOSES and trace.has(CLOSES[name]):
                opener[type_] = trace.formats.by_name[CLOSES[name]].id
    counts = np.zeros(len(_WHAT), np.int64)  # of all CPUs: what is not used of the room costs no memory
    for name, number in _WHAT.items():
        counts[number] += trace.count(name)
    opened = int(counts[_OPENS] + counts[_NMI] + counts[_PART])
    room = opened + 2 * int(counts[_SWITCHES]) + (int(counts[_CALLS] + counts[_FAULTS]) if own else 0)
    parts = int(counts[_PART] + counts[_WORKS])
    switches = related.switches
    columns: dict[str, NDArray[Any]] = {
        **{name: np.ascontiguousarray(getattr(trace, name)) for name in ("ts", "type", "pid")},
        "on": np.ascontiguousarray(trace.cpu),
        "what": what,
        "kind": kind,
        "opener": opener,
        "switches": switches.rows,
        **{name: getattr(switches, name) for name in ("prev", "next", "runnable")},
        **{name: getattr(related, name) for name in ("came", "left", "call")},
        "nobody": nobody,
        "lost_after": trace.losses.after,
        "lost_reach": trace.losses.reach,
        "bare": bare,
        "open": np.empty(opened, np.int32),
        "made": np.empty(room, STRETCH),
        "part_of": np.empty(parts, np.int32),
        "part": np.empty(parts, np.int32),
    }
    walk = _Walk(
        n_rows=len(trace),
        n_lost=len(trace.lost),
        n_bare=len(bare),
        own=own,
        **{name: column.ctypes.data for name, column in columns.items()},
        **{f"kind_{name}": CODE[one] for name, one in _CODES.items()},
    )
    for cpu in cpus:  # one after the other into the same room
        forgets = np.array(sorted(one.before_ns for one in trace.lost if one.cpu == cpu), np.int64)
        threads = np.zeros(len(nobody) * _THREAD_BYTES, np.uint8)
        walk.cpu, walk.n_forgets = cpu, len(forgets)
        walk.forgets, walk.threads = forgets.ctypes.data, threads.ctypes.data
        lib.nostale_walk(byref(walk))
    of, row = columns["part_of"][: walk.n_parts], columns["part"][: walk.n_parts]
    order = np.argsort(of, kind="stable")
    return columns["made"][: walk.n], of[order], row[order]
