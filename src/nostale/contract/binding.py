"""How one engine sees a contract's events, how good that evidence is, and in which state an observer starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from nostale.contract.contracts import Contract


class Grade(StrEnum):
    """How an engine's occurrences of an event relate to what really happened."""

    EXACT = "exact"  # reported if and only if it happened
    MAY = "may"  # over-reporting: some reported ones may not have happened
    MUST = "must"  # under-reporting: those reported happened, others may have gone unseen
    UNSEEN = "unseen"  # bound to nothing: this engine has no way to see it
    ASSUMED = "assumed"  # not seen but put in place by the start state, as an assumption of the run

    @property
    def may_be_false(self) -> bool:
        """Whether a reported occurrence might not have happened."""
        return self is Grade.MAY

    @property
    def may_be_missed(self) -> bool:
        """Whether an occurrence might have gone unreported."""
        return self in (Grade.MUST, Grade.UNSEEN)


@dataclass(frozen=True, slots=True)
class Bound:
    """One event as an engine sees it: by what, and how well. `note` says what is missed or reported too often."""

    by: str
    grade: Grade
    note: str = ""


@dataclass(frozen=True, slots=True)
class Binding:
    """A contract in one engine's terms.

    Args:
        contract: what must hold.
        engine: `prove`, `lint` or `watch`.
        bound: one entry for each event of the contract, none left out.
        start: the automaton state an observer is in when the engine first looks at it.
        start_why: why that is the right one.
        assumptions: what every verdict through this binding takes for granted.

    Raises:
        ValueError: an event without an entry, an entry without an event, or a start state the automaton lacks.
    """

    contract: Contract
    engine: str
    bound: Mapping[str, Bound]
    start: str
    start_why: str
    assumptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = {event.name for event in self.contract.events}
        if names != set(self.bound):
            raise ValueError(f"{self.contract.id} in {self.engine}: bound {sorted(self.bound)}, events {sorted(names)}")
        if self.start not in self.contract.automaton.states:
            raise ValueError(f"{self.contract.id} in {self.engine}: no state {self.start!r}")
