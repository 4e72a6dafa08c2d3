"""Events of a contract as they were seen in a trace, in columns: there may be millions, few of which are told."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Final

import numpy as np

from nostale.contract import UNNAMED, Keys, Path, Step
from nostale.watch.distinct import Distinct
from nostale.watch.ring import Ints

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
class Part:
    """Rows of a trace that are one event of a contract.

    Args:
        event: its name in the contract.
        rows: `(n,)`
        keys: the values of those that the event names.
    """

    event: str
    rows: Ints
    keys: Mapping[str, Distinct[Hashable]]


@dataclass(frozen=True, slots=True, eq=False)
class Occurrences:
    """All that was seen of a contract, in time order.

    Args:
        names: of the events.
        event: `(n,)`, for each occurrence its event's place in `names`.
        keys: for each key `(n,)`, the number of its value, UNNAMED where the occurrence does not name it.
        numbers: for each key those numbers by value.
        step: from an occurrence's place to how it is told.
    """

    names: tuple[str, ...]
    event: Ints
    keys: Mapping[str, Ints]
    numbers: Mapping[str, Mapping[Hashable, int]]
    step: Callable[[int], Step]

    @classmethod
    def of(cls, seen: Sequence[Occurrence]) -> Occurrences:
        """Take few that were found one by one, in time order."""
        names = {event: at for at, event in enumerate(dict.fromkeys(one.event for one in seen))}
        numbers: dict[str, dict[Hashable, int]] = {key: {} for one in seen for key in one.keys}
        columns = {}
        for key, known in numbers.items():
            named = [known.setdefault(one.keys[key], len(known)) if key in one.keys else UNNAMED for one in seen]
            columns[key] = np.array(named, np.int64)
        event = np.array([names[one.event] for one in seen], np.int64)
        return cls(tuple(names), event, columns, numbers, lambda at: seen[at].step)

    @classmethod
    def of_parts(cls, parts: Sequence[Part], step: Callable[[int, str], Step]) -> Occurrences:
        """Bring what was found kind by kind into time order; of one row, what comes first in `parts` is first.

        Args:
            step: from a row and the event that it is to how it is told.
        """
        rows = np.concatenate([np.zeros(0, np.int64), *(part.rows for part in parts)])
        order = np.argsort(rows, kind="stable")
        rows = rows[order]
        names = {event: at for at, event in enumerate(dict.fromkeys(part.event for part in parts))}
        event = np.repeat(np.array([names[part.event] for part in parts], np.int64), [len(part.rows) for part in parts])
        numbers: dict[str, dict[Hashable, int]] = {key: {} for part in parts for key in part.keys}
        keys = {key: _numbered(key, parts, known)[order] for key, known in numbers.items()}
        told, event = tuple(names), event[order]
        return cls(told, event, keys, numbers, lambda at: step(int(rows[at]), told[event[at]]))

    def __len__(self) -> int:
        return len(self.event)

    def events(self) -> Iterator[str]:
        """Yield the event of each."""
        return map(self.names.__getitem__, self.event.tolist())

    def count(self, event: str) -> int:
        """Return how often an event was seen."""
        return int(np.count_nonzero(self.event == self.names.index(event))) if event in self.names else 0

    def instances(self, keys: Sequence[str]) -> Iterator[Keys]:
        """Yield of each what it names of `keys`."""
        if not keys:
            return repeat((), len(self))
        unnamed = np.full(len(self), UNNAMED)
        return zip(*(self.keys.get(key, unnamed).tolist() for key in keys), strict=True)

    def path(self, at: int, keys: Sequence[str], instance: Keys, changes: frozenset[str]) -> Path:
        """Return the steps of one instance up to `at`, from the last of `changes` on, at most the last of them."""
        mine = np.ones(at + 1, bool)
        for key, value in zip(keys, instance, strict=True):
            if key in self.keys:
                column = self.keys[key][: at + 1]
                mine &= (column == value) | (column == UNNAMED)
        last = np.flatnonzero(mine)[-_STEPS:]
        starts = np.flatnonzero(np.isin(self.event[last], [self.names.index(one) for one in changes & {*self.names}]))
        return tuple(map(self.step, last[starts[-1] if starts.size else 0 :].tolist()))


def _numbered(key: str, parts: Sequence[Part], known: dict[Hashable, int]) -> Ints:
    """Return the number of the value of a key of each occurrence, in the order of `parts`."""
    columns = []
    for part in parts:
        if key in part.keys:
            column = part.keys[key]
            number = np.array([known.setdefault(value, len(known)) for value in column.values], np.int64)
            columns.append(number[column.which])
        else:
            columns.append(np.full(len(part.rows), UNNAMED, np.int64))
    return np.concatenate(columns)
