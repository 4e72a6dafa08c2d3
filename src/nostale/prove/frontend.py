"""Compile a model into a system of rules: lay out the state, then its processes, rules and properties."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import product
from math import prod
from typing import Any

from nostale.contract import BadInput, Role
from nostale.prove.expressions import Scope, World, as_expr, evaluate
from nostale.prove.ir import (
    Assume,
    Binary,
    Const,
    Expr,
    Load,
    Op,
    Predicate,
    Rule,
    Slot,
    Store,
    System,
    Unary,
    interval,
    unsafe_index,
)
from nostale.prove.language import Bind, Cells, Component, Marked, Model, Variable
from nostale.prove.source import headline, source_of, statements
from nostale.prove.steps import Edge, Flow, flow, strands


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


def compile_model(model: Model) -> Compiled:
    """Compile a model.

    Raises:
        BadInput: something is outside the language; where, what was written and what to write instead.
    """
    world = World()
    for name, value in _own(model):
        _lay_out(name, value, world)
    properties = _contract_properties(model, world)
    rules, ended = _behaviour(model, world)
    predicates = []
    for function, marked in _marked(model, ("never", "always", "sometimes")):
        condition = _condition(function, world)
        number = len(properties)
        properties.append(Property(number, marked.kind, marked.name, marked.title, marked.why))
        kind = "sometimes" if marked.kind == "sometimes" else "never"
        predicates.append(Predicate(number, kind, Unary("not", condition) if marked.kind == "always" else condition))
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
    system = System(type(model).__name__, tuple(world.slots), tuple(rules), tuple(predicates), len(properties), ended)
    return Compiled(model, system, tuple(properties))


def _own(owner: object) -> Iterator[tuple[str, object]]:
    yield from vars(owner).items()


def _lay_out(name: str, value: object, world: World) -> None:
    """Give every variable its slot; rows are consecutive, so that an index can reach into them."""
    match value:
        case Variable(low, high, first, words, shown):
            if id(value) in world.at:
                raise BadInput(name, "one variable under two names", remedy="make one for each")
            if not low <= first <= high:
                raise BadInput(name, f"starts at {first}, outside [{low}, {high}]")
            world.at[id(value)] = len(world.slots)
            world.slots.append(Slot(name, low, high, first, words, shown))
        case Cells(items) | list(items):
            for index, item in enumerate(items):
                _lay_out(f"{name}[{index}]", item, world)
        case Component():
            for inner, item in _own(value):
                _lay_out(f"{name}.{inner}", item, world)


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


def _marked(owner: object, kinds: tuple[str, ...]) -> Iterator[tuple[Callable[..., Any], Marked]]:
    """Yield the marked methods in the order they are written, a base class's first."""
    seen: dict[str, None] = {}
    for base in reversed(type(owner).__mro__):
        for name, value in vars(base).items():
            if isinstance(getattr(value, "nostale", None), Marked):
                seen.setdefault(name)
    for name in seen:
        function = getattr(owner, name)
        if function.nostale.kind in kinds:
            yield function, function.nostale


def _behaviour(model: Model, world: World) -> tuple[list[Rule], Expr]:
    rules: list[Rule] = []
    ends: list[Expr] = []
    owners = [("", model)] + [(f"{name}.", value) for name, value in _own(model) if isinstance(value, Component)]
    for prefix, owner in owners:
        for function, marked in _marked(owner, ("process", "rule")):
            for instance in _instances(owner, marked, function):
                name = prefix + function.__name__ + (f"[{','.join(map(str, instance))}]" if instance else "")
                lane = marked.lane.format(*instance) if instance else marked.lane
                scope = _scope(function, instance)
                if marked.kind == "rule":
                    rules += _rule(function, name, lane, scope, world)
                else:
                    made, end = _process(name, lane, scope, world)
                    rules += made
                    ends += end
    ended = reduce(lambda left, right: Binary("and", left, right), ends) if ends else Const(0)
    return rules, ended


def _instances(owner: object, marked: Marked, function: Callable[..., Any]) -> Iterator[tuple[int, ...]]:
    sizes = []
    for name in marked.per:
        size = getattr(owner, name, None)
        if not isinstance(size, int):
            raise BadInput(function.__qualname__, f"per={name!r} is not a number of {type(owner).__name__}")
        sizes.append(size)
    if prod(sizes) == 0:
        raise BadInput(function.__qualname__, "there would be none of it", remedy=f"set {marked.per[0]} to 1 or more")
    yield from product(*(range(size) for size in sizes))


def _scope(function: Callable[..., Any], instance: tuple[int, ...]) -> Scope:
    source = source_of(function)
    wanted = [argument.arg for argument in source.tree.args.args]
    values = [getattr(function, "__self__", None), *instance]
    if len(wanted) != len(values):
        raise BadInput(function.__qualname__, f"takes {len(wanted) - 1} numbers, `per` gives {len(instance)}")
    return Scope(source, dict(zip(wanted, values)))


def _rule(function: Callable[..., Any], name: str, lane: str, scope: Scope, world: World) -> list[Rule]:
    what = headline(function)
    made = strands(statements(scope.source), scope, world)
    site = scope.source.site(scope.source.tree)
    return [Rule(name + _suffix(strand.chosen), lane, _told(what, scope), site, tuple(strand.ops)) for strand in made]


def _suffix(chosen: tuple[object, ...]) -> str:
    return "/" + ",".join(str(value) for value in chosen) if chosen else ""


def _told(what: str, scope: Scope) -> str:
    known = {name: value for name, value in scope.names.items() if isinstance(value, int | str)}
    try:
        return what.format(**known)
    except (KeyError, IndexError, ValueError):
        return what


def _process(name: str, lane: str, scope: Scope, world: World) -> tuple[list[Rule], list[Expr]]:
    made: Flow = flow(scope, world, name)
    used = sorted({0} | {edge.start for edge in made.edges} | {edge.end for edge in made.edges})
    number = {location: index for index, location in enumerate(used)}
    counter = len(world.slots)
    world.slots.append(Slot(f"{name}.at", 0, max(1, len(used) - 1), 0, shown=False))
    rules = [_edge_rule(edge, number, counter, name, lane, scope) for edge in made.edges]
    end = [] if made.end is None else [Binary("==", Load(counter), Const(number[made.end]))]
    return rules, list(end)


def _edge_rule(edge: Edge, number: dict[int, int], counter: int, name: str, lane: str, scope: Scope) -> Rule:
    here: Op = Assume(Binary("==", Load(counter), Const(number[edge.start])))
    there: Op = Store(counter, Const(number[edge.end]), edge.site)
    label = f"{name}:{edge.site.line}" + _suffix(edge.chosen)
    return Rule(label, lane, _told(edge.what, scope), edge.site, (here, *edge.ops, there))


def _condition(function: Callable[..., Any], world: World) -> Expr:
    scope = _scope(function, ())
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
