"""What every command returns and every renderer draws: verdicts per contract, with what was looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nostale.contract.breaks import Breaks
from nostale.contract.interruption import Change
from nostale.contract.path import Path
from nostale.contract.verdict import Verdict, worst


@dataclass(frozen=True, slots=True)
class Result:
    """One verdict on one contract, rule or property.

    Args:
        id: `system.name`.
        title: what was asked, in one line.
        why: why it matters or, of a violation, what it leads to.
        requirements: ids of the source threads' demands.
        verdict: the answer.
        remedy: how to mend it; "" when there is nothing to mend.
        outcome: of a litmus test that was decided: Allowed, Forbidden or Required; None elsewhere.
        witness: a way to an outcome that is allowed.
        accepted: why a known finding is accepted; "" for all others. It is shown and does not count.
    """

    id: str
    title: str
    why: str
    requirements: tuple[str, ...]
    verdict: Verdict
    remedy: str = ""
    outcome: str | None = None
    witness: Path = ()
    accepted: str = ""

    @property
    def system(self) -> str:
        """The part of the id before the dot."""
        return self.id.split(".", 1)[0]


@dataclass(frozen=True, slots=True)
class Search:
    """What an exhaustive search covered.

    Args:
        states: distinct reachable states.
        transitions: enabled (state, rule) pairs, without an initial one.
        depth: breadth-first level of the last new state.
        complete: whether nothing was left to explore.
    """

    states: int
    transitions: int
    depth: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Table:
    """What several results come to together, for a reader who decides by the whole of it.

    Args:
        id: of the rule that it belongs to.
        title: what a row is.
        columns: their heads.
        rows: as many cells each, in a stable order.
    """

    id: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """A numbered requirement: what checks it, and what that says now.

    Args:
        id: such as `TI-7`.
        system: whose thread it is from.
        text: what it says.
        by: (kind, name) of each check; kinds: contract, model, rule, monitor, command, document.
        verdict: of the models; `unknown` where only an image, a trace or a reader can tell; `not yet`.
        why: what stands behind the verdict, or why nothing can check it.
    """

    id: str
    system: str
    text: str
    by: tuple[tuple[str, str], ...]
    verdict: str
    why: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The whole of what one command found.

    Args:
        command: `check`, `prove`, `lint`, `watch` or `systems`.
        target: what it was asked of, as typed.
        coverage: what was looked at, in numbers and names; values are int, str, bool or lists of str.
        results: one a verdict, in a stable order.
        search: prove only.
        breaks: watch only; None elsewhere.
        changes: watch --diff only; None elsewhere.
        requirements: systems only; None elsewhere.
        parts: check only, an answer a target.
        expected: the verdict a demonstration must have; None elsewhere.
        counted: whether it counts towards the verdict of what it is part of.
        tables: what results come to together.
        notes: what a user should know about the run itself, for stderr.
    """

    command: str
    target: str
    coverage: Mapping[str, int | str | bool | list[str]]
    results: tuple[Result, ...]
    search: Search | None = None
    breaks: Breaks | None = None
    parts: tuple[Answer, ...] = ()
    expected: str | None = None
    counted: bool = True
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    changes: tuple[Change, ...] | None = None
    requirements: tuple[Checked, ...] | None = None

    @property
    def verdict(self) -> str:
        """The worst of the results and of the parts; of a check, a demonstration counts as kept or not."""
        words = ["holds" if result.accepted else result.verdict.word for result in self.results]
        words += [self._counted_as(part) for part in self.parts if part.counted]
        return worst(words)

    def _counted_as(self, part: Answer) -> str:
        if self.command != "check" or part.expected is None:
            return part.verdict
        return "holds" if part.verdict == part.expected else "violated"
