"""From a trace to an answer: every interruption of the watched CPUs with its cause, and what the monitors say."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from nostale.contract import Answer, BadInput, Interruption, Kind, Result, Work
from nostale.watch.causes import OWN, interruptions, own_entry
from nostale.watch.gaps import Gap, Samples, explain_gaps
from nostale.watch.joins import Joins
from nostale.watch.migrations import rejoin
from nostale.watch.monitors import TraceMonitor, run_monitor
from nostale.watch.needs import missing, missing_memory
from nostale.watch.spans import Span, own_entries, spans
from nostale.watch.trace import Trace
from nostale.watch.whatif import with_what_if

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
    breaks: list[Interruption] = []
    entries = sum(
        count
        for (cpu, thread), count in trace.table.folded.items()
        if cpu in watched and pid in (None, thread) and not joins.is_kernel_thread(thread)
    )
    entries += sum(own_entries(trace, cpu, joins.is_kernel_thread, pid) for cpu in watched)
    with _without_gc():
        found = _found(trace, watched, joins, pid, tell, own=own)
        tell("causes")
        found.reverse()
        while found:  # none is held longer than needed
            span = found.pop()
            if span.kind in OWN:
                breaks.append(own_entry(span, joins))
            else:
                breaks.extend(interruptions(span, joins))
        samples = None if gaps is None else explain_gaps(trace, gaps, watched)
        if samples is not None:
            breaks.extend(one for one in samples.unseen if pid in (None, one.pid))
        breaks.sort(key=lambda one: (one.start_ns, one.cpu))
        if what_if:
            tell("what if")
            breaks = with_what_if(breaks, joins)
    del joins  # as large as the breaks, and the monitors do not ask it
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
        breaks=tuple(breaks),
        notes=_notes(trace, cpus, pid),
    )


def _found(
    trace: Trace, watched: Sequence[int], joins: Joins, pid: int | None, tell: Progress, *, own: bool
) -> list[Span]:
    """Return the stretches that are told, of all watched CPUs."""
    calls = joins.calls()
    found: list[Span] = []
    for cpu in watched:
        tell(f"events of CPU {cpu}")
        of_cpu = spans(trace, cpu, joins.is_kernel_thread, joins.back, joins.waker, calls, own=own)
        found += [span for span in of_cpu if pid in (None, span.pid) and (own or span.kind not in OWN)]
    if own and len(watched) > 1:
        rejoin(found, joins, calls.entered())
    return found


@contextmanager
def _without_gc() -> Iterator[None]:
    """Pause the cycle collector while many objects without cycles are made: it would walk them all, again and again."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


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


def _coverage(
    trace: Trace, watched: tuple[int, ...], breaks: list[Interruption], entries: int
) -> dict[str, int | str | bool | list[str]]:
    unknown = sum(one.cause.kind is Work.UNKNOWN for one in breaks)
    sent = [one for one in breaks if one.kind in _SENT]
    others = sum(one.kind not in OWN for one in breaks)
    return {
        "breaks": others + entries,
        "breaks_own": entries,
        "breaks_unjoined": sum(one.cause.cpu is None for one in sent),
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
