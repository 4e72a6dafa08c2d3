"""Run a contract's automaton over a stream of occurrences, one instance per key tuple."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Final

from nostale.contract.contracts import Contract

Keys = tuple[int, ...]  # for each key of the contract, in its order, a number that stands for its value
UNNAMED: Final = -1


@dataclass(slots=True)
class Monitor:
    """The instances of one contract.

    Args:
        contract: what must hold.
        domains: for each key, the values known in advance. An occurrence that does not name a key reaches the
            values here and those met since.
        start: the state a new instance is in.
    """

    contract: Contract
    domains: Mapping[str, Iterable[int]]
    start: str
    _states: dict[Keys, str] = field(default_factory=dict)
    _known: list[dict[int, int]] = field(default_factory=list)  # for each key its values, in the order they were met
    _views: dict[tuple[int, ...], _View] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in self.contract.keys:
            self._known.append({value: at for at, value in enumerate(self.domains.get(key, ()))})

    def run(self, events: Iterable[str], keys: Iterable[Keys]) -> Iterator[tuple[int, Keys]]:
        """Step the instances that each occurrence reaches; yield (which occurrence, instance) where there was no edge.

        The instance stays where it was, so that later violations are seen too. Those of one occurrence come in the
        order in which the values of their keys were met.

        Args:
            events: for each occurrence its event.
            keys: for each occurrence the values of the keys, or UNNAMED.

        Raises:
            KeyError: the contract has no such event, or an occurrence lacks a key the event names.

        Cost: O(occurrences + changes of state), where an occurrence that does not name every key leaves new instances
            as they are; otherwise it is as many as there are instances.
        """
        edges = {event.name: self._edges(event.name) for event in self.contract.events}
        states, views = self._states, self._views
        for at, (event, named) in enumerate(zip(events, keys, strict=True)):
            following_of = edges[event]
            if UNNAMED in named:
                for instance in self._reach(event, named, following_of):
                    yield at, instance
                continue
            state = states.get(named)
            if state is None:
                state = self._meet(named)
            following = following_of.get(state)
            if following is None:
                yield at, named
            elif following != state:
                states[named] = following
                for view in views.values():
                    view.move(named, state, following)

    def _edges(self, event: str) -> dict[str, str]:
        automaton = self.contract.automaton
        steps = ((state, automaton.step(state, event)) for state in automaton.states)
        return {state: following for state, following in steps if following is not None}

    def _meet(self, instance: Keys) -> str:
        for known, value in zip(self._known, instance, strict=True):
            known.setdefault(value, len(known))
        self._states[instance] = self.start
        for view in self._views.values():
            view.add(instance, self.start)
        return self.start

    def _reach(self, event: str, named: Keys, following_of: Mapping[str, str]) -> list[Keys]:
        """Step every instance that agrees with `named`; return those for which there was no edge."""
        for key, value in zip(self.contract.keys, named, strict=True):
            if value == UNNAMED and key in self.contract.event(event).keys:
                raise KeyError(f"{event} lacks its {key}")
        for known, value in zip(self._known, named, strict=True):
            if value != UNNAMED:
                known.setdefault(value, len(known))
        view = self._view(named)
        if following_of.get(self.start) != self.start:
            self._meet_all(named, view)
        broken: list[Keys] = []
        moving: list[tuple[Keys, str, str]] = []
        for state, instances in view.of(named).items():
            following = following_of.get(state)
            if following is None:
                broken += instances
            elif following != state:
                moving += [(instance, state, following) for instance in instances]
        for instance, state, following in moving:
            self._states[instance] = following
            for each in self._views.values():
                each.move(instance, state, following)
        return sorted(broken, key=self._order)

    def _view(self, named: Keys) -> _View:
        places = tuple(place for place, value in enumerate(named) if value != UNNAMED)
        if places not in self._views:
            view = self._views[places] = _View(places)
            for instance, state in self._states.items():
                view.add(instance, state)
        return self._views[places]

    def _meet_all(self, named: Keys, view: _View) -> None:
        """Meet what agrees with `named` and has not been met by itself: every tuple of known values is an instance."""
        pairs = zip(self._known, named, strict=True)
        choices = [known if value == UNNAMED else (value,) for known, value in pairs]
        if sum(map(len, view.of(named).values())) < prod(map(len, choices)):
            for instance in product(*choices):
                if instance not in self._states:
                    self._meet(instance)

    def _order(self, instance: Keys) -> Keys:
        return tuple(known[value] for known, value in zip(self._known, instance, strict=True))


@dataclass(slots=True)
class _View:
    """The instances by the values of some of their keys, and by state: those that one occurrence reaches are together.

    Args:
        places: of those keys among all.
    """

    places: tuple[int, ...]
    _alike: dict[Keys, dict[str, dict[Keys, None]]] = field(default_factory=dict)

    def of(self, named: Keys) -> dict[str, dict[Keys, None]]:
        return self._alike.setdefault(tuple(named[place] for place in self.places), {})

    def add(self, instance: Keys, state: str) -> None:
        self.of(instance).setdefault(state, {})[instance] = None

    def move(self, instance: Keys, state: str, following: str) -> None:
        alike = self.of(instance)
        del alike[state][instance]
        alike.setdefault(following, {})[instance] = None
