"""Whom a kernel thread acted for: from what it did, back through work items, wake-ups and timers, to a task."""

from __future__ import annotations

from typing import Final

from nostale.contract import Link
from nostale.watch.joins import Joins
from nostale.watch.works import is_schedulers

_LONGEST: Final = 8
_RUNS_WORK: Final = "process_one_work"  # kernel/workqueue.c: on the stack of whatever a work item does
# Woken by whichever interrupt comes first, for what others had left to it: its waker tells nothing.
_FOR_ANYBODY: Final = ("ksoftirqd/", "rcu_preempt", "rcu_sched", "swapper/")


def chain(row: int, joins: Joins) -> tuple[Link, ...]:
    """Return who made the kernel thread that emitted `row` act, the nearest first; () where it was no such thread.

    Each step is what events tell: who queued the work item that it ran, who woke it when it last got a CPU, who armed
    the timer in whose expiry that happened. That a waker is the reason for all a thread does until it sleeps again is
    the one thing taken for granted.
    """
    links: list[Link] = []
    at, seen = row, set[int]()
    while len(links) < _LONGEST:
        pid = int(joins.trace.pid[at])
        if pid == 0 or pid in seen or not joins.is_kernel_thread(pid):
            break
        seen.add(pid)
        found = _asked(at, pid, joins)
        if found is None:
            break
        at, how = found
        if joins.in_interrupt(at):
            armed = armer(at, joins)
            if armed is None:
                break
            at, how = armed, f"armed the timer that {how}"
        asker = int(joins.trace.pid[at])
        links.append(Link(how, int(joins.trace.cpu[at]), joins.comm(asker), asker, joins.call_of(asker, at)))
    return tuple(links)


def armer(row: int, joins: Joins) -> int | None:
    """Return the hrtimer_start, made by a task, of the timer in whose expiry `row` happened."""
    expiry = joins.timer(row)
    if expiry is None or is_schedulers(joins.symbol(expiry, "hrtimer_expire_entry", "function")):
        return None
    armed = joins.armed(expiry)
    return armed if armed is not None and not joins.in_interrupt(armed) else None


def _asked(row: int, pid: int, joins: Joins) -> tuple[int, str] | None:
    """Return the event by which somebody made the kernel thread `pid` do what it did at `row`, and its name."""
    work = _open_work(row, pid, joins)
    if work is not None:
        queued = joins.queued(work)
        return (
            None if queued is None else (queued, f"queued {joins.symbol(work, 'workqueue_execute_start', 'function')}")
        )
    if (joins.comm(pid) or "").startswith((*_FOR_ANYBODY, "kworker/")):
        return None
    came = joins.came(pid, row)
    woken = joins.waker(came) if came is not None else None
    if woken is None or _answers_a_flush(woken, joins):
        return None
    return woken, f"woke {joins.comm(pid) or pid}"


def _answers_a_flush(row: int, joins: Joins) -> bool:
    """Whether a wake-up tells a thread no more than that a work item is done which it had waited for."""
    work = _open_work(row, int(joins.trace.pid[row]), joins)
    return work is not None and joins.symbol(work, "workqueue_execute_start", "function") == "wq_barrier_func"


def _open_work(row: int, pid: int, joins: Joins) -> int | None:
    """Return the workqueue_execute_start of the work item that the kworker `pid` was in at `row`."""
    started = joins.last_of(pid, row + 1, "workqueue_execute_start", "workqueue_execute_end")
    if started is None or joins.event(started) != "workqueue_execute_start":
        return None
    stack = joins.stack(row)
    # Without an event of its end an item may be over: the stack tells, where there is one.
    return started if joins.trace.has("workqueue_execute_end") or not stack or _RUNS_WORK in stack else None
