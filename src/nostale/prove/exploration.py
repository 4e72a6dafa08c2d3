"""What an exploration is told, tells on the way and gives back; the same for both explorers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import log2

from nostale.contract import Search
from nostale.prove.ir import Slot

VALUES_APART = 4096  # of a slot, in what is said of a frontier: as explorer/main.c has it
_SAID = 5


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an exploration is: states known, states waiting, states found per second, bytes held."""

    states: int
    waiting: int
    per_second: float = 0.0
    size_bytes: int = 0


Tick = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far to go.

    Args:
        max_states: explore the levels that fit into so many states; None for no such bound.
        seconds: stop after so long; None for never.
        memory_bytes: of the explorer; None for two thirds of what is now available.
    """

    max_states: int | None = None
    seconds: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Crew:
    """How many threads, and until how many states one works alone because starting others would take longer."""

    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    alone_states: int = 4_000


@dataclass(frozen=True, slots=True)
class Stopped:
    """Why and where a search stopped before its end.

    Args:
        reason: `states`, `memory` or `time`.
        frontier: how many known states were not expanded.
        varied: the variables with the most varied values among those, the most varied first: what blows the space up.
    """

    reason: str
    frontier: int
    varied: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exploration:
    """What an explorer found.

    Args:
        search: the counts; of a stopped search those of its whole levels, so that they depend on nothing else.
        found: of each property that was met (broken, or for `sometimes` seen), the way there, as rule numbers from the
            initial state. To what is broken it is the shortest with the fewest switches of lane, of those the one whose
            rule numbers come first; to a scene any shortest one.
        stopped: where the search did not come to its end.
    """

    search: Search
    found: dict[int, tuple[int, ...]]
    stopped: Stopped | None = None


def most_varied(slots: tuple[Slot, ...], counts: Iterable[tuple[int, ...]]) -> tuple[str, ...]:
    """Name the slots whose values vary most, with how many values each has.

    Args:
        counts: of each slot, how often each of its values stands in the frontier, values that do not left out.
    """
    varied = [(_entropy(row), len(row), slot.name) for slot, row in zip(slots, counts) if len(row) > 1]
    varied.sort(key=lambda one: -one[0])
    return tuple(f"{name} ({values} values)" for _, values, name in varied[:_SAID])


def _entropy(counts: tuple[int, ...]) -> float:
    total = sum(counts)
    return round(-sum(count / total * log2(count / total) for count in sorted(counts)), 6)
