"""What each event has to do with those before and after it: by `relate.c`, or the same in numpy.

The call that its thread is in, the interrupt and the timer that its CPU is in; of a context switch who woke who came,
and when who left came back.
"""

from __future__ import annotations

import ctypes
from ctypes import Structure, byref, c_int64, c_void_p
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nostale.watch.compiled import library
from nostale.watch.index import Index
from nostale.watch.ring import Ints
from nostale.watch.spans import ENTRIES, EXITS
from nostale.watch.threads import MOST
from nostale.watch.trace import WAKEUP, WAKING, Trace

NONE: Final = -1
Rows = NDArray[np.int32]
_KINDS: Final = 1 << 16
_CPUS: Final = 1 << 16
_WORTH_COMPILING: Final = 1 << 18  # rows: with fewer Python takes less than a first compilation does
_OTHER, _ENTER, _EXIT, _ENTRY, _LEAVE, _EXPIRE, _EXPIRED, _SWITCH, _WAKE, _STACK = range(10)
_ROLES: Final = {
    "sys_enter": _ENTER,
    "sys_exit": _EXIT,
    **dict.fromkeys(ENTRIES, _ENTRY),
    **dict.fromkeys(EXITS, _LEAVE),
    "hrtimer_expire_entry": _EXPIRE,
    "hrtimer_expire_exit": _EXPIRED,
    "sched_switch": _SWITCH,
    "kernel_stack": _STACK,
}
_THREAD_BYTES: Final = 5 * 4  # struct thread of relate.c


