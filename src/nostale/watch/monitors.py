"""Runs a contract's automaton over a trace: what a system binds to events, judged in the one place that judges."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from nostale.contract import Binding, Evidence, Grade, Monitor, Path, Result, Role, Witness, judge
from nostale.watch.occurrences import Occurrences
from nostale.watch.trace import Trace

_TOLD: Final = 20  # violations of one contract


@dataclass(frozen=True, slots=True)
class Sight:
    """What a monitor saw.

    Args:
        occurrences: of the contract's events.
        domains: for keys whose values are known in advance, those values.
        seen: in a few words, what there was; it stands in the verdict's bounds or assumptions.
        not_seen: what this trace could not show, a sentence each.
    """

    occurrences: Occurrences
    domains: Mapping[str, tuple[Hashable, ...]]
    seen: str
    not_seen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TraceMonitor:
    """A contract as this engine sees it.

    Args:
        binding: for engine `watch`.
        look: from a trace to what was seen of the contract's events; None where the trace has nothing of them.
        events: the trace events that `look` asks for, beyond those that causes need.
        calls: names of the system calls that `look` asks for, even of those in which nothing happened.
    """

    binding: Binding
    look: Callable[[Trace], Sight | None]
    events: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()


def run_monitor(monitor: TraceMonitor, trace: Trace) -> tuple[Result, ...]:
    """Return the verdicts of one monitor on one trace; lost events make what would hold unknown.

    There is none where the trace has nothing of what the contract is about: nothing holds because nothing happened.

    Cost: as `Monitor.run`, and O(occurrences) for each violation that is told.
    """
    contract = monitor.binding.contract
    sight = monitor.look(trace)
    if sight is None:
        return ()
    seen, keys = sight.occurrences, contract.keys
    broken = Monitor(contract, _domains(sight), monitor.binding.start).run(seen.events(), seen.instances(keys))
    witnesses = []
    for at, instance in islice(broken, _TOLD):
        path = seen.path(at, keys, instance, _changes(monitor))
        witnesses.append(Witness(seen.names[seen.event[at]], path, _doubts(monitor, trace, path)))
    untold = sum(1 for _ in broken)
    lost = tuple(
        f"{one.count or 'some'} events of CPU {one.cpu} before {one.before_ns} ns were lost" for one in trace.lost
    )
    evidence = Evidence(
        tuple(witnesses),
        (*sight.not_seen, *lost),
        bounds=(sight.seen,),
        assumptions=(f"seen: {sight.seen}", *((f"{untold} more of these are not told",) if untold else ())),
    )
    verdicts = judge(monitor.binding, evidence)
    return tuple(
        Result(contract.id, contract.title, contract.why, contract.requirements, verdict, contract.remedy)
        for verdict in verdicts
    )


def _domains(sight: Sight) -> dict[str, list[int]]:
    """Return the values known in advance by their numbers; those that were not met get numbers of their own."""
    found = {}
    for key, values in sight.domains.items():
        numbers = dict(sight.occurrences.numbers.get(key, {}))
        found[key] = [numbers.setdefault(value, len(numbers)) for value in values]
    return found


def _doubts(monitor: TraceMonitor, trace: Trace, path: Path) -> dict[str, Grade]:
    """Return worse grades where events were lost along the path: a sync may be among them."""
    times = [step.time_ns for step in path if step.time_ns is not None]
    if not times or not trace.lost_between(None, min(times), max(times)):
        return {}
    return {event.name: Grade.MUST for event in monitor.binding.contract.events if event.role is Role.SYNC}


def _changes(monitor: TraceMonitor) -> frozenset[str]:
    return frozenset(event.name for event in monitor.binding.contract.events if event.role is Role.CHANGE)
