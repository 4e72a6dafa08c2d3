"""Every numbered requirement of the source threads: what checks it, and what that says now."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from nostale.contract import Answer, Checked, Requirement
from nostale.systems.names import model_name, named_models
from nostale.systems.system import System

if TYPE_CHECKING:
    from nostale.prove import Model

_NOT_YET = frozenset({"entry", "accel"})  # systems whose issue is still to come


def checked(systems: Sequence[System], prove: Callable[[Model], Answer]) -> Iterator[Checked]:
    """Yield every requirement of every system, in their order.

    Args:
        prove: runs one model; each is run once, with its defaults.
    """
    said: dict[type[Model], Answer] = {}
    for system in systems:
        for requirement in system.requirements():
            by = tuple(checks(systems, requirement))
            models = _models(systems, requirement.id)
            for model in models:
                if model not in said:
                    said[model] = prove(model())
            verdict, why = _verdict(system, requirement, by, [(model, said[model].verdict) for model in models])
            yield Checked(requirement.id, system.name, requirement.text, by, verdict, why)


def checks(systems: Sequence[System], requirement: Requirement) -> Iterator[tuple[str, str]]:
    """Yield what checks a requirement, as (kind, name): contracts, their rules and monitors, models, texts."""
    for system in systems:
        for contract in system.contracts:
            if requirement.id in contract.requirements:
                yield "contract", contract.id
                yield from (("rule", rule.id) for rule in system.rules() if rule.contract is contract)
                yield from (("monitor", contract.id) for watched in system.watched if watched is contract)
    yield from (("model", model_name(model)) for model in _models(systems, requirement.id))
    yield from requirement.also


def _models(systems: Sequence[System], requirement: str) -> list[type[Model]]:
    """Return the models that check it: by a contract that they are bound to, or by their own properties."""
    ours = {system.name for system in systems}
    every = named_models()
    return [model for name, model in every.items() if model.system in ours and requirement in _requirements(name)]


@functools.cache
def _requirements(name: str) -> frozenset[str]:
    model = named_models()[name]
    bound = [id for bind in model().contracts() for id in bind.binding.contract.requirements]
    return frozenset((*model.requirements, *bound))


def _verdict(
    system: System, requirement: Requirement, by: Sequence[tuple[str, str]], models: Sequence[tuple[type[Model], str]]
) -> tuple[str, str]:
    kinds = {kind for kind, _ in by}
    needs = [f"{word} with {thing}" for kind, word, thing in _ELSEWHERE if kind in kinds]
    if models:
        words = {word for _, word in models}
        verdict = next((word for word in ("violated", "unknown") if word in words), "holds")
        told = "; ".join(f"{model_name(model)} {word}" for model, word in models)
        return verdict, "; ".join([told, *needs])
    if requirement.unchecked:
        return "unknown", requirement.unchecked
    if needs:
        return "unknown", "; ".join(needs)
    if "document" in kinds:
        return "unknown", "a text, for a reader to judge"
    return "not yet", "in an issue of its own" if system.name in _NOT_YET else "nothing checks it yet"


_ELSEWHERE = (
    ("rule", "nostale lint", "an image"),
    ("monitor", "nostale watch", "a trace"),
    ("command", "the command", "its input"),
)
