"""Run a contract's automaton over a stream of occurrences, one instance per key tuple."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from itertools import product

from nostale.contract.contracts import Contract

Keys = tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class Broken:
    """An event that had no edge: which instance, from which state."""

    event: str
    keys: Keys
    state: str


@dataclass(slots=True)
class Monitor:
    """The instances of one contract.

    Args:
        contract: what must hold.
        domains: for each key, the values known in advance. An occurrence that does not name a key reaches the
            values here and those met since.
        start: the state a new instance is in.

    A violation is reported and the instance stays where it was, so that later ones are seen too.
    """

    contract: Contract
    domains: Mapping[str, tuple[Hashable, ...]]
    start: str
    _states: dict[Keys, str] = field(default_factory=dict)
    _known: dict[str, dict[Hashable, None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known = {key: dict.fromkeys(self.domains.get(key, ())) for key in self.contract.keys}

    def see(self, event: str, **keys: Hashable) -> tuple[Broken, ...]:
        """Step every instance that agrees with `keys`; return those for which the event had no edge.

        Raises:
            KeyError: the contract has no such event, or the occurrence lacks a key the event names.
        """
        for key in self.contract.event(event).keys:
            self._known[key].setdefault(keys[key])
        choices = [(keys[key],) if key in keys else tuple(self._known[key]) for key in self.contract.keys]
        broken = []
        for instance in product(*choices):
            state = self._states.get(instance, self.start)
            following = self.contract.automaton.step(state, event)
            if following is None:
                broken.append(Broken(event, instance, state))
            else:
                self._states[instance] = following
        return tuple(broken)

    def state(self, **keys: Hashable) -> str:
        """Return the state of one instance, all keys named."""
        return self._states.get(tuple(keys[key] for key in self.contract.keys), self.start)
