"""What a system claims of its models, to be run and not to be believed: real bugs that they show, disputes they decide.

Nothing here holds a verdict. A `Bug` says which mutation stands for a real defect and what its counterexample must
show; a `Dispute` says over which parameters a question is asked. `decide` runs every combination and reads off where
it fails.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

from nostale.contract import Answer

if TYPE_CHECKING:
    from nostale.prove import Model

Settings = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Run:
    """One way to run a model: `--set` and the variant, as a user would type them."""

    variant: str = ""
    settings: Settings = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bug:
    """A real defect that a model shows.

    Args:
        id: its row, such as `B38`.
        title: what failed, in a line.
        fix: the commit or thread that mended it.
        model: in which it can be seen.
        broken: the run with the defect.
        fixed: the same bounds without it.
        breaks: the id of the result that is violated.
        shows: phrases of the counterexample, in the order in which they must come: the interleaving of the row.
    """

    id: str
    title: str
    fix: str
    model: type[Model]
    broken: Run
    fixed: Run
    breaks: str
    shows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NotShown:
    """A row that no model shows, and why."""

    id: str
    title: str
    why: str


@dataclass(frozen=True, slots=True)
class Reconstructed:
    """A real defect made again in small, for a rule over binaries to find.

    Args:
        id: its row.
        title: what failed, in a line.
        fix: the commit or thread that mended it.
        by: the rule that finds it, or the `.dot` file of an automaton of its own.
        function: in which it is found.
        callee: what is called there, "" where it is no call.
    """

    id: str
    title: str
    fix: str
    by: str
    function: str
    callee: str = ""


def read_reconstructed(text: str) -> tuple[Reconstructed, ...]:
    """Return the rows of a TOML file, a table each, in its order."""
    return tuple(Reconstructed(id, **fields) for id, fields in tomllib.loads(text).items())


@dataclass(frozen=True, slots=True)
class Dispute:
    """A question that was argued and that a model decides.

    Args:
        id: such as `D3`. A dispute that takes several models is several of these with one id, told on one page.
        question: in a sentence; of the second and later ones, what that model adds.
        sides: who says what.
        model: that is run.
        asked: ids of the results that answer it.
        over: the parameters that the question turns on, each with the values to be tried.
        variant: that is run, where the question is about one.
        settings: of the other parameters, where they are not the defaults.
        exists: which combinations there are; None for all.
        exists_why: why the others are left out.
    """

    id: str
    question: str
    sides: tuple[tuple[str, str], ...]
    model: type[Model]
    asked: tuple[str, ...]
    over: Mapping[str, tuple[str, ...]]
    variant: str = ""
    settings: Settings = field(default_factory=dict)
    exists: Callable[[Settings], bool] | None = None
    exists_why: str = ""

    def combinations(self) -> Iterator[dict[str, str]]:
        """Yield every combination of the parameters that there is, the last parameter changing fastest."""
        for values in product(*self.over.values()):
            one = dict(zip(self.over, values))
            if self.exists is None or self.exists(one):
                yield one


@dataclass(frozen=True, slots=True)
class Decided:
    """What the runs of a dispute came to.

    Args:
        runs: (combination, verdict, answer), in the dispute's order.
        fails: where it is violated: each item names, for some parameters, the values; a combination that fits any item
            fails, and no other does. Fewest items that greedy search finds.
    """

    dispute: Dispute
    runs: tuple[tuple[Settings, str, Answer], ...]
    fails: tuple[Mapping[str, tuple[str, ...]], ...]


def decide(dispute: Dispute, prove: Callable[[Model], Answer]) -> Decided:
    """Run every combination of a dispute.

    Args:
        prove: runs one model.

    Raises:
        ValueError: the model does not ask what the dispute names.
    """
    runs = []
    for one in dispute.combinations():
        answer = prove(dispute.model({**dispute.settings, **one}, dispute.variant))
        runs.append((one, _verdict(dispute, answer), answer))
    return Decided(dispute, tuple(runs), where(dispute.over, [(one, word == "violated") for one, word, _ in runs]))


def _verdict(dispute: Dispute, answer: Answer) -> str:
    words = {result.id: result.verdict.word for result in answer.results}
    missing = [id for id in dispute.asked if id not in words]
    if missing:
        raise ValueError(f"{dispute.id}: the model does not ask {', '.join(missing)}")
    asked = {words[id] for id in dispute.asked}
    return next((word for word in ("violated", "unknown") if word in asked), "holds")


def where(
    over: Mapping[str, tuple[str, ...]], points: Sequence[tuple[Settings, bool]]
) -> tuple[Mapping[str, tuple[str, ...]], ...]:
    """Say in few words which points are true.

    Args:
        over: the values of each parameter.
        points: combinations, and whether it is true there; a combination that does not exist counts either way.

    Returns:
        Items that together fit all true points and no false one; each leaves out the parameters that do not matter.
    """
    false = [one for one, holds in points if not holds]
    left = [one for one, holds in points if holds]
    found: list[Mapping[str, tuple[str, ...]]] = []
    while left:
        grown = [_grown(over, point, false) for point in left]
        best = max(grown, key=lambda item: (sum(fits(item, point) for point in left), -_words(over, item)))
        found.append({name: values for name, values in best.items() if len(values) < len(over[name])})
        left = [point for point in left if not fits(best, point)]
    return tuple(found)


def _grown(
    over: Mapping[str, tuple[str, ...]], point: Settings, false: Sequence[Settings]
) -> dict[str, tuple[str, ...]]:
    """Widen a point as far as no false one is let in: a whole parameter at a time first, then value by value."""
    item: dict[str, tuple[str, ...]] = {name: (point[name],) for name in over}
    for name, values in over.items():
        item = _wider(item, name, values, false)
    for name, values in over.items():
        for value in values:
            if value not in item[name]:
                item = _wider(item, name, tuple(v for v in values if v in item[name] or v == value), false)
    return item


def _wider(
    item: dict[str, tuple[str, ...]], name: str, values: tuple[str, ...], false: Sequence[Settings]
) -> dict[str, tuple[str, ...]]:
    wider = {**item, name: values}
    return item if any(fits(wider, one) for one in false) else wider


def fits(item: Mapping[str, tuple[str, ...]], point: Settings) -> bool:
    """Whether a combination has one of the values that the item names, for each parameter that it names."""
    return all(point[name] in values for name, values in item.items())


def _words(over: Mapping[str, tuple[str, ...]], item: Mapping[str, tuple[str, ...]]) -> int:
    return sum(len(values) for name, values in item.items() if len(values) < len(over[name]))
