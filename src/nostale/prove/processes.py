"""Compile a process: sequential code as atomic steps between locations."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from nostale.prove import language
from nostale.prove.atomic import Strand, assigned, strands
from nostale.prove.expressions import (
    CHAIN,
    Scope,
    World,
    arguments,
    as_expr,
    bound,
    entered,
    evaluate,
    is_dynamic,
    is_read,
    known_sequence,
)
from nostale.prove.ir import (
    Assume,
    Const,
    If,
    Let,
    Load,
    Op,
    Site,
    Slot,
    Store,
    StoreAt,
    Unary,
    interval,
    reads,
)
from nostale.prove.source import statements


@dataclass(frozen=True, slots=True)
class Edge:
    """One step of a process between two locations; `lines` leads to it through the helpers that were called."""

    start: int
    end: int
    ops: tuple[Op, ...]
    what: str
    site: Site
    lines: str
    chosen: tuple[object, ...] = ()


@dataclass(slots=True)
class Flow:
    """A process: its steps between locations 0 (where it starts) and `end` (None where it runs for ever).

    `boundaries` are the locations at which it may be interrupted by what does not come at every step.
    """

    edges: list[Edge] = field(default_factory=list)
    locations: int = 1
    end: int | None = 0
    boundaries: set[int] = field(default_factory=set)

    def merge(self, start: int, end: int) -> None:
        """Make two locations one: steps that came to `start` come to `end` instead."""
        self.edges = [replace(e, end=end) if e.end == start else e for e in self.edges]
        if start in self.boundaries:
            self.boundaries = self.boundaries - {start} | {end}

    def drop_unreached(self) -> None:
        """Forget steps that start where nothing leads to, such as those after a return."""
        reached, waiting = {0}, [0]
        while waiting:
            at = waiting.pop()
            following = {edge.end for edge in self.edges if edge.start == at} - reached
            reached |= following
            waiting += following
        self.edges = [edge for edge in self.edges if edge.start in reached]


def flow(scope: Scope, world: World, name: str) -> Flow:
    """Compile a process."""
    maker = _Process(world, name)
    end = maker.function(statements(scope.source), scope, 0)
    maker.made.drop_unreached()
    reached = {0} | {edge.end for edge in maker.made.edges}
    maker.made.end = end if end in reached else None
    return maker.made


@dataclass(slots=True)
class _Process:
    world: World
    name: str
    made: Flow = field(default_factory=Flow)
    exits: list[int] = field(default_factory=list)
    locals: dict[tuple[int, str], int] = field(default_factory=dict)

    def location(self) -> int:
        self.made.locations += 1
        return self.made.locations - 1

    def edge(
        self, start: int, end: int, ops: Iterable[Op], what: str, node: ast.AST, scope: Scope, *chosen: object
    ) -> None:
        _, *callers = str(scope.names.get(CHAIN, "")).split(">")
        site = scope.source.site(node)
        lines = ">".join([*callers, str(site.line)])
        self.made.edges.append(Edge(start, end, tuple(ops), what, site, lines, chosen))

    def block(self, body: Sequence[ast.stmt], scope: Scope, at: int) -> int:
        for statement in body:
            at = self.one(statement, scope, at)
        return at

    def one(self, node: ast.stmt, scope: Scope, at: int) -> int:
        source = scope.source
        match node:
            case ast.Pass() | ast.Expr(ast.Constant()):
                return at
            case ast.Return(value=None):
                return self.returns(node, scope, at)
            case ast.With(items=[ast.withitem(context_expr=ast.Call() as call)]):
                return self.atomic(node, call, scope, at)
            case ast.If():
                condition = evaluate(node.test, scope, self.world)
                if not is_dynamic(condition):
                    return self.block(node.body if condition else node.orelse, scope, at)
                self.one_access(reads(condition), node.test, scope)
                then, other, after = self.location(), self.location(), self.location()
                shown = ast.unparse(node.test)
                self.edge(at, then, [Assume(condition)], f"finds {shown}", node, scope)
                self.edge(at, other, [Assume(Unary("not", condition))], f"finds not ({shown})", node, scope)
                self.made.merge(self.block(node.body, scope, then), after)
                self.made.merge(self.block(node.orelse, scope, other), after)
                return after
            case ast.While(orelse=[]):
                return self.loop(node, scope, at)
            case ast.For(target=target, iter=sequence, body=body, orelse=[]):
                for item in known_sequence(sequence, scope, self.world):
                    if is_read(item):
                        raise source.refuse(node, "a loop of several steps goes over numbers: `for i in range(n)`")
                    at = self.block(body, Scope(source, {**scope.names, **bound(target, item, scope)}), at)
                return at
            case ast.Expr(ast.Call() as call):
                function = evaluate(call.func, scope, self.world)
                if self.world.takes_away(call, function, scope):
                    return at
                if function in (language.wait, language.event, language.choose):
                    return self.step([node], node, "", scope, at)
                if function is language.boundary:
                    self.made.boundaries.add(at)
                    return at
                return self.inlined(call, function, scope, at)
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                return self.step([node], node, "", scope, at)
        raise source.refuse(
            node, "a process is made of assignments, if, while, for over a range, wait, atomic and helpers"
        )

    def returns(self, node: ast.Return, scope: Scope, at: int) -> int:
        """Go to the end of the function; what is written after it is not reached from here."""
        if scope.source.tree.body[-1] is node:
            return at
        self.edge(at, self.exits[-1], [], "returns", node, scope)
        return self.location()

    def function(self, body: Sequence[ast.stmt], scope: Scope, at: int) -> int:
        """Compile a function's body, with one location that every way out of it comes to."""
        self.exits.append(self.location())
        end, exit_ = self.block(body, scope, at), self.exits.pop()
        returned = any(edge.end == exit_ for edge in self.made.edges)
        if not returned:
            return end
        self.made.merge(end, exit_)
        return exit_

    def loop(self, node: ast.While, scope: Scope, at: int) -> int:
        condition = evaluate(node.test, scope, self.world)
        source = scope.source
        before = len(self.made.edges)
        if not is_dynamic(condition):
            if not condition:
                return at
            back = self.block(node.body, scope, at)
            if len(self.made.edges) == before:
                raise source.refuse(node, "the loop takes no step; wait for something or change something in it")
            self.made.merge(back, at)
            return self.location()
        self.one_access(reads(condition), node.test, scope)
        inside, after = self.location(), self.location()
        shown = ast.unparse(node.test)
        self.edge(at, inside, [Assume(condition)], f"finds {shown}", node, scope)
        self.edge(at, after, [Assume(Unary("not", condition))], f"finds not ({shown})", node, scope)
        self.made.merge(self.block(node.body, scope, inside), at)
        return after

    def atomic(self, node: ast.With, call: ast.Call, scope: Scope, at: int) -> int:
        if evaluate(call.func, scope, self.world) is not language.atomic:
            raise scope.source.refuse(node, "only `with atomic():`")
        words = [evaluate(argument, scope, self.world) for argument in call.args]
        return self.step(node.body, node, str(words[0]) if words else "", scope, at, atomic=True)

    def step(
        self, body: Sequence[ast.stmt], node: ast.stmt, what: str, scope: Scope, at: int, *, atomic: bool = False
    ) -> int:
        end = self.location()
        for strand in strands(body, scope, self.world):
            self.keep_locals(strand, scope, node)
            if not atomic and not _is_wait(node):
                self.one_access(_touched(strand.ops), node, scope)
            words = what or ast.unparse(body[0]).split("\n", 1)[0]
            self.edge(at, end, strand.ops, words, node, scope, *strand.chosen)
        return end

    def keep_locals(self, strand: Strand, scope: Scope, node: ast.stmt) -> None:
        """Make locals that outlive their step part of the state; what is known now stays known."""
        varying, wanted = _varying(scope.source.tree), _wanted(scope.source.tree, node)
        for name, value in strand.names.items():
            if name not in wanted:
                continue
            if scope.names.get(name) is value and name not in varying:
                continue
            if isinstance(value, Load) and value == scope.names.get(name):
                continue
            if isinstance(value, tuple) and is_read(value):
                raise scope.source.refuse(
                    node,
                    f"{name!r} holds what was read and is wanted after its step; keep the parts in names of their own",
                )
            if not is_dynamic(value) and name not in varying and not strand.chosen:
                scope.names[name] = value
                continue
            slot = self.local_slot(name, scope)
            low, high = interval(as_expr(value, scope.source, scope.source.tree), self.world.slots)
            held = self.world.slots[slot]
            held.low, held.high = min(held.low, low), max(held.high, high)
            strand.ops.append(
                Store(slot, as_expr(value, scope.source, scope.source.tree), scope.source.site(scope.source.tree))
            )
            scope.names[name] = Load(slot)

    def local_slot(self, name: str, scope: Scope) -> int:
        held = scope.names.get(name)
        if isinstance(held, Load):
            return held.slot
        self.world.slots.append(Slot(f"{self.name}.{name}", 0, 0, 0))
        return len(self.world.slots) - 1

    def inlined(self, node: ast.Call, function: object, scope: Scope, at: int) -> int:
        positional, named = arguments(node, scope, self.world)
        for value in (*positional, *named.values()):
            if is_dynamic(value) and not isinstance(value, Const):
                raise scope.source.refuse(
                    node,
                    "an argument of a helper with several steps must be known when the "
                    "model is compiled; call it inside `with atomic():`, or pass an index",
                )
        inner = entered(node, function, positional, named, scope)
        return self.function(statements(inner.source), inner, at)

    def one_access(self, slots: Iterable[int], node: ast.AST, scope: Scope) -> None:
        own = f"{self.name}."
        shared = {slot for slot in slots if not self.world.slots[slot].name.startswith(own)}
        if len(shared) > 1:
            names = ", ".join(sorted(self.world.slots[slot].name for slot in shared))
            raise scope.source.refuse(
                node,
                f"one statement touches {names}; real code does that in several steps: "
                "split it, or say `with atomic():`",
            )


