"""System calls that began on one CPU and ended on another: put together once the stretches of all CPUs are there."""

from __future__ import annotations

import numpy as np

from nostale.contract import Kind
from nostale.contract.breaks import NONE as NO_TIME
from nostale.watch.joins import Joins
from nostale.watch.related import NONE
from nostale.watch.ring import Ints
from nostale.watch.stretches import CODE, Stretches

_OTHERS = [CODE[kind] for kind in (Kind.SYSCALL, Kind.CONTEXT_SWITCH, Kind.PAGE_FAULT)]


def rejoin(stretches: Stretches, chosen: Ints, joins: Joins) -> None:
    """Give every system call that ended on another of the watched CPUs its end, and what was nested in it there.

    Args:
        stretches: of all watched CPUs; system calls without an end are changed in place.
        chosen: those that are told.
    """
    trace, related = joins.trace, joins.related
    made = stretches.made
    mine = made[chosen]
    cut = chosen[(mine["kind"] == CODE[Kind.SYSCALL]) & (mine["end"] == NO_TIME)]
    exits = trace.rows("sys_exit")
    exit_of = dict(zip(related.call[exits].tolist(), exits.tolist()))
    exit_of.pop(NONE, None)
    watched = set(np.unique(made["cpu"][chosen]).tolist())
    interrupts = mine[~np.isin(mine["kind"], _OTHERS)]
    interrupts = interrupts[np.argsort(interrupts["pid"], kind="stable")]
    for at in cut.tolist():
        enter, pid, start = (int(made[at][name]) for name in ("row", "pid", "start"))
        exit_ = exit_of.get(enter)
        if exit_ is None or int(trace.cpu[exit_]) not in watched - {int(made["cpu"][at])}:
            continue
        end = int(trace.ts[exit_])
        if trace.lost_between(None, start, end):
            continue
        inside = interrupts[slice(*np.searchsorted(interrupts["pid"], [pid, pid + 1]))]
        inside = inside[inside["start"] >= start]
        inside = inside[np.maximum(inside["end"], 0) <= end]
        known = inside[inside["end"] != NO_TIME]
        lengths = np.maximum(0, known["end"] - known["start"] - known["nested"])
        made["end"][at] = end
        made["nested"][at] = joins.off_cpu_ns(pid, enter, exit_) + int(lengths.sum())
