"""System calls that began on one CPU and ended on another: put together once the stretches of all CPUs are there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from nostale.contract import Kind
from nostale.watch.joins import Joins
from nostale.watch.spans import Span


def rejoin(found: Sequence[Span], joins: Joins, entered: Mapping[int, int]) -> None:
    """Give every system call that ended on another of the watched CPUs its end, and what was nested in it there.

    Args:
        found: the stretches of all watched CPUs; those without an end are changed in place.
        entered: for each sys_exit its sys_enter.
    """
    trace = joins.trace
    cut = {span.row: span for span in found if span.kind is Kind.SYSCALL and span.end_ns is None}
    ends = {enter: exit_ for exit_, enter in entered.items() if enter in cut}
    watched = {span.cpu for span in found}
    others = _interrupts({cut[enter].pid for enter in ends}, found)
    for enter, exit_ in ends.items():
        span, end_ns = cut[enter], int(trace.ts[exit_])
        if int(trace.cpu[exit_]) not in watched or trace.lost_between(None, span.start_ns, end_ns):
            continue
        inside = (one for one in others[span.pid] if span.start_ns <= one.start_ns and (one.end_ns or 0) <= end_ns)
        span.end_ns = end_ns
        span.nested_ns = joins.off_cpu_ns(span.pid, enter, exit_) + sum(one.own_ns or 0 for one in inside)


def _interrupts(pids: set[int], found: Iterable[Span]) -> dict[int, list[Span]]:
    by_pid: dict[int, list[Span]] = defaultdict(list)
    for span in found:
        if span.pid in pids and span.kind not in (Kind.SYSCALL, Kind.CONTEXT_SWITCH, Kind.PAGE_FAULT):
            by_pid[span.pid].append(span)
    return by_pid