def _varying(tree: ast.FunctionDef) -> set[str]:
    """Return the names that do not keep one value: assigned twice, or in a `while`."""
    found: list[str] = [name for node in ast.walk(tree) for name in assigned(node)]
    looped = {
        name
        for loop in ast.walk(tree)
        if isinstance(loop, ast.While)
        for node in ast.walk(loop)
        for name in assigned(node)
    }
    return looped | {name for name in found if found.count(name) > 1}


def _wanted(tree: ast.FunctionDef, node: ast.stmt) -> set[str]:
    """Return the names that must outlive `node`: read outside it, or in it before it assigns them."""
    inside = set(map(id, ast.walk(node)))
    outside = {name for part in ast.walk(tree) if id(part) not in inside for name in _read(part)}
    return outside | _exposed([node], set())


def _exposed(body: Sequence[ast.stmt], given: set[str]) -> set[str]:
    """Return the names that may be read before these statements have assigned them."""
    found: set[str] = set()
    for statement in body:
        blocks = [getattr(statement, name, []) for name in ("body", "orelse")]
        if any(blocks):
            heads = [part for name in ("test", "iter", "items") for part in _listed(getattr(statement, name, None))]
            found |= {name for head in heads for part in ast.walk(head) for name in _read(part)} - given
            for block in blocks:
                found |= _exposed(block, set(given))
        if not any(blocks) or isinstance(statement, ast.With):
            if not any(blocks):
                found |= {name for part in ast.walk(statement) for name in _read(part)} - given
            given |= {name for part in ast.walk(statement) for name in assigned(part)}
    return found


def _listed(part: object) -> list[ast.AST]:
    if isinstance(part, list):
        return part
    return [part] if isinstance(part, ast.AST) else []


def _read(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        return [node.id]
    return assigned(node) if isinstance(node, ast.AugAssign) else []


def _is_wait(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)


def _touched(ops: Iterable[Op]) -> Iterable[int]:
    for op in ops:
        match op:
            case Store(slot, value, _):
                yield slot
                yield from reads(value)
            case StoreAt(base, _, index, value, _):
                yield base  # one element of the row, whichever it is
                yield from reads(index)
                yield from reads(value)
            case Let(_, value) | Assume(value):
                yield from reads(value)
            case If(condition, then, other):
                yield from reads(condition)
                yield from _touched(then)
                yield from _touched(other)
            case _:
                pass
