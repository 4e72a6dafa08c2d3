"""The one place that turns what an engine saw into what it may conclude.

Violated needs a change, use or rely that was not over-reported and no sync that could have been missed; holds needs
the opposite; anything else is unknown, with what was missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nostale.contract.binding import Binding, Grade
from nostale.contract.events import Role
from nostale.contract.path import Path
from nostale.contract.verdict import Holds, Unknown, Verdict, Violated

_BLAMED = (Role.CHANGE, Role.USE, Role.RELY, Role.OTHER)


@dataclass(frozen=True, slots=True)
class Witness:
    """One way to a missing edge of the automaton.

    Args:
        event: the event that had no edge.
        path: how it came to that, the last step being the event.
        grades: where this witness's own evidence for an event differs from the binding's, by event name: an indirect
            call that only may leave the section is `MAY` although calls in general are exact.
        doubt: what would have to be known to remove that doubt.
    """

    event: str
    path: Path
    grades: Mapping[str, Grade] = field(default_factory=dict)
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an engine saw of one contract.

    Args:
        witnesses: every way found to a missing edge.
        not_seen: what the run did not look at, a sentence each: lost events, bytes that do not decode, a bound
            that was reached.
        bounds: within what everything was looked at.
        assumptions: what this run takes for granted beyond what the binding says.
    """

    witnesses: tuple[Witness, ...] = ()
    not_seen: tuple[str, ...] = ()
    bounds: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()


def judge(binding: Binding, evidence: Evidence) -> tuple[Verdict, ...]:
    """Return what may be concluded: every violation, then every doubt, or a single `Holds`. Never empty."""
    assumed = (*binding.assumptions, *evidence.assumptions)
    violated: list[Verdict] = []
    doubted: list[Verdict] = []
    for witness in evidence.witnesses:
        missing = _false_alarm(binding, witness)
        role = binding.contract.event(witness.event).role
        if missing:
            doubted.append(
                Unknown(witness.doubt or f"{witness.event} may not have happened here", missing, witness.path, assumed)
            )
        else:
            violated.append(Violated(witness.path, role if role in (Role.USE, Role.RELY) else None, assumed))
    missed = (*evidence.not_seen, *_oversight(binding))
    if missed:
        doubted.append(Unknown("not everything could be seen", missed, (), assumed))
    return tuple(violated + doubted) or (Holds(evidence.bounds, assumed),)


def _false_alarm(binding: Binding, witness: Witness) -> tuple[str, ...]:
    """Name the ways in which the witness might not be real."""
    missing = []
    for event in binding.contract.events:
        bound = binding.bound[event.name]
        grade = witness.grades.get(event.name, bound.grade)
        # Any change may be the one that made the view stale; of the rest only what ended the path counts.
        blamed = event.role is Role.CHANGE or event.name == witness.event
        if blamed and grade.may_be_false:
            missing.append(f"whether {event.name} happened: {bound.note or 'it is over-reported'}")
        if event.role is Role.SYNC and grade.may_be_missed:
            missing.append(
                f"whether {event.name} went unseen: {binding.bound[event.name].note or binding.bound[event.name].by}"
            )
    return tuple(missing)


def _oversight(binding: Binding) -> tuple[str, ...]:
    """Name the ways in which a violation could have gone unseen through this binding at all."""
    missing = []
    for event in binding.contract.events:
        bound = binding.bound[event.name]
        if event.role in _BLAMED and bound.grade.may_be_missed:
            missing.append(f"{event.name}: {bound.note or 'this engine does not see it'}")
        if event.role is Role.SYNC and bound.grade.may_be_false:
            missing.append(f"whether every {event.name} happened: {bound.note or 'it is over-reported'}")
    return tuple(missing)
