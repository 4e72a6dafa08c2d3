"""What measures would have done about each interruption, argued from the events around it.

Two of them exist only as proposals: to defer the IPIs of text patches, and those that flush kernel mappings, to the
next kernel entry of a CPU that is in user mode. Whether such a deferral is safe is the isolation system's question;
here it is only said which interruptions it would spare.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from nostale.contract import Breaks, Interruption, Kind, Vanishes, WhatIf, Work
from nostale.contract.breaks import sums
from nostale.watch.columns import Columns
from nostale.watch.joins import Joins

YES, NO, UNKNOWN = Vanishes.YES, Vanishes.NO, Vanishes.UNKNOWN
_QUEUE: Final = ("sched_switch", "sched_waking", "sched_migrate_task")
_KERNEL_FLUSHES: Final = frozenset({"do_kernel_range_flush", "do_flush_tlb_all"})  # arch/x86/mm/tlb.c
_EXPEDITED: Final = "rcu_exp_handler"  # kernel/rcu/tree_exp.h
_FAULT_OVER_NS: Final = 100_000
_RIGHT_AFTER_NS: Final = 20_000  # softirqs run on the way out of the interrupt that raised them
_DEVICE_SOFTIRQS: Final = frozenset({"NET_TX", "NET_RX", "BLOCK", "IRQ_POLL"})
Told = tuple[Vanishes, str]


def with_what_if(breaks: Breaks, joins: Joins) -> Breaks:
    """Return the interruptions, each with what every measure would have done about it."""
    look = _Look(joins)
    alike: dict[tuple[int, tuple[WhatIf, ...]], int] = {}
    which = array("q")
    before: dict[int, Interruption] = {}
    for number, one in zip(breaks.which, breaks):
        entry = before.get(one.cpu) if one.kind is Kind.SOFTIRQ else None
        told = tuple(WhatIf(name, *measure(one, entry, look)) for name, measure in _MEASURES)
        which.append(alike.setdefault((number, told), len(alike)))
        if one.kind in (Kind.TIMER_TICK, Kind.TIMER, Kind.DEVICE_IRQ):
            before[one.cpu] = one
    return replace(
        breaks,
        alike=tuple(replace(breaks.alike[number], what_if=told) for number, told in alike),
        which=which,
        summed=sums(which, breaks.duration_ns, len(alike)),
    )


@dataclass(slots=True)
class _Look:
    """What the measures need to know of the moment of an interruption."""

    joins: Joins
    waiting: dict[int, tuple[array[int], array[int]]] = field(default_factory=dict)

    def row(self, one: Interruption) -> int:
        """Return the first row of the interruption's CPU at its start."""
        trace = self.joins.trace
        low, high = np.searchsorted(trace.ts, [one.start_ns, one.start_ns + 1])
        mine = np.flatnonzero(trace.cpu[low:high] == one.cpu)
        return int(low + mine[0]) if mine.size else int(low)

    def in_user_mode(self, one: Interruption) -> tuple[bool | None, str]:
        """Whether the interrupted task was in user mode, None where that is not known, and how one knows."""
        joins, row = self.joins, self.row(one)
        trace = joins.trace
        if one.pid is None or not (trace.has("sys_enter") and trace.has("sys_exit")):
            return None, "no sys_enter and sys_exit events: whether the task was in user mode is not known"
        if trace.lost_between(one.cpu, one.start_ns - _FAULT_OVER_NS, one.start_ns):
            return None, "events were lost just before: whether the task was in user mode is not known"
        call = joins.syscall(one.pid, row)
        if call is not None:
            return False, f"the task was in the kernel, in {call}"
        if joins.inside_entry(row):
            return False, "the CPU was in the kernel, in an interrupt"
        fault = joins.last_of(one.pid, row, "page_fault_user", "sys_enter", "user_enter")
        if fault is not None and joins.event(fault) == "page_fault_user":
            if one.start_ns - int(trace.ts[fault]) < _FAULT_OVER_NS:
                return None, "a page fault began just before: whether it was over is not known"
            return True, "the task was in user mode (its last page fault, long before, is taken to be over)"
        return True, "the task was in user mode"

    def other_waiting(self, one: Interruption) -> int | None:
        """Return a task that was runnable on the CPU but not running, 0 for none; None where that is not known."""
        if not all(map(self.joins.trace.has, _QUEUE)):
            return None
        if one.cpu not in self.waiting:
            self.waiting[one.cpu] = self._waiting(one.cpu)
        rows, lowest = self.waiting[one.cpu]
        at = bisect_left(rows, self.row(one)) - 1
        return lowest[at] if at >= 0 else 0

    def _waiting(self, cpu: int) -> tuple[array[int], array[int]]:
        """Return the rows after which the tasks waiting for a CPU were others, and the lowest of these tasks or 0."""
        trace, columns = self.joins.trace, Columns(self.joins)
        rows, lowest = array("q"), array("q")
        queue: set[int] = set()
        running: set[int] = set()
        events = [(row, 0, pid, to) for row, pid, to in columns.each("sched_waking", "pid", "target_cpu")]
        events += [(row, 1, pid, to) for row, pid, to in columns.each("sched_migrate_task", "pid", "dest_cpu")]
        stays = dict(zip(self.joins.related.switches.rows.tolist(), self.joins.related.switches.runnable.tolist()))
        events += [(row, 2, left, came) for row, left, came in columns.each("sched_switch", "prev_pid", "next_pid")]
        events.sort()
        for row, event, pid, to in events:
            before = len(queue)
            if event == 0:  # its target_cpu is where the task last ran: a move from there follows
                if to != cpu or pid in running:  # one that only meant to sleep
                    continue
                queue.add(pid)
            elif event == 1:
                queue.add(pid) if to == cpu else queue.discard(pid)
            else:
                running.discard(pid)
                running.add(to)
                queue.discard(to)
                if pid and stays[row] and int(trace.cpu[row]) == cpu:
                    queue.add(pid)
                    before = -1  # one may have come and another gone
            if len(queue) != before:
                rows.append(row)
                lowest.append(min(queue, default=0))
        return rows, lowest


