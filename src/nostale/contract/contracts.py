"""A contract: what must hold for a view, said once for all three engines."""

from __future__ import annotations

from dataclasses import dataclass

from nostale.contract.automaton import Automaton, rule_automaton
from nostale.contract.events import Event, Role
from nostale.contract.sources import Source


@dataclass(frozen=True, slots=True)
class Contract:
    """Events, the automaton over them, and what a reader needs to judge a violation.

    Args:
        id: `system.name`.
        title: the promise, in one line.
        why: what goes wrong when it is broken.
        remedy: how a violation is mended.
        keys: what tells instances apart, such as (cpu, address); one automaton runs per tuple.
        observer: which of the keys names the observer.
        events: the alphabet with roles.
        automaton: what must hold; None compiles the rule from the roles.
        requirements: ids of the source threads' demands that this checks.
        sources: where the promise comes from.

    Raises:
        ValueError: an edge of the automaton names an event the contract does not have.
    """

    id: str
    title: str
    why: str
    remedy: str
    keys: tuple[str, ...]
    observer: str
    events: tuple[Event, ...]
    requirements: tuple[str, ...]
    sources: tuple[Source, ...]
    automaton: Automaton = None  # type: ignore[assignment]  # filled in below from the roles

    def __post_init__(self) -> None:
        if self.automaton is None:
            object.__setattr__(self, "automaton", self._rule())
        undeclared = set(self.automaton.events) - {event.name for event in self.events}
        if undeclared:
            raise ValueError(f"{self.id}: the automaton has events the contract lacks: {sorted(undeclared)}")
        for event in self.events:
            if not set(event.keys) <= set(self.keys):
                raise ValueError(f"{self.id}: {event.name} names a key that the contract lacks")

    @property
    def system(self) -> str:
        """The system it belongs to, the part of the id before the dot."""
        return self.id.split(".", 1)[0]

    def event(self, name: str) -> Event:
        """Return the event of that name.

        Raises:
            KeyError: the contract has no such event.
        """
        for event in self.events:
            if event.name == name:
                return event
        raise KeyError(f"{self.id} has no event {name!r}; it has {', '.join(e.name for e in self.events)}")

    def _rule(self) -> Automaton:
        def named(role: Role) -> list[str]:
            return [event.name for event in self.events if event.role is role]

        return rule_automaton(
            self.id.replace(".", "_").replace("-", "_"),
            changes=named(Role.CHANGE),
            syncs=named(Role.SYNC),
            uses=named(Role.USE),
            relies=named(Role.RELY),
        )
