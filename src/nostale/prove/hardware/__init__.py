"""The hardware that models import: each behaviour with its source, and with what is not modelled."""

from __future__ import annotations

from nostale.prove.hardware.memory import Memory
from nostale.prove.hardware.tso import TSO
from nostale.prove.hardware.weak import Weak

# By the word that a model's parameter takes: `memory = param("tso", "...", choices=tuple(MEMORIES))`.
MEMORIES: dict[str, type[Memory]] = {"sc": Memory, "tso": TSO, "weak": Weak}
