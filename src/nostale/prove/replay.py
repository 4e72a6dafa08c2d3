"""Replay a path with the interpreter before anyone sees it, and tell it: who did what, and only what changed."""

from __future__ import annotations

from nostale.contract import Changed, Path, Step
from nostale.prove import interpreter
from nostale.prove.frontend import Property
from nostale.prove.interpreter import State
from nostale.prove.ir import Predicate, System


class Disagreement(AssertionError):
    """A path does not do what the explorer said of it: a fault of nostale, never shown as a verdict."""


def replay(system: System, way: tuple[int, ...], asked: Property) -> Path:
    """Walk `way` from the initial state and check that it ends in what `asked` forbids (or, for a scene, seeks).

    Raises:
        Disagreement: a rule is not enabled on the way, or the end is not what it must be.
    """
    state, broken = system.initial, tuple[int, ...]()
    steps: list[Step] = []
    for number in way:
        effect = interpreter.apply(system, state, number)
        if effect is None:
            raise Disagreement(f"{system.rules[number].name} is not enabled where the explorer took it")
        rule = system.rules[number]
        steps.append(
            Step(
                observer=rule.lane,
                place=rule.name,
                what=rule.what,
                why="; ".join(effect.notes),
                source=str(rule.site),
                changed=changes(system, state, effect.state),
            )
        )
        state, broken = effect.state, effect.broken
    if not _arrived(system, state, broken, asked):
        raise Disagreement(f"the path to {asked.name} does not end there")
    return tuple(steps)


def changes(system: System, before: State, after: State) -> tuple[Changed, ...]:
    """Return what differs between two states, without the counters that the places already tell."""
    return tuple(
        Changed(slot.name, slot.say(old), slot.say(new))
        for slot, old, new in zip(system.slots, before, after)
        if old != new and slot.shown
    )


def _arrived(system: System, state: State, broken: tuple[int, ...], asked: Property) -> bool:
    if asked.kind == "contract":
        return asked.number in broken
    if asked.kind == "deadlock":
        stuck = all(interpreter.apply(system, state, number) is None for number in range(len(system.rules)))
        return stuck and not interpreter.holds(system, state, system.ended)
    predicate: Predicate = next(one for one in system.predicates if one.number == asked.number)
    return interpreter.holds(system, state, predicate.condition)
