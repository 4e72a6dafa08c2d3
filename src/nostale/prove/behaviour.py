"""Compile what a model does: its rules, its processes, and the interrupts that come between their steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import product
from math import prod
from typing import Any

from nostale.contract import BadInput
from nostale.prove.atomic import strands
from nostale.prove.expressions import CHAIN, IN_PROCESS, Scope, World
from nostale.prove.ir import Assume, Binary, Const, Expr, Load, Op, Rule, Slot, Store
from nostale.prove.language import Cells, Component, Count, Marked, Model
from nostale.prove.processes import Edge, Flow, flow
from nostale.prove.source import headline, source_of, statements


@dataclass(slots=True)
class Thread:
    """One process or interrupt handler with its steps compiled, before it is known who interrupts it.

    Args:
        name: unique, with the numbers it is for.
        method: the name of the method it was written as.
        instance: those numbers.
        mark: how it was marked.
        lane: whose steps these are.
        scope: its function's.
        made: its steps.
        number: its locations, numbered without gaps; 0 is where it starts.
        counter: the slot that holds its location.
        budget: how often it may come, None for any number of times.
    """

    name: str
    method: str
    instance: tuple[int, ...]
    mark: Marked
    lane: str
    scope: Scope
    made: Flow
    number: dict[int, int]
    counter: int
    budget: int | None = None


def behaviour(model: Model, world: World) -> tuple[list[Rule], Expr]:
    """Return every rule, processes' steps among them, and when having nothing left to do is no deadlock."""
    rules: list[Rule] = []
    threads: list[Thread] = []
    for prefix, owner in owners(model):
        for function, mark in marked(owner, ("process", "interrupt", "rule")):
            for instance in _instances(owner, mark, function):
                name = prefix + function.__name__ + (f"[{','.join(map(str, instance))}]" if instance else "")
                lane = mark.lane.format(*instance) if instance else mark.lane
                scope = scope_of(function, instance)
                scope.names |= {CHAIN: prefix + function.__name__, IN_PROCESS: mark.kind != "rule"}
                if mark.kind == "rule":
                    rules += _rule(function, name, lane, scope, world)
                    continue
                first = len(world.slots)
                threads.append(_thread(name, function, instance, mark, lane, scope, owner, world))
                for per, member in zip(mark.per, instance):
                    size = getattr(owner, per)
                    named = size.name if isinstance(size, Count) else per
                    world.belongs(named, member, range(first, len(world.slots)))
    _check_targets(threads)
    rules += [rule for thread in threads for rule in _steps(thread, threads)]
    ends = [end for thread in threads if thread.mark.kind == "process" for end in _end(thread)]
    ended = reduce(lambda left, right: Binary("and", left, right), ends) if ends else Const(0)
    return rules, ended


def owners(model: Model) -> Iterator[tuple[str, object]]:
    """Yield the model and every component in it once, with the prefix of its names."""
    yield "", model
    seen: set[int] = set()
    for name, value in vars(model).items():
        yield from _components(name, value, seen)


def _components(name: str, value: object, seen: set[int]) -> Iterator[tuple[str, object]]:
    if isinstance(value, Component) and id(value) not in seen:
        seen.add(id(value))
        yield f"{name}.", value
        for inner, held in vars(value).items():
            yield from _components(f"{name}.{inner}", held, seen)
    elif isinstance(value, Cells | list):
        for index, item in enumerate(value.items if isinstance(value, Cells) else value):
            yield from _components(f"{name}[{index}]", item, seen)


def _thread(
    name: str,
    function: Callable[..., Any],
    instance: tuple[int, ...],
    mark: Marked,
    lane: str,
    scope: Scope,
    owner: object,
    world: World,
) -> Thread:
    made = flow(scope, world, name)
    if mark.kind == "interrupt":
        if made.end is None:
            raise BadInput(function.__qualname__, "an interrupt handler that never returns", remedy="end it")
        made.merge(made.end, 0)
    used = sorted({0} | {edge.start for edge in made.edges} | {edge.end for edge in made.edges})
    counter = len(world.slots)
    world.slots.append(Slot(f"{name}.at", 0, max(1, len(used) - 1), 0, shown=False))
    number = {location: index for index, location in enumerate(used)}
    thread = Thread(name, function.__name__, instance, mark, lane, scope, made, number, counter)
    if mark.budget:
        most = int(getattr(owner, mark.budget))
        world.slots.append(Slot(f"{name}.came", 0, most, 0, shown=False))
        thread.budget = most
    return thread


