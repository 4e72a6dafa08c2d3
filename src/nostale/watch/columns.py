"""What `Joins` finds of one event, of many at a time: rows in, rows or numbers out, -1 where there is none."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nostale.contract.breaks import NONE as NO_TIME
from nostale.watch.distinct import functions, texts
from nostale.watch.joins import Joins
from nostale.watch.related import NONE
from nostale.watch.ring import Ints
from nostale.watch.threads import by_thread
from nostale.watch.works import is_schedulers

SENDER: Final = 6  # numbers that tell a sender


@dataclass(slots=True, eq=False)
class Columns:
    """The joins of one trace, taken a column at a time."""

    joins: Joins
    _texts: dict[str, int] = field(default_factory=dict)

    def field(self, rows: Ints, event: str, name: str) -> NDArray[np.int64]:
        """Return one number of each of `rows`; an event that the trace does not have has no rows."""
        if not rows.size:
            return np.zeros(0, np.int64)
        return self.joins.trace.field(rows, event, name).astype(np.int64)

    def each(self, event: str, *names: str) -> Iterator[tuple[int, ...]]:
        """Yield the row of each event of one kind, and some of its numbers."""
        rows = self.joins.trace.rows(event)
        return zip(rows.tolist(), *(self.field(rows, event, name).tolist() for name in names))

    def is_a(self, rows: Ints, event: str) -> NDArray[np.bool_]:
        trace = self.joins.trace
        return trace.type[rows] == trace.formats.by_name[event].id if trace.has(event) else np.zeros(len(rows), bool)

    def times(self, rows: Ints) -> NDArray[np.int64]:
        """Return when each happened, in ns."""
        times = np.full(len(rows), NO_TIME, np.int64)
        known = rows != NONE
        times[known] = self.joins.trace.ts[rows[known]]
        return times

    # --- joins

    def csd(self, rows: Ints) -> Ints:
        """Return the csd_queue_cpu of each csd_function_entry."""
        found = map(self.joins.csd, rows.tolist())
        return np.array([NONE if one is None else one for one in found], np.int64)

    def woken(self, rows: Ints) -> Ints:
        """Return the wake-up that led to each sched_switch."""
        related = self.joins.related
        return self._sound(related.woken[np.searchsorted(related.switches.rows, rows)].astype(np.int64), rows)

    def queued(self, rows: Ints) -> Ints:
        """Return the workqueue_queue_work of each workqueue_execute_start."""
        return self._last(rows, ("workqueue_execute_start", "work"), ("workqueue_queue_work", "work"))

    def armed(self, rows: Ints) -> Ints:
        """Return the hrtimer_start of each hrtimer_expire_entry."""
        return self._last(rows, ("hrtimer_expire_entry", "hrtimer"), ("hrtimer_start", "hrtimer"))

    def _last(self, rows: Ints, mine: tuple[str, str], theirs: tuple[str, str]) -> Ints:
        if not rows.size:
            return rows
        return self._sound(self.joins.by(*theirs).lasts(self.joins.trace.field(rows, *mine), rows), rows)

    def _sound(self, asked: Ints, rows: Ints) -> Ints:
        """Leave out joins between whose two events some were lost that could have made another."""
        trace = self.joins.trace
        if not trace.lost or not rows.size:
            return asked
        start, end = trace.ts[asked], trace.ts[rows]
        torn = trace.losses.each(start, end, trace.cpu[asked]) | trace.losses.each(start, end, trace.cpu[rows])
        return np.where(torn, NONE, asked)

    def was_runnable(self, rows: Ints) -> NDArray[np.bool_]:
        """Say of each sched_switch to a thread that was not woken for it whether that had been willing to run."""
        switches, gone = self.joins.related.switches, self.joins.related.gone
        left = gone[np.searchsorted(switches.rows, rows)]
        runnable = np.append(switches.runnable, True)[np.searchsorted(switches.rows, left)]
        # Those that never left a CPU in the trace are few, and it depends on what was lost.
        runnable[left == NONE] = [self.joins.was_runnable(row) for row in rows[left == NONE].tolist()]
        return runnable

    # --- devices

    def text(self, rows: Ints, event: str, name: str) -> NDArray[np.int64]:
        """Return a number that is the same where a text is."""
        found = texts(self.joins.trace, rows, event, name)
        numbers = [self._texts.setdefault(one, len(self._texts)) for one in found.values]
        return np.array(numbers, np.int64)[found.which]

    def raised(self, vectors: Collection[int], cpus: Ints, rows: Ints, ends_ns: Ints) -> NDArray[np.bool_]:
        """Say of each CPU whether one of these softirqs was raised on it from that row until that time, if known."""
        trace, raised = self.joins.trace, np.zeros(len(rows), bool)
        raises = trace.rows("softirq_raise")
        raises = raises[np.isin(self.field(raises, "softirq_raise", "vec"), tuple(vectors))]
        for cpu in np.unique(trace.cpu[raises], return_index=True)[0].tolist():
            here, mine = raises[trace.cpu[raises] == cpu], cpus == cpu
            until = np.searchsorted(trace.ts[here], ends_ns[mine], side="right")
            raised[mine] = until > np.searchsorted(here, rows[mine])
        raised &= ends_ns != NO_TIME
        return raised

    # --- ticks

    def ticking(self, rows: Ints) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return a number that is the same where it is told alike why the tick at each expiry had not been stopped.

        Returns:
            Likewise `(n,)`, where that depends on what was lost.
        """
        trace = self.joins.trace
        told, lost = np.zeros(len(rows), np.int64), np.full(len(rows), bool(trace.lost))
        if not trace.has("tick_stop"):
            return told, lost & False
        cpus = trace.cpu[rows]
        stops, timers = trace.rows("tick_stop"), trace.rows("local_timer_entry")
        for cpu in np.flatnonzero(np.bincount(cpus)).tolist():
            mine = cpus == cpu
            refused = _before(stops[trace.cpu[stops] == cpu], rows[mine], 1)
            previous = _before(timers[trace.cpu[timers] == cpu], rows[mine], 2)
            answer = np.where(previous == NONE, -2, -3)
            tried = (refused != NONE) & (refused >= previous)
            success, needs = (self.field(refused[tried], "tick_stop", name) for name in ("success", "dependency"))
            answer[tried] = np.where(success != 0, -4, needs & ((1 << 32) - 1))
            told[mine] = answer
        return told, lost

    # --- system calls

    def call(self, rows: Ints) -> NDArray[np.int64]:
        """Return the number of the system call that the thread of each event is in, by its events."""
        trace = self.joins.trace
        opened = self.joins.related.call[rows].astype(np.int64)
        if trace.lost:
            opened[trace.losses.each(trace.ts[opened], trace.ts[rows])] = NONE
        numbers = np.full(len(rows), NONE, np.int64)
        known = opened != NONE
        # Of numbers below -1 there are none, and -1 is one that a tracer made up.
        numbers[known] = self.field(opened[known], "sys_enter", "id") & ((1 << 62) - 1)
        return numbers

    def in_call(self, rows: Ints, names: Collection[str]) -> NDArray[np.bool_]:
        """Say of each event whether its thread is in one of these system calls."""
        return np.isin(self.call(rows), [self.joins.call_number(name) for name in names])

    # --- senders

    def sender(self, rows: Ints) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return `(n, SENDER)` numbers that are the same where the sender of each event is told the same.

        Returns:
            Likewise `(n,)`, whether those do not tell it all: it is a kernel thread, and for whom it acted depends on
            more.
        """
        joins, trace = self.joins, self.joins.trace
        keys = np.full((len(rows), SENDER), NONE, np.int64)
        unlike = np.zeros(len(rows), bool)
        there = rows != NONE
        rows = rows[there]
        stack, interrupted = self._contexts(rows)
        call = self.call(rows)
        keys[there, 0] = trace.type[rows].astype(np.int64) << 16 | trace.cpu[rows]
        keys[there, 1] = stack
        # Its thread has no part in what is sent from an interrupt: who armed the timer may have.
        keys[there, 2], keys[there, 3] = np.where(interrupted, NONE, trace.pid[rows]), np.where(interrupted, NONE, call)
        timer = np.where(interrupted, joins.related.timer[rows], NONE)
        timer[timer != NONE] = self._without_schedulers(timer[timer != NONE])
        armed = np.full(len(rows), NONE, np.int64)
        armed[timer != NONE] = self.armed(timer[timer != NONE])
        keys[there, 4:] = self.armer(armed)[:, :2]
        acted_for = by_thread(trace.pid[rows], lambda pid: pid != 0 and joins.is_kernel_thread(pid))
        unlike[there] = ~interrupted & acted_for
        return keys, unlike

    def armer(self, rows: Ints) -> NDArray[np.int64]:
        """Return `(n, SENDER)` numbers that are the same where who armed a timer at each hrtimer_start is."""
        trace = self.joins.trace
        keys = np.full((len(rows), SENDER), NONE, np.int64)
        there = rows != NONE
        stack, interrupted = self._contexts(rows[there])
        there[there] = ~interrupted
        rows = rows[there]
        keys[there, 0], keys[there, 1] = trace.pid[rows], self.call(rows)
        keys[there, 2], keys[there, 3] = trace.cpu[rows], stack[~interrupted]
        return keys

    def _contexts(self, rows: Ints) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the number of each event's stack, and whether it happened in an interrupt."""
        before = self.joins.related.stacked
        stack = np.zeros(len(rows), np.int64)
        if before.size:
            at = np.minimum(np.searchsorted(before, rows), len(before) - 1)
            has = before[at] == rows
            behind = self.joins.related.stack[at[has]]
            stack[has] = [self.joins.number_of_stack(row) for row in behind.tolist()]
        by_stack = np.array(self.joins.interrupts, float)[stack]  # NaN where the stack does not tell
        inside = self.joins.related.inside[rows] != NONE
        return stack, np.where(np.isnan(by_stack), inside, by_stack == 1)

    def _without_schedulers(self, rows: Ints) -> Ints:
        """Leave out expiries of the scheduler's own timers: who armed those is a bystander."""
        expired = self.field(rows, "hrtimer_expire_entry", "function")
        return np.where(functions(self.joins.trace, expired).that(is_schedulers), NONE, rows)


def _before(events: Ints, rows: Ints, which: int) -> Ints:
    """Return for each row the `which`-th last of `events` before it, -1 where there are not so many."""
    at = np.searchsorted(events, rows) - which
    return np.where(at >= 0, np.append(events, NONE)[at], NONE)
