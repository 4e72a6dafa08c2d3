"""Many results of one rule told as one in text: by what they come to, with a count each. Other forms have them all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nostale.contract import Holds, Path, Result

_MANY = 8  # results of one rule and verdict; fewer are told one by one


@dataclass(frozen=True, slots=True)
class Fold:
    """Results of one rule with one verdict.

    Args:
        results: in the answer's order; one where it is told by itself.
        parts: (what they come to, those that do), the most frequent first; empty where each is told by itself.
    """

    results: tuple[Result, ...]
    parts: tuple[tuple[str, tuple[Result, ...]], ...] = ()

    @property
    def shortest(self) -> Result:
        """The one with the shortest path."""
        return min(self.results, key=lambda one: len(path_of(one)))


def folded(results: Sequence[Result]) -> list[Fold]:
    """Return what to tell together, in the results' order; what is violated comes first if anything is folded."""
    alike: dict[tuple[str, str, str, str], list[Result]] = {}
    for one in results:
        key = (one.id, one.title, one.verdict.word, one.accepted)
        alike.setdefault(key, []).append(one)
    found = [fold for some in alike.values() for fold in _parted(some)]
    if all(len(one.results) == 1 for one in found):
        return [Fold((one,)) for one in results]
    return sorted(found, key=lambda one: one.results[0].verdict.word != "violated")


def path_of(result: Result) -> Path:
    """Return a result's path, empty where it has none."""
    return () if isinstance(result.verdict, Holds) else result.verdict.path


def _parted(results: Sequence[Result]) -> Iterator[Fold]:
    # What has no path is about the image as a whole: it stands for itself.
    drawn = [one for one in results if path_of(one)]
    parts: dict[str, list[Result]] = {}
    for one in drawn:
        parts.setdefault(_comes_to(one), []).append(one)
    if len(drawn) <= _MANY or len(parts) == len(drawn):
        yield from (Fold((one,)) for one in results)
        return
    rows = [(name, tuple(some)) for name, some in parts.items()]
    rows.sort(key=lambda row: (-len(row[1]), row[0]))
    yield Fold(tuple(drawn), tuple(rows))
    yield from (Fold((one,)) for one in results if not path_of(one))


def _comes_to(result: Result) -> str:
    """Return the callee that a path ends with, else what happens there."""
    last = path_of(result)[-1]
    return last.callee or last.what
