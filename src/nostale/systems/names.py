"""What a user types for a model: the system for its first one, else the system and the class, as `codegen.user-jit`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nostale.systems.catalogue import SYSTEMS

if TYPE_CHECKING:
    from nostale.prove import Model


def named_models() -> dict[str, type[Model]]:
    """Return the systems' own models by the name to type."""
    return {name: model for system in SYSTEMS for name, model in _named(system.name, system.models())}


def model_name(model: type[Model]) -> str:
    """Return the name of one of the systems' own models.

    Raises:
        KeyError: it is none of them.
    """
    return {one: name for name, one in named_models().items()}[model]


def typed(name: str, variant: str, settings: Iterable[tuple[str, str]]) -> str:
    """Return a run as a user types it after `nostale prove`."""
    return name + (f":{variant}" if variant else "") + "".join(f" --set {key}={value}" for key, value in settings)


def _named(system: str, models: Iterable[type[Model]]) -> list[tuple[str, type[Model]]]:
    return [(f"{system}.{_kebab(one.__name__)}" if at else system, one) for at, one in enumerate(models)]


def _kebab(name: str) -> str:
    """`KthreadUseMm` is `kthread-use-mm`, `RXReuse` is `rx-reuse`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()
