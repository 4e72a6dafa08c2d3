"""From a trace to an answer: every interruption of the watched CPUs with its cause, and what the monitors say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np

from nostale.contract import Answer, BadInput, Breaks, Kind, Result, Work
from nostale.watch.alike import breaks_of
from nostale.watch.gaps import Gap, Samples, explain_gaps
from nostale.watch.joins import Joins
from nostale.watch.migrations import rejoin
from nostale.watch.monitors import TraceMonitor, run_monitor
from nostale.watch.needs import missing, missing_memory
from nostale.watch.spans import OWN
from nostale.watch.stretches import stretches
from nostale.watch.trace import Trace

_SENT: Final = frozenset({Kind.IPI_CALL, Kind.IPI_RESCHEDULE, Kind.IRQ_WORK})  # by somebody: there is one to join with
Progress = Callable[[str], None]


def analyse(
    trace: Trace,
    cpus: Sequence[int] | None = None,
    monitors: Sequence[TraceMonitor] = (),
    *,
    pid: int | None = None,
    own: bool = True,
    gaps: Iterable[Gap] | None = None,
    what_if: bool = False,
    progress: Progress | None = None,
) -> Answer:
    """Name every interruption of tasks on `cpus`, and run `monitors`.

    Args:
        cpus: the watched CPUs; None watches every recorded one, and a note says so.
        pid: only interruptions of this thread, on whichever of those CPUs it runs.
        own: also list the tasks' own system calls and page faults (they are counted either way).
        gaps: that a task saw in user space: those in which the kernel did nothing become breaks of kind `unseen`.
        what_if: say of each break which measures would have spared it.
        progress: told what is being done, for a terminal.

    Returns:
        `breaks` ordered by start, then CPU. Interrupts taken by the idle task and by kernel threads are nobody's.
        `results` has one entry a verdict of a monitor; the breaks themselves judge nothing.

    Raises:
        BadInput: a CPU that was not recorded, or a trace that contradicts its own descriptions.
    """
    watched = _watched(trace, cpus)
    tell = progress or _silent
    joins = Joins(trace)
    entries = _own_entries(trace, watched, joins.is_kernel_thread, pid)
    tell("stretches")
    made = stretches(trace, watched, joins.related, joins.is_kernel_thread, own=own)
    chosen = np.flatnonzero((made.made["told"] != 0) & (pid is None or made.made["pid"] == pid))
    if own and len(watched) > 1:
        rejoin(made, chosen, joins)
    samples = None if gaps is None else explain_gaps(trace, gaps, watched)
    unseen = () if samples is None else (one for one in samples.unseen if pid in (None, one.pid))
    tell("causes")
    breaks = breaks_of(made, chosen, joins, unseen)
    if what_if:
        from nostale.watch.whatif import with_what_if  # here: few runs ask

        tell("what if")
        breaks = with_what_if(breaks, joins)
    del made, joins  # as large as the breaks, and the monitors do not ask it
    results: list[Result] = []
    idle: list[str] = []
    for monitor in monitors:
        tell(f"contract {monitor.binding.contract.id}")
        told = run_monitor(monitor, trace)
        results.extend(told)
        if not told:
            idle.append(monitor.binding.contract.id)
    return Answer(
        command="watch",
        target=trace.origin.name,
        coverage=_coverage(trace, watched, breaks, entries) | _gap_coverage(samples) | {"contracts_idle": idle},
        results=tuple(results),
        breaks=breaks,
        notes=_notes(trace, cpus, pid),
    )


def _silent(_: str) -> None:
    """Tell nobody."""


def _watched(trace: Trace, cpus: Sequence[int] | None) -> tuple[int, ...]:
    if cpus is None:
        return trace.cpus
    unknown = sorted(set(cpus) - set(trace.cpus))
    if unknown:
        recorded = ", ".join(map(str, trace.cpus)) or "none"
        raise BadInput(
            trace.origin.name, f"CPU {unknown[0]} was not recorded", remedy=f"the recorded ones are {recorded}"
        )
    return tuple(sorted(set(cpus)))


def _own_entries(trace: Trace, cpus: Sequence[int], is_nobody: Callable[[int], bool], pid: int | None) -> int:
    """Return how many system calls and page faults tasks made, those that were counted as the trace was read too."""
    made: Counter[int] = Counter()
    for (cpu, thread), count in trace.table.folded.items():
        made[thread] += count if cpu in cpus else 0
    rows = trace.rows("sys_enter", "page_fault_user")
    threads, counts = np.unique(trace.pid[rows[np.isin(trace.cpu[rows], cpus)]], return_counts=True)
    made.update(dict(zip(threads.tolist(), counts.tolist())))
    return sum(count for one, count in made.items() if pid in (None, one) and one != 0 and not is_nobody(one))


def _coverage(
    trace: Trace, watched: tuple[int, ...], breaks: Breaks, entries: int
) -> dict[str, int | str | bool | list[str]]:
    sums = breaks.sums()
    unknown = sum(one.count for alike, one in sums if alike.cause.kind is Work.UNKNOWN)
    unjoined = sum(one.count for alike, one in sums if alike.kind in _SENT and alike.cause.cpu is None)
    others = sum(one.count for alike, one in sums if alike.kind not in OWN)
    return {
        "breaks": others + entries,
        "breaks_own": entries,
        "breaks_unjoined": unjoined,
        "breaks_unknown": unknown,
        "clock": trace.origin.clock,
        "cpus_recorded": [str(cpu) for cpu in trace.cpus],
        "cpus_watched": [str(cpu) for cpu in watched],
        "events": trace.table.total,
        "events_lost": _lost(trace),
        "events_missing": list(missing(trace)),
        "gaps": len(trace.lost),
        "span_ns": trace.table.last_ns - trace.table.first_ns,
    }


def _gap_coverage(samples: Samples | None) -> dict[str, int | str | bool | list[str]]:
    if samples is None:
        return {"host_gaps": "not looked for (needs --gaps FILE or, live, --sample-gaps)"}
    return {
        "host_gaps": len(samples.unseen),
        "gap_samples": samples.given,
        "gap_samples_outside": samples.outside,
    }


def _lost(trace: Trace) -> int:
    """How many events the kernel says were lost: the greater of the pages' own counts and its statistics."""
    by_page: Counter[int] = Counter()
    for one in trace.lost:
        by_page[one.cpu] += one.count or 1
    return sum(max(by_page[cpu], trace.origin.dropped.get(cpu, 0)) for cpu in {*by_page, *trace.origin.dropped})


def _notes(trace: Trace, cpus: Sequence[int] | None, pid: int | None) -> tuple[str, ...]:
    notes = list(trace.origin.notes)
    if cpus is None and pid is None and len(trace.cpus) > 1:
        notes.append("no CPU was named: tasks on every recorded CPU are watched")
    if trace.origin.clock not in ("mono", "mono_raw", "boot", "tai", "global"):
        notes.append(f"the trace clock is {trace.origin.clock!r}: the order of events of different CPUs is not sure")
    if not len(trace.origin.symbols):
        notes.append(
            "kernel symbols are hidden or missing (kptr_restrict): functions have no names, most causes are unknown"
        )
    notes += [f"no {event} events: {loss}" for event, loss in (missing(trace) | missing_memory(trace)).items()]
    return tuple(notes)
