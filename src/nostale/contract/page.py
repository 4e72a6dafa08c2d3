"""A page of explanation: fixed headings, so that `explain`, the catalogue and the documents come from one object."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """What there is to say of one contract, rule, requirement, model or system.

    Args:
        id: as typed after `explain`.
        title: one line.
        sections: (heading, text) in order; empty texts are left out when rendered.
    """

    id: str
    title: str
    sections: tuple[tuple[str, str], ...]