Measure = Callable[[Interruption, Interruption | None, _Look], Told]


def _nohz_full(one: Interruption, entry: Interruption | None, look: _Look) -> Told:
    if one.kind is Kind.TIMER_TICK:
        return _tick(one, look)
    if one.kind is Kind.SOFTIRQ and _right_after(one, entry) and entry and entry.kind is Kind.TIMER_TICK:
        vanishes, why = _tick(entry, look)
        return (vanishes, f"raised by the tick just before: {why}")
    if one.cause.function == _EXPEDITED:
        user, why = look.in_user_mode(one)
        if user is None:
            return UNKNOWN, why
        return (YES, f"{why}: RCU asks no nohz_full CPU that is there") if user else (NO, why)
    if one.kind is Kind.CONTEXT_SWITCH and one.cause.kind is Work.TICK:
        return NO, "another task wanted the CPU: with two of them the tick stays"
    return NO, "it stops ticks, and what ticks and grace periods bring"


def _tick(one: Interruption, look: _Look) -> Told:
    if one.cause.detail.startswith("it was not stopped"):
        return NO, one.cause.detail
    other = look.other_waiting(one)
    if other is None:
        return UNKNOWN, f"not all of {', '.join(_QUEUE)} were recorded: whether another task was runnable is not known"
    if other:
        return NO, f"another task was runnable on this CPU: {look.joins.comm(other) or '?'}-{other}"
    return YES, "no other task was runnable on this CPU (CPU timers and perf events, which need it too, leave no event)"


def _rcu_nocbs(one: Interruption, entry: Interruption | None, look: _Look) -> Told:
    if one.cause.kind is not Work.RCU:
        return NO, "it offloads RCU callbacks only"
    if one.cause.function == _EXPEDITED:
        return NO, "an expedited grace period asks CPUs whether their callbacks are offloaded or not"
    if one.kind is not Kind.SOFTIRQ:
        return NO, "this is not RCU_SOFTIRQ, which runs callbacks"
    trace = look.joins.trace
    if not trace.has("rcu_batch_start") or one.duration_ns is None:
        return UNKNOWN, "whether it ran callbacks or noted a quiescent state is not told: no rcu_batch_start events"
    rows = trace.rows("rcu_batch_start")
    low, high = np.searchsorted(trace.ts[rows], [one.start_ns, one.start_ns + one.duration_ns + 1])
    ran = bool((trace.cpu[rows[low:high]] == one.cpu).any())
    return (YES, "it ran callbacks") if ran else (NO, "it ran no callbacks, it noted a quiescent state")


def _irq_affinity(one: Interruption, entry: Interruption | None, look: _Look) -> Told:
    device = one.kind is Kind.DEVICE_IRQ
    if one.kind is Kind.SOFTIRQ and one.cause.function in _DEVICE_SOFTIRQS:
        if entry is None or entry.kind is not Kind.DEVICE_IRQ or not _right_after(one, entry):
            return UNKNOWN, "no device's interrupt stands just before: who raised this softirq is not known"
        device = True
    if not device:
        return NO, "it moves the interrupts of devices only"
    if one.cause.kind is Work.BLOCK_IO:
        return UNKNOWN, "a queue's managed interrupt stays with the CPU that submitted the I/O, which is not traced"
    return YES, "the device's interrupt would go to another CPU, and its softirq with it"


def _defer_text(one: Interruption, entry: Interruption | None, look: _Look) -> Told:
    if one.cause.kind is not Work.TEXT_PATCH or one.kind is not Kind.IPI_CALL:
        return NO, "it defers IPIs of text patches only"
    return _deferred(one, look, "it would synchronise on its next kernel entry, before it runs any of the changed text")


def _defer_flush(one: Interruption, entry: Interruption | None, look: _Look) -> Told:
    if one.cause.kind is not Work.TLB_FLUSH or one.kind is not Kind.IPI_CALL:
        return NO, "it defers flushes of kernel mappings only"
    if one.cause.function not in _KERNEL_FLUSHES:
        return NO, f"{one.cause.function or 'this'} flushes mappings of user memory, which the task uses"
    return _deferred(one, look, "it would flush on its next kernel entry, before it uses a kernel mapping")


def _deferred(one: Interruption, look: _Look, then: str) -> Told:
    user, why = look.in_user_mode(one)
    if user is None:
        return UNKNOWN, why
    return (YES, f"{why}: {then}") if user else (NO, why)


def _right_after(one: Interruption, entry: Interruption | None) -> bool:
    """Whether `one` ran on the way out of `entry`."""
    if entry is None or entry.duration_ns is None:
        return False
    return 0 <= one.start_ns - (entry.start_ns + entry.duration_ns) <= _RIGHT_AFTER_NS


_MEASURES: Final[tuple[tuple[str, Measure], ...]] = (
    ("nohz_full", _nohz_full),
    ("rcu_nocbs", _rcu_nocbs),
    ("irq-affinity", _irq_affinity),
    ("defer-text-patch", _defer_text),
    ("defer-kernel-tlb", _defer_flush),
)
