"""Where a claim comes from: a manual, a kernel file, a commit, or a numbered requirement of the source threads."""

from __future__ import annotations

import re
from dataclasses import dataclass

_REQUIREMENT = re.compile(r"^(TI|EN|LT|WD|CG)-[0-9]+[a-c]?$|^[RI][0-9]$")


@dataclass(frozen=True, slots=True)
class Source:
    """A reference a reader can follow: `Source("kernel/entry/common.c, irqentry_enter(), v6.12")`."""

    text: str


@dataclass(frozen=True, slots=True)
class Requirement:
    """One numbered demand, hazard or objection of the five source threads.

    Args:
        id: such as `TI-7`, the number everything else cites.
        text: what it says, in a sentence.
        kind: how it can be checked, or what sort of demand it is.
        also: what else looks at it, as (kind, name): a document, a command.
        unchecked: why nothing can check it; "" where something can.
    """

    id: str
    text: str
    kind: str
    also: tuple[tuple[str, str], ...] = ()
    unchecked: str = ""

    def __post_init__(self) -> None:
        if not _REQUIREMENT.match(self.id):
            raise ValueError(f"{self.id!r} is not a requirement id")
