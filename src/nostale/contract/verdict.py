"""What a run may say: holds, violated or unknown. "Cannot tell" is `Unknown` and never a pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nostale.contract.events import Role
from nostale.contract.path import Path


@dataclass(frozen=True, slots=True)
class Holds:
    """It was looked at everywhere within `bounds`, under `assumptions`, and never broken."""

    bounds: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    word = "holds"


@dataclass(frozen=True, slots=True)
class Violated:
    """It was broken along `path`, by a use or by a rely (None for an automaton outside the rule)."""

    path: Path
    of: Role | None = None
    assumptions: tuple[str, ...] = ()
    word = "violated"


@dataclass(frozen=True, slots=True)
class Unknown:
    """It cannot be told: `why`, what is `missing` to tell, and the path to the doubtful place where there is one."""

    why: str
    missing: tuple[str, ...] = ()
    path: Path = ()
    assumptions: tuple[str, ...] = ()
    word = "unknown"


Verdict = Holds | Violated | Unknown


def worst(words: Iterable[str]) -> str:
    """Return the word of a whole run: violated before unknown before holds; an empty run holds nothing, so unknown.

    >>> worst(["holds", "unknown", "violated"]), worst(["holds"]), worst([])
    ('violated', 'holds', 'unknown')
    """
    found = set(words)
    for word in ("violated", "unknown", "holds"):
        if word in found:
            return word
    return "unknown"
