"""Findings that are known and accepted, each with a reason: a TOML file that stands beside the code it is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from nostale.contract.answer import Answer, Result
from nostale.contract.errors import BadInput
from nostale.contract.finding import ARROW, FindingKey, finding_key

_FIELDS = ("id", "place", "verdict", "reason")
_VERDICTS = ("violated", "unknown")
_FORM = "write [[accept]] with " + ", ".join(_FIELDS)


@dataclass(frozen=True, slots=True)
class Accepted:
    """One entry: findings of a rule at a place are accepted, and why.

    Args:
        id: of the rule.
        place: `function` or `function -> callee`, with *, ? and [...] as in file names; "" for what has no place.
        verdict: `violated` or `unknown`: a doubt that was accepted is not a violation that was.
        reason: why it is accepted, for whoever reads the result.
        image: the images it is for, by a pattern of the file's name.
    """

    id: str
    place: str
    verdict: str
    reason: str
    image: str = "*"

    def covers(self, key: FindingKey, target: str) -> bool:
        """Return whether the finding `key` of image `target` is one of these."""
        if (self.id, self.verdict) != (key.id, key.verdict) or not fnmatchcase(target.rsplit("/", 1)[-1], self.image):
            return False
        mine, theirs = self.place.split(ARROW), key.place.split(ARROW)
        return len(mine) == len(theirs) and all(fnmatchcase(there, here) for there, here in zip(theirs, mine))

    def __str__(self) -> str:
        return str(FindingKey(self.id, self.verdict, self.place))


@dataclass(frozen=True, slots=True)
class Baseline:
    """All accepted findings of one file, in its order."""

    where: str
    entries: tuple[Accepted, ...]

    def applied(self, answer: Answer) -> Answer:
        """Mark what is accepted, and say in a note which entries accept nothing any more."""
        used: set[int] = set()
        marked = self._marked(answer, used)
        idle = [str(one) for at, one in enumerate(self.entries) if at not in used]
        notes = tuple(f"{self.where}: accepts nothing any more, remove it: {one}" for one in idle)
        return replace(marked, notes=marked.notes + notes)

    def _marked(self, answer: Answer, used: set[int]) -> Answer:
        return replace(
            answer,
            results=tuple(self._one(result, answer.target, used) for result in answer.results),
            parts=tuple(self._marked(part, used) for part in answer.parts),
        )

    def _one(self, result: Result, target: str, used: set[int]) -> Result:
        key = finding_key(result)
        for at, entry in enumerate(self.entries):
            if key is not None and entry.covers(key, target):
                used.add(at)
                return replace(result, accepted=entry.reason)
        return result


def read_baseline(text: str, where: str) -> Baseline:
    """Read the TOML of a baseline.

    Raises:
        BadInput: not TOML, or an entry that lacks something, above all a reason.
    """
    import tomllib  # here: most runs read none

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(where, f"is not TOML: {error}", remedy=_FORM) from None
    rows = table.get("accept", [])
    others = sorted(set(table) - {"accept"})
    if others or not isinstance(rows, list):
        raise BadInput(where, f"{others[0] if others else 'accept'} is not a list of entries", remedy=_FORM)
    return Baseline(where, tuple(_entry(row, f"{where}: entry {number}") for number, row in enumerate(rows, 1)))


def _entry(row: Mapping[str, Any], where: str) -> Accepted:
    if not isinstance(row, dict) or any(not isinstance(value, str) for value in row.values()):
        raise BadInput(where, "is not a table of texts", remedy=_FORM)
    for field in _FIELDS:
        if field not in row or (field != "place" and not row[field].strip()):
            raise BadInput(where, f"has no {field}", remedy=_FORM)
    unknown = sorted(set(row) - {*_FIELDS, "image"})
    if unknown:
        raise BadInput(where, f"has {unknown[0]!r}, which means nothing here", remedy=_FORM)
    if row["verdict"] not in _VERDICTS:
        raise BadInput(where, f"has the verdict {row['verdict']!r}", remedy=f"write {' or '.join(_VERDICTS)}")
    return Accepted(**row)