class _Relate(Structure):
    _fields_ = [
        ("n", c_int64),
        ("n_stacked", c_int64),
        *((name, c_void_p) for name in ("type", "cpu", "pid", "role", "prev", "next", "slept", "wakes")),
        *((name, c_void_p) for name in ("threads", "later", "entered", "expiring", "last")),
        *((name, c_void_p) for name in ("call", "inside", "timer", "woken", "gone", "came", "left")),
        *((name, c_void_p) for name in ("stacked", "stack")),
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Switches:
    """Every context switch of a trace in order, `(m,)` each.

    Args:
        rows: of the events.
        prev, next: who left, who came.
        runnable: whether who left would go on.
    """

    rows: Ints
    prev: Rows
    next: Rows
    runnable: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Related:
    """What was found; a row is -1 where there is none.

    Args:
        switches: the context switches, for those that are by switch.
        call: `(n,)` by row, the sys_enter of the call that its thread is in.
        inside: `(n,)`, the innermost interrupt's entry on its CPU whose exit had not come, nor a switch since.
        timer: `(n,)`, likewise the innermost hrtimer_expire_entry.
        woken: `(m,)` by switch, the wake-up that led to it (see `wake_event`), none where who came had been runnable.
        gone: `(m,)`, the last switch from who came, before it.
        came: `(m,)`, the next switch to who left.
        left: `(m,)`, the next from who left.
        stacked, stack: `(k,)`, events that a kernel_stack stands behind, on their CPU and of their thread, ascending,
            and those.
    """

    switches: Switches
    call: Rows
    inside: Rows
    timer: Rows
    woken: Rows
    gone: Rows
    came: Rows
    left: Rows
    stacked: Rows
    stack: Rows


def relate(trace: Trace) -> Related:
    """Relate every event of a trace.

    Cost: O(events).
    """
    switches, wakes = _switches(trace), _wakes(trace)
    lib = library(worth_compiling=len(trace) >= _WORTH_COMPILING)
    if lib is None or not fits(trace, switches.prev, switches.next, wakes):
        return by_columns(trace, switches, wakes)
    return _compiled(lib, trace, switches, wakes)


def fits(trace: Trace, *threads: Rows) -> bool:
    """Whether C can count a trace's rows and threads: the ids of a damaged one need not be such as Linux gives."""
    ids = [one for one in (trace.pid, *threads) if one.size]
    return len(trace) < 1 << 31 and all(int(one.min()) >= 0 and int(one.max()) < MOST for one in ids)


def _compiled(lib: ctypes.CDLL, trace: Trace, switches: Switches, wakes: Rows) -> Related:
    n, m = len(trace), len(switches.rows)
    role = np.zeros(_KINDS, np.uint8)
    for name, number in {**_ROLES, wake_event(trace): _WAKE}.items():
        if trace.has(name):
            role[trace.formats.by_name[name].id] = number
    by_row = {name: np.empty(n, np.int32) for name in ("call", "inside", "timer")}
    by_switch = {name: np.empty(m, np.int32) for name in ("woken", "gone", "came", "left")}
    given: dict[str, NDArray[Any]] = {
        **{name: np.ascontiguousarray(getattr(trace, name)) for name in ("type", "cpu", "pid")},
        "role": role,
        "prev": switches.prev,
        "next": switches.next,
        "slept": ~switches.runnable,
        "wakes": wakes,
        "threads": np.zeros(MOST * _THREAD_BYTES, np.uint8),  # what no thread uses costs no memory
        "later": np.zeros(MOST * _THREAD_BYTES, np.uint8),
        "entered": np.zeros(_CPUS, np.int32),
        "expiring": np.zeros(_CPUS, np.int32),
        "last": np.zeros(_CPUS, np.int32),
    }
    stacks = {name: np.empty(trace.count("kernel_stack"), np.int32) for name in ("stacked", "stack")}
    columns = given | by_row | by_switch | stacks
    found = _Relate(n, **{name: column.ctypes.data for name, column in columns.items()})
    lib.nostale_relate(byref(found))
    order = np.argsort(stacks["stacked"][: found.n_stacked], kind="stable")
    return Related(switches, **by_row, **by_switch, **{name: column[order] for name, column in stacks.items()})


def _switches(trace: Trace) -> Switches:
    rows = trace.rows("sched_switch")
    if not rows.size:
        return Switches(rows, rows.astype(np.int32), rows.astype(np.int32), rows.astype(bool))
    prev, to, state = (trace.field(rows, "sched_switch", name) for name in ("prev_pid", "next_pid", "prev_state"))
    # 0 is TASK_RUNNING; bit 8 (TASK_REPORT_MAX) marks a preemption in the kernel.
    return Switches(rows, prev.astype(np.int32), to.astype(np.int32), (state & 0xFF) == 0)


def wake_event(trace: Trace) -> str:
    """Return the event that tells wake-ups: sched_waking, or where the trace has that alone sched_wakeup."""
    return WAKEUP if trace.has(WAKEUP) and not trace.has(WAKING) else WAKING


def _wakes(trace: Trace) -> Rows:
    """Return who was woken by each wake-up."""
    event = wake_event(trace)
    rows = trace.rows(event)
    return (trace.field(rows, event, "pid") if rows.size else rows).astype(np.int32)


def by_columns(trace: Trace, switches: Switches | None = None, wakes: Rows | None = None) -> Related:
    """Do in numpy what relate.c does: where there is none, and to hold it against."""
    switches = _switches(trace) if switches is None else switches
    wakes = _wakes(trace) if wakes is None else wakes
    inside = _innermost(trace, tuple(ENTRIES), tuple(EXITS))
    timer = _innermost(trace, ("hrtimer_expire_entry",), ("hrtimer_expire_exit",))
    return Related(switches, _calls(trace), inside, timer, *_woken(trace, switches, wakes), *_stacks(trace))


def _calls(trace: Trace) -> Rows:
    rows = trace.rows("sys_enter", "sys_exit")
    last = Index(trace.pid[rows], rows).lasts(trace.pid, np.arange(len(trace)))
    number = trace.formats.by_name["sys_enter"].id if trace.has("sys_enter") else NONE
    known = last >= 0
    known[known] = trace.type[last[known]] == number
    return np.where(known, last, NONE).astype(np.int32)


def _woken(trace: Trace, switches: Switches, wakes: Rows) -> tuple[Rows, Rows, Rows, Rows]:
    rows, wake_rows = switches.rows, trace.rows(wake_event(trace))
    from_, to = Index(switches.prev, rows), Index(switches.next, rows)
    wake, left, came = (one.lasts(switches.next, rows) for one in (Index(wakes, wake_rows), from_, to))
    # A task may be woken between deciding to sleep and leaving the CPU: then it left asleep, but was woken before.
    asleep = (left >= 0) & ~np.append(switches.runnable, True)[np.searchsorted(rows, left)]
    woken = np.where((left < wake) | (asleep & (came < wake)), wake, NONE)
    later = [one.nexts(switches.prev, rows).astype(np.int32) for one in (to, from_)]
    return woken.astype(np.int32), left.astype(np.int32), later[0], later[1]


def _stacks(trace: Trace) -> tuple[Rows, Rows]:
    stacks = trace.rows("kernel_stack")
    before = stacks.copy()
    for cpu in trace.cpus:
        here, mine = np.flatnonzero(trace.cpu == cpu), trace.cpu[stacks] == cpu
        at = np.searchsorted(here, stacks[mine])
        before[mine] = np.where(at > 0, np.append(here, NONE)[at - 1], stacks[mine])
    same = (before != stacks) & (trace.pid[before] == trace.pid[stacks])
    before, stacks = before[same], stacks[same]
    order = np.argsort(before, kind="stable")
    return before[order].astype(np.int32), stacks[order].astype(np.int32)


def _innermost(trace: Trace, entries: tuple[str, ...], exits: tuple[str, ...]) -> Rows:
    """Return the innermost open entry for every row, from before its own event."""
    inside = np.full(len(trace), NONE, np.int32)
    kind = np.zeros(_KINDS, np.int8)
    for change, names in ((1, entries), (-1, exits)):
        kind[[trace.formats.by_name[name].id for name in names if trace.has(name)]] = change
    all_rows = trace.rows(*entries, *exits, "sched_switch")
    for cpu in trace.cpus:
        here, rows = np.flatnonzero(trace.cpu == cpu), all_rows[trace.cpu[all_rows] == cpu]
        mine = np.zeros(len(trace), bool)
        mine[rows] = True
        before = np.cumsum(mine[here]) - mine[here]
        inside[here] = np.append(NONE, innermost(rows, kind[trace.type[rows]]))[before]
    return inside


def innermost(rows: Ints, change: NDArray[np.int8]) -> Ints:
    """Return for each event the row of the innermost entry that is open after it, -1 where none is.

    Args:
        rows: `(n,) int64`, of entries, exits and what closes all entries.
        change: `(n,)`, 1 an entry, -1 an exit (of nothing where nothing is open), 0 what closes all.
    """
    if not rows.size:
        return rows
    part = np.cumsum(change == 0)
    depth = np.cumsum(change, dtype=np.int64)
    # An exit of nothing counts for nothing: depth is above the lowest so far of its part, and below 0 none begins.
    closed = np.flatnonzero(change == 0)
    depth -= np.append(0, depth[closed])[part]
    reach = len(rows) + 1
    lowest = np.minimum.accumulate(np.minimum(depth, 0) - part * reach) + part * reach
    depth -= lowest
    # Of one part and depth the last entry is the one that is open.
    order = np.lexsort((depth, part))
    entry = np.where((change == 1)[order], np.arange(len(rows)), -1)
    found = np.empty(len(rows), np.int64)
    found[order] = rows[order[np.maximum.accumulate(entry)]]
    return np.where(depth > 0, found, NONE)
