"""The events a contract speaks of: abstract, with a role in the rule and the keys that tell instances apart."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What an event does to an observer's view."""

    CHANGE = "change"  # makes views stale
    SYNC = "sync"  # makes an observer's view fresh
    USE = "use"  # an observer acts on its view
    RELY = "rely"  # a changer acts as if every view were fresh
    OTHER = "other"  # an event of a general automaton, outside the rule


@dataclass(frozen=True, slots=True)
class Event:
    """An abstract event.

    Args:
        name: as it stands on the automaton's edges.
        role: what it does to the view.
        keys: which of the contract's keys an occurrence names. One that names fewer than the contract has reaches
            every instance that agrees on those it names: a `sync` of a CPU is for all its addresses, a `rely` on an
            address is for all CPUs.
        what: one sentence for a reader.
    """

    name: str
    role: Role
    keys: tuple[str, ...]
    what: str