def _check_targets(threads: list[Thread]) -> None:
    for handler in threads:
        for target in handler.mark.into:
            if not any(_interrupts(handler, thread) and thread.method == target for thread in threads):
                raise BadInput(
                    handler.name,
                    f"interrupts {target!r}, which is no process of the same numbers",
                    remedy="name the process, and give both the same per=",
                )


def _interrupts(handler: Thread, target: Thread) -> bool:
    return target.method in handler.mark.into and target.instance == handler.instance


def _steps(thread: Thread, threads: list[Thread]) -> Iterator[Rule]:
    """Yield a thread's steps: it goes on only while no handler is on top of it."""
    idle: list[Op] = [Assume(Binary("==", Load(one.counter), Const(0))) for one in threads if _interrupts(one, thread)]
    below = [one for one in threads if _interrupts(thread, one)]
    for edge in thread.made.edges:
        enters = thread.mark.kind == "interrupt" and edge.start == 0
        entry = _entry(thread, below, edge) if enters else []
        here: Op = Assume(Binary("==", Load(thread.counter), Const(thread.number[edge.start])))
        there: Op = Store(thread.counter, Const(thread.number[edge.end]), edge.site)
        label = f"{thread.name}:{edge.lines}" + _suffix(edge.chosen)
        body = (here, *idle, *entry, *edge.ops, there)
        yield Rule(label, thread.lane, edge.what, edge.site, body)


def _entry(handler: Thread, below: list[Thread], edge: Edge) -> list[Op]:
    """Return when a handler may come, and that it has come."""
    ops: list[Op] = []
    if handler.mark.at == "boundaries":
        for target in below:
            places: list[Expr] = [
                Binary("==", Load(target.counter), Const(target.number[location]))
                for location in sorted(target.made.boundaries & set(target.number))
                if location or target.mark.kind == "process"  # a handler at its start has not come yet
            ]
            if not places:
                raise BadInput(
                    handler.name,
                    f"comes at boundaries, and {target.name} has none",
                    remedy="mark them with boundary(), or let it come at every step",
                )
            ops.append(Assume(reduce(lambda left, right: Binary("or", left, right), places)))
    elif all(target.mark.kind == "interrupt" for target in below):
        running: list[Expr] = [Binary("!=", Load(target.counter), Const(0)) for target in below]
        ops.append(Assume(reduce(lambda left, right: Binary("or", left, right), running)))
    if handler.budget is not None:
        came = Load(handler.counter + 1)
        ops.append(Assume(Binary("<", came, Const(handler.budget))))
        ops.append(Store(handler.counter + 1, Binary("+", came, Const(1)), edge.site))
    return ops


def _end(thread: Thread) -> list[Expr]:
    if thread.made.end is None:
        return []
    return [Binary("==", Load(thread.counter), Const(thread.number[thread.made.end]))]


def marked(owner: object, kinds: tuple[str, ...]) -> Iterator[tuple[Callable[..., Any], Marked]]:
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


def _instances(owner: object, mark: Marked, function: Callable[..., Any]) -> Iterator[tuple[int, ...]]:
    sizes = []
    for name in mark.per:
        size = getattr(owner, name, None)
        if not isinstance(size, int):
            raise BadInput(function.__qualname__, f"per={name!r} is not a number of {type(owner).__name__}")
        sizes.append(size)
    if prod(sizes) == 0:
        raise BadInput(function.__qualname__, "there would be none of it", remedy=f"set {mark.per[0]} to 1 or more")
    yield from product(*(range(size) for size in sizes))


def scope_of(function: Callable[..., Any], instance: tuple[int, ...]) -> Scope:
    """Return the scope in which a method is compiled: `self`, and the numbers it is for."""
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
