"""Compile a model into a system of rules: lay out the state, then its processes, rules and properties."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

from nostale.contract import BadInput, Role
from nostale.prove.behaviour import behaviour, marked, owners, scope_of
from nostale.prove.expressions import Removable, World, as_expr, evaluate
from nostale.prove.ir import (
    Expr,
    Predicate,
    Slot,
    System,
    Unary,
    interval,
    unsafe_index,
)
from nostale.prove.language import Bind, Count, Model
from nostale.prove.source import statements
from nostale.prove.variables import lay_out


@dataclass(frozen=True, slots=True)
class Property:
    """One question a model asks.

    Args:
        number: as in the system.
        kind: `never`, `always`, `sometimes`, `deadlock` or `contract`.
        name: its part of the id after the dot.
        title: the promise in a line.
        why: why a violation matters.
        bind, event: of a contract: which, and the event that must have an edge.
    """

    number: int
    kind: str
    name: str
    title: str
    why: str
    bind: Bind | None = None
    event: str = ""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A model ready to be explored."""

    model: Model
    system: System
    properties: tuple[Property, ...]
    removable: tuple[Removable, ...]


def compile_model(model: Model, removed: frozenset[str] = frozenset()) -> Compiled:
    """Compile a model, without the calls that are `removed` (keys of `Removable`).

    Raises:
        BadInput: something is outside the language; where, what was written and what to write instead.
    """
    world = World(removed=removed)
    for name, value in vars(model).items():
        lay_out(name, value, world)
    properties = _contract_properties(model, world)
    rules, ended = behaviour(model, world)
    predicates = []
    asked = [pair for _, owner in owners(model) for pair in marked(owner, ("never", "always", "sometimes"))]
    for function, mark in asked:
        condition = _condition(function, world)
        number = len(properties)
        properties.append(Property(number, mark.kind, mark.name, mark.title, mark.why))
        kind = "sometimes" if mark.kind == "sometimes" else "never"
        predicates.append(Predicate(number, kind, Unary("not", condition) if mark.kind == "always" else condition))
    properties.append(
        Property(
            len(properties),
            "deadlock",
            "no-deadlock",
            "somebody can always go on, or all are done",
            "everybody waits for somebody",
        )
    )
    if not rules:
        raise BadInput(f"model {type(model).__name__}", "it has no process and no rule, so nothing can happen")
    system = System(
        type(model).__name__,
        tuple(world.slots),
        tuple(rules),
        tuple(predicates),
        len(properties),
        ended,
        _symmetric(model, world),
    )
    return Compiled(model, system, tuple(properties), tuple(world.removable.values()))


def _symmetric(model: Model, world: World) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Return the groups that the model declares interchangeable, as slots of each member."""
    groups = []
    for name in model.interchangeable:
        if name not in model.parameters():
            raise BadInput(f"model {type(model).__name__}", f"interchangeable names {name!r}, which is no parameter")
        members = [tuple(slots) for _, slots in sorted(world.members.get(name, {}).items())]
        if len(members) != getattr(model, name) or len({len(member) for member in members}) != 1:
            raise BadInput(
                f"model {type(model).__name__}",
                f"nothing of it is per {name}, or not the same of each",
                remedy=f"make its rows with array(self.{name}, ...)",
            )
        owned = [slot for member in members for slot in member]
        if len(set(owned)) != len(owned):
            twice = next(world.slots[slot].name for slot in owned if owned.count(slot) > 1)
            raise BadInput(
                f"model {type(model).__name__}",
                f"{twice} belongs to two of the interchangeable {name}",
                remedy=f"sorting cannot exchange a row of {name} by {name}; leave {name} out of interchangeable",
            )
        groups.append(tuple(members))
    return tuple(groups)


def _contract_properties(model: Model, world: World) -> list[Property]:
    properties: list[Property] = []
    for bind in model.contracts():
        contract = bind.binding.contract
        if set(bind.domains) != set(contract.keys):
            raise BadInput(
                f"model {type(model).__name__}",
                f"{contract.id} has the keys {', '.join(contract.keys)}",
                remedy="give each the number of its values in contracts()",
            )
        first = len(world.slots)
        world.binds.append((bind, first))
        states = contract.automaton.states
        for instance in product(*(range(bind.domains[key]) for key in contract.keys)):
            for key, value in zip(contract.keys, instance):
                if isinstance(size := bind.domains[key], Count):
                    world.belongs(size.name, value, [len(world.slots)])
            keyed = ", ".join(f"{key} {value}" for key, value in zip(contract.keys, instance))
            world.slots.append(Slot(f"view of {keyed}", 0, len(states) - 1, states.index(bind.binding.start), states))
        for event in contract.events:
            if event.name in contract.automaton.events and _can_break(bind, event.name):
                world.properties[len(world.binds) - 1, event.name] = len(properties)
                role = f" ({event.role} by {event.name})" if event.role in (Role.USE, Role.RELY) else f" ({event.name})"
                properties.append(
                    Property(
                        len(properties),
                        "contract",
                        contract.id.split(".", 1)[1],
                        contract.title + role,
                        contract.why,
                        bind,
                        event.name,
                    )
                )
    return properties


def _can_break(bind: Bind, event: str) -> bool:
    automaton = bind.binding.contract.automaton
    return any(automaton.step(state, event) is None for state in automaton.states)


def _condition(function: Callable[..., Any], world: World) -> Expr:
    scope = scope_of(function, ())
    body = statements(scope.source)
    last = body[-1]
    if len(body) != 1 or not hasattr(last, "value") or last.value is None:
        raise BadInput(
            inspect.unwrap(function).__qualname__,
            "is not a single return of a condition",
            remedy="write `return ...`, with helpers for its parts",
        )
    condition = as_expr(evaluate(last.value, scope, world), scope.source, last)
    # In every state, also in those where a step would never look: so the ranges alone must do.
    if unsafe := unsafe_index(condition, world.slots):
        low, high = interval(unsafe.index, world.slots)
        raise BadInput(
            str(unsafe.site),
            f"the index may be {low} to {high}, the row has {unsafe.size} elements",
            remedy="give the index variable the row's range",
        )
    return condition
