"""Compile the body of one atomic step: guards and effects, with its choices made."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from nostale.prove import language
from nostale.prove.expressions import (
    RecordAt,
    Scope,
    World,
    arguments,
    as_expr,
    bound,
    entered,
    evaluate,
    is_dynamic,
    known_sequence,
    place,
)
from nostale.prove.ir import (
    Assume,
    Binary,
    Const,
    Expr,
    If,
    Let,
    Load,
    Note,
    Op,
    Site,
    Store,
    StoreAt,
    Unary,
    Violate,
    interval,
)
from nostale.prove.language import Variable
from nostale.prove.source import Source, statements


@dataclass(slots=True)
class Strand:
    """One way through an atomic body: its choices are made, its operations known.

    Args:
        names: what names stand for by now.
        ops: what it does so far.
        chosen: the values taken at each choice, in order, to tell strands apart.
        value: what the body returns.
        returned: whether it has returned; nothing after that is run.
    """

    names: dict[str, Any]
    ops: list[Op] = field(default_factory=list)
    chosen: tuple[object, ...] = ()
    value: object = None
    returned: bool = False

    def copy(self) -> Strand:
        """Return an independent copy."""
        return Strand(dict(self.names), list(self.ops), self.chosen, self.value, self.returned)


def strands(body: Sequence[ast.stmt], scope: Scope, world: World) -> list[Strand]:
    """Compile the body of one atomic step; choices and calls of helpers that choose give several strands."""
    return _Body(scope.source, world).run(body, [Strand(dict(scope.names))])


@dataclass(slots=True)
class _Body:
    source: Source
    world: World

    def run(self, body: Sequence[ast.stmt], live: list[Strand]) -> list[Strand]:
        for statement in body:
            live = [
                after for strand in live for after in ([strand] if strand.returned else self.one(statement, strand))
            ]
        return live

    def one(self, node: ast.stmt, strand: Strand) -> list[Strand]:
        scope = Scope(self.source, strand.names)
        match node:
            case ast.Pass():
                return [strand]
            case ast.Expr(ast.Constant()):
                return [strand]
            case ast.Expr(ast.Call() as call):
                return self.called(call, strand)[0]
            case ast.Assign([target], value):
                return self.assign(target, value, strand)
            case ast.AnnAssign(target=target, value=value) if value is not None:
                return self.assign(target, value, strand)
            case ast.AugAssign(target, operation, value):
                read = ast.copy_location(ast.BinOp(_as_read(target), operation, value), node)
                ast.fix_missing_locations(read)
                return self.assign(target, read, strand)
            case ast.If():
                return self.branch(node, strand)
            case ast.For(target=target, iter=sequence, body=body, orelse=[]):
                live = [strand]
                for item in known_sequence(sequence, scope, self.world):
                    for one in live:
                        # What a row holds is read when its turn comes.
                        one.names.update(bound(target, self.kept(item, one), scope))
                    live = self.run(body, live)
                return live
            case ast.Return():
                strand.value = evaluate(node.value, scope, self.world) if node.value else None
                strand.returned = True
                return [strand]
            case ast.With():
                # An atomic block inside a step that is atomic already changes nothing.
                return self.run(node.body, [strand])
        raise self.source.refuse(node, "a step is made of assignments, if, for over a range, wait, event and helpers")

    def called(self, node: ast.Call, strand: Strand) -> tuple[list[Strand], list[object]]:
        """Run a call as a statement; return the strands after it and the value in each."""
        scope = Scope(self.source, strand.names)
        function = evaluate(node.func, scope, self.world)
        if self.world.takes_away(node, function, scope):
            return [strand], [None]
        if function is language.wait:
            (condition,) = arguments(node, scope, self.world)[0]
            strand.ops.append(Assume(as_expr(condition, self.source, node)))
            return [strand], [None]
        if function is language.event:
            strand.ops += event_ops(node, scope, self.world)
            return [strand], [None]
        if function is language.choose:
            return self.choices(node, strand)
        positional, named = arguments(node, scope, self.world)
        inner = entered(
            node,
            function,
            [self.kept(v, strand) for v in positional],
            {name: self.kept(v, strand) for name, v in named.items()},
            scope,
        )
        inside = replace(strand.copy(), names=inner.names, value=None, returned=False)
        after = _Body(inner.source, self.world).run(statements(inner.source), [inside])
        values = [one.value for one in after]
        for one in after:
            one.names, one.value, one.returned = dict(strand.names), None, False
        return after, values

    def kept(self, value: object, strand: Strand) -> object:
        """Fix a value that is read now, so that later writes of what it was read from do not change it."""
        if isinstance(value, tuple):
            return tuple(self.kept(item, strand) for item in value)
        if not is_dynamic(value) or isinstance(value, Const):
            return value
        temp = self.world.new_temp(*interval(value, self.world.slots))
        strand.ops.append(Let(temp.number, value))
        return temp

    def choices(self, node: ast.Call, strand: Strand) -> tuple[list[Strand], list[object]]:
        scope = Scope(self.source, strand.names)
        values = list(known_sequence(node.args[0], scope, self.world))
        after = [replace(strand.copy(), chosen=(*strand.chosen, value)) for value in values]
        return after, values

    def assign(self, target: ast.expr, value: ast.expr, strand: Strand) -> list[Strand]:
        scope = Scope(self.source, strand.names)
        if isinstance(value, ast.Call) and not _is_expression_call(value, scope, self.world):
            after, values = self.called(value, strand)
        else:
            after, values = [strand], [evaluate(value, scope, self.world)]
        for one, result in zip(after, values):
            self.put(target, result, one)
        return after

    def put(self, target: ast.expr, value: object, strand: Strand) -> None:
        if isinstance(target, ast.Name):
            strand.names[target.id] = self.kept(value, strand)
            return
        strand.ops.append(
            store(target, as_expr(value, self.source, target), Scope(self.source, strand.names), self.world)
        )

    def branch(self, node: ast.If, strand: Strand) -> list[Strand]:
        condition = evaluate(node.test, Scope(self.source, strand.names), self.world)
        if not is_dynamic(condition):
            return self.run(node.body if condition else node.orelse, [strand])
        for statement in (*node.body, *node.orelse):
            for part in ast.walk(statement):
                if isinstance(part, ast.Return):
                    raise self.source.refuse(part, "return at the end only, where a branch is known only at run time")
                for name in assigned(part):
                    raise self.source.refuse(
                        node,
                        f"{name!r} is assigned in a branch that is known only at run time; write "
                        "`name = a if condition else b`",
                    )
        then = self.run(node.body, [replace(strand.copy(), ops=[])])
        other = self.run(node.orelse, [replace(strand.copy(), ops=[])])
        if len(then) == 1 and len(other) == 1:
            strand.ops.append(If(condition, tuple(then[0].ops), tuple(other[0].ops)))
            return [strand]
        # With choices inside, each side becomes steps of its own: a product of both sides' choices would be false.
        return [
            replace(one, ops=[*strand.ops, Assume(test), *one.ops])
            for test, side in ((condition, then), (Unary("not", condition), other))
            for one in side
        ]


def _as_read(target: ast.expr) -> ast.expr:
    text = ast.unparse(target)
    read = ast.parse(text, mode="eval").body
    return ast.copy_location(read, target)


def _is_expression_call(node: ast.Call, scope: Scope, world: World) -> bool:
    function = evaluate(node.func, scope, world)
    if function in (language.choose, language.wait, language.event):
        return False
    if isinstance(function, type) or not (hasattr(function, "__code__") or hasattr(function, "__func__")):
        return True
    body = statements(entered(node, function, *_unevaluated(node), scope).source)
    return len(body) == 1 and isinstance(body[0], ast.Return)


def _unevaluated(node: ast.Call) -> tuple[list[Any], dict[str, Any]]:
    return [None for _ in node.args], {keyword.arg: None for keyword in node.keywords if keyword.arg}


def store(target: ast.expr, value: Expr, scope: Scope, world: World) -> Op:
    """Compile an assignment to the state.

    Raises:
        BadInput: the target is not part of the state.
    """
    site = scope.source.site(target)
    if isinstance(target, ast.Attribute):
        owner = evaluate(target.value, scope, world)
        if isinstance(owner, RecordAt):
            row = owner.field(target.attr, scope.source, target)
            return StoreAt(world.at[id(row[0])], len(row), owner.index, value, site)
        held = getattr(owner, target.attr, None)
        if isinstance(held, Variable):
            return Store(world.at[id(held)], value, site)
    if isinstance(target, ast.Subscript):
        items, index = place(target, scope, world)
        if all(isinstance(item, Variable) for item in items):
            if is_dynamic(index):
                return StoreAt(world.at[id(items[0])], len(items), index, value, site)
            return Store(world.at[id(items[int(index)])], value, site)  # type: ignore[call-overload]
    raise scope.source.refuse(target, "assign to a variable made in build() with flag, upto, one_of or array")


def event_ops(node: ast.Call, scope: Scope, world: World) -> list[Op]:
    """Compile `event(...)`: step the automaton of every instance that agrees with the keys given.

    Raises:
        BadInput: no contract of the model has that event, or the keys are not the event's.
    """
    (name,), keys = arguments(node, scope, world)
    ops: list[Op] = []
    for number, (bind, first) in enumerate(world.binds):
        contract = bind.binding.contract
        if name not in {event.name for event in contract.events}:
            continue
        declared = contract.event(name)
        if set(keys) != set(declared.keys):
            raise scope.source.refuse(node, f"{name} is keyed by {', '.join(declared.keys) or 'nothing'}")
        ops.append(Note(f"{name}: {declared.what}"))
        states = contract.automaton.states
        for offset, instance in enumerate(product(*(range(bind.domains[key]) for key in contract.keys))):
            values = dict(zip(contract.keys, instance))
            if any(not is_dynamic(value) and value != values[key] for key, value in keys.items()):
                continue
            moved = _moved(
                Load(first + offset), first + offset, name, states, number, bind, world, scope.source.site(node)
            )
            tests = [Binary("==", value, Const(values[key])) for key, value in keys.items() if is_dynamic(value)]
            for test in tests:
                moved = (If(test, moved, ()),)
            ops += moved
    if not ops:
        known = sorted({event.name for bind, _ in world.binds for event in bind.binding.contract.events})
        raise scope.source.refuse(
            node, f"the model's contracts have {', '.join(known) or 'no events: add contracts()'}"
        )
    return ops


def _moved(
    state: Expr,
    slot: int,
    name: str,
    states: tuple[str, ...],
    number: int,
    bind: language.Bind,
    world: World,
    site: Site,
) -> tuple[Op, ...]:
    automaton = bind.binding.contract.automaton
    ops: tuple[Op, ...] = ()
    for index, word in enumerate(states):
        following = automaton.step(word, name)
        if following == word:
            continue
        effect: Op = (
            Violate(world.properties[number, name])
            if following is None
            else Store(slot, Const(states.index(following)), site)
        )
        ops = (If(Binary("==", state, Const(index)), (effect,), ops),)
    return ops


def assigned(node: ast.AST) -> list[str]:
    """Return the names that a statement assigns; those of loops are their own."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]
