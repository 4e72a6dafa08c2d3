"""Runs a contract's automaton over a trace: what a system binds to events, judged in the one place that judges."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from nostale.contract import Binding, Evidence, Grade, Monitor, Path, Result, Role, Step, Witness, judge
from nostale.watch.trace import Trace

_TOLD: Final = 20  # violations of one contract
_STEPS: Final = 24


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One event of a contract as it was seen.

    Args:
        event: its name in the contract.
        keys: those that the event names.
        step: how it is told.
    """

    event: str
    keys: Mapping[str, Hashable]
    step: Step


@dataclass(frozen=True, slots=True)
class Sight:
    """What a monitor saw.

    Args:
        occurrences: in time order.
        domains: for keys whose values are known in advance, those values.
        seen: in a few words, what there was; it stands in the verdict's bounds or assumptions.
        not_seen: what this trace could not show, a sentence each.
    """

    occurrences: tuple[Occurrence, ...]
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
    """

    binding: Binding
    look: Callable[[Trace], Sight | None]
    events: tuple[str, ...] = ()


def run_monitor(monitor: TraceMonitor, trace: Trace) -> tuple[Result, ...]:
    """Return the verdicts of one monitor on one trace; lost events make what would hold unknown.

    There is none where the trace has nothing of what the contract is about: nothing holds because nothing happened.

    Cost: O(occurrences x instances).
    """
    contract = monitor.binding.contract
    sight = monitor.look(trace)
    if sight is None:
        return ()
    automaton = Monitor(contract, sight.domains, monitor.binding.start)
    steps: list[Occurrence] = []
    witnesses: list[Witness] = []
    untold = 0
    for occurrence in sight.occurrences:
        broken = automaton.see(occurrence.event, **occurrence.keys)
        steps.append(occurrence)
        for one in broken:
            if len(witnesses) == _TOLD:
                untold += 1
                continue
            path = _path(steps, dict(zip(contract.keys, one.keys)), _changes(monitor))
            witnesses.append(Witness(one.event, path, _doubts(monitor, trace, path)))
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


def _doubts(monitor: TraceMonitor, trace: Trace, path: Path) -> dict[str, Grade]:
    """Return worse grades where events were lost along the path: a sync may be among them."""
    times = [step.time_ns for step in path if step.time_ns is not None]
    if not times or not trace.lost_between(None, min(times), max(times)):
        return {}
    return {event.name: Grade.MUST for event in monitor.binding.contract.events if event.role is Role.SYNC}


def _changes(monitor: TraceMonitor) -> frozenset[str]:
    return frozenset(event.name for event in monitor.binding.contract.events if event.role is Role.CHANGE)


def _path(steps: Iterable[Occurrence], keys: Mapping[str, Hashable], changes: frozenset[str]) -> Path:
    """Return the steps of one instance, from the last change on, at most the last of them."""
    mine = [one for one in steps if all(keys[key] == value for key, value in one.keys.items() if key in keys)]
    starts = [at for at, one in enumerate(mine) if one.event in changes]
    return tuple(one.step for one in mine[starts[-1] if starts else 0 :][-_STEPS:])
