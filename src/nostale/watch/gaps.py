"""Gaps that a task saw in user space, and those of them in which the kernel did nothing: host, SMI or firmware.

A file of gap samples is one JSON object:

    {"cpu": 1, "target_tid": 3723, "gaps": [[1652456662552, 1652456677866], ...]}

`cpu` is where the task ran, `target_tid` its thread id (or null), `gaps` the times in ns of CLOCK_MONOTONIC at which it
last and next read the clock. Other keys are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from nostale.contract import BadInput, Cause, Interruption, Kind, Work
from nostale.watch.remedies import remedy
from nostale.watch.trace import Trace

# What enters the kernel leaves one of these; where one was not recorded, a silent gap proves nothing.
_ENTRIES: Final = (
    "local_timer_entry",
    "reschedule_entry",
    "call_function_entry",
    "call_function_single_entry",
    "irq_work_entry",
    "irq_handler_entry",
    "sched_switch",
    "sys_enter",
    "page_fault_user",
)
_FORM: Final = 'write {"cpu": 1, "target_tid": 42, "gaps": [[START_NS, END_NS], ...]}'
_SILENT: Final = "no event of this CPU within it: host, SMI or firmware, or an exception or NMI that leaves no event"


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which a task in user space did not get on. `pid` is None where the sample does not say who saw it."""

    cpu: int
    pid: int | None
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Samples:
    """What became of gap samples.

    Args:
        unseen: those without an event, as interruptions.
        given: how many samples there were of the watched CPUs.
        outside: how many of them lie outside of what was recorded.
    """

    unseen: tuple[Interruption, ...]
    given: int
    outside: int


def read_gaps(text: str, where: str) -> tuple[Gap, ...]:
    """Read a file of gap samples.

    Raises:
        BadInput: it has another form.

    >>> read_gaps('{"cpu": 1, "gaps": [[10, 25]]}', "x.json")
    (Gap(cpu=1, pid=None, start_ns=10, end_ns=25),)
    """
    import json  # here: few runs have a file of gaps

    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        raise BadInput(where, "is not JSON", remedy=_FORM) from None
    if not isinstance(table, dict) or not _is_number(table.get("cpu")) or not isinstance(table.get("gaps"), list):
        raise BadInput(where, "lacks cpu or gaps", remedy=_FORM)
    pid = table.get("target_tid")
    if pid is not None and not _is_number(pid):
        raise BadInput(where, "target_tid is not a number", remedy=_FORM)
    for one in table["gaps"]:
        if not isinstance(one, list) or len(one) != 2 or not all(map(_is_number, one)) or one[0] > one[1]:
            raise BadInput(where, f"{str(one)[:80]} is not a start and an end in ns", remedy=_FORM)
    return tuple(Gap(table["cpu"], pid, start, end) for start, end in table["gaps"])


def _is_number(value: Any) -> bool:  # noqa: ANN401  # whatever the file has there
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def explain_gaps(trace: Trace, gaps: Iterable[Gap], cpus: Sequence[int]) -> Samples:
    """Find the gaps in which the CPU that they were seen on recorded nothing at all.

    Cost: O(events + gaps log events).

    Raises:
        BadInput: the trace has another clock than the samples.
    """
    if trace.wanted is not None or trace.table.folded:
        raise ValueError("a trace read without some of its events cannot tell silent gaps")
    mine = [gap for gap in gaps if gap.cpu in cpus]
    if mine and trace.origin.clock != "mono":
        raise BadInput(
            trace.origin.name,
            f"its clock is {trace.origin.clock!r}, that of gap samples mono",
            remedy="record with trace-cmd record -C mono",
        )
    lacking = [event for event in _ENTRIES if not trace.has(event)]
    found: list[Interruption] = []
    outside = 0
    for cpu in sorted({gap.cpu for gap in mine}):
        times = trace.ts[trace.cpu == cpu]
        for gap in (one for one in mine if one.cpu == cpu):
            if not times.size or gap.start_ns < int(times[0]) or gap.end_ns > int(times[-1]):
                outside += 1
                continue
            first = int(np.searchsorted(times, gap.start_ns))
            if first == int(np.searchsorted(times, gap.end_ns, side="right")):
                found.append(_unseen(gap, trace, lacking))
    return Samples(tuple(found), len(mine), outside)


def _unseen(gap: Gap, trace: Trace, lacking: Sequence[str]) -> Interruption:
    work, looked_at = Work.HOST, _SILENT
    if trace.lost_between(gap.cpu, gap.start_ns, gap.end_ns):
        work, looked_at = Work.UNKNOWN, "events were lost here"
    elif lacking:
        work, looked_at = Work.UNKNOWN, f"no event within it, but there are no {', '.join(lacking)} events"
    text, source = remedy(Kind.UNSEEN, work)
    return Interruption(
        gap.cpu,
        gap.start_ns,
        gap.end_ns - gap.start_ns,
        Kind.UNSEEN,
        Cause(work, looked_at=looked_at),
        text,
        task=(trace.comm(gap.pid) or "") if gap.pid is not None else "",
        pid=gap.pid,
        source=source,
        end_ns=gap.end_ns,
    )
