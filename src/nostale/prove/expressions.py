"""Compile expressions: what can be known now is computed by Python, the rest becomes an `ir.Expr`.

A value is one of: a Python object known now; an `ir.Expr`; a `Cells` row of the state, to be indexed. Reading a
`Variable` gives an `ir.Load`.
"""

from __future__ import annotations

import ast
import builtins
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, TypeGuard

from nostale.contract import BadInput
from nostale.prove import language
from nostale.prove.ir import Binary, Choose, Const, Expr, Load, LoadAt, Site, Slot, Temp, Unary, interval
from nostale.prove.language import Bind, Cells, Component, Variable
from nostale.prove.source import Source, source_of, statements

EXPRESSIONS = (Const, Load, LoadAt, Temp, Unary, Binary, Choose)
_PLAIN = (abs, bool, int, len, max, min, range, sorted, sum, tuple, enumerate, zip)
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "==",
    ast.IsNot: "!=",
}
_ARITHMETIC: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
_STATIC: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "+": operator.add, "-": operator.sub, "*": operator.mul,
}  # fmt: skip
_LIBRARY = "nostale.prove.hardware"
CHAIN, IN_PROCESS = "__chain__", "__in_process__"  # of a scope: the calls that led to it, and from what
_WORDS = (language.wait, language.atomic, language.choose, language.event, language.boundary)


@dataclass(frozen=True, slots=True)
class Removable:
    """A call that a model may or may not need.

    Args:
        key: tells it from every other; the same for all numbers of a process or rule.
        kind: `wait`, or what the helper's mark says.
        what: the call as it is written.
        site: where.
    """

    key: str
    kind: str
    what: str
    site: Site

    def __str__(self) -> str:
        callers = self.key.split(">")[1:-1]
        return f"{self.what} at {self.site}" + (f", called from line {', '.join(callers)}" if callers else "")


@dataclass(slots=True)
class World:
    """What is known of the model while it is compiled.

    Args:
        slots: the state vector so far.
        at: slot of each variable, by identity.
        placed: components whose variables have their slots, by identity.
        binds: the model's contracts with the first slot of each one's instances.
        properties: numbers of (bind, event) that a violation has.
        removable: what `--ablate` may take away, by key, as far as it was met.
        removed: keys of what is taken away in this compilation.
        members: of each parameter that rows, processes or contracts are per, the slots of each of its numbers.
    """

    slots: list[Slot] = field(default_factory=list)
    at: dict[int, int] = field(default_factory=dict)
    placed: set[int] = field(default_factory=set)
    binds: list[tuple[Bind, int]] = field(default_factory=list)
    properties: dict[tuple[int, str], int] = field(default_factory=dict)
    removable: dict[str, Removable] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    members: dict[str, dict[int, list[int]]] = field(default_factory=dict)
    temps: int = 0

    def belongs(self, per: str, member: int, slots: Iterable[int]) -> None:
        """Note that these slots are of one number of a parameter."""
        self.members.setdefault(per, {}).setdefault(member, []).extend(slots)

    def takes_away(self, node: ast.Call, function: object, scope: Scope) -> bool:
        """Note a call that may be taken away, and say whether it is."""
        kind = getattr(function, "nostale_removable", "")
        # A wait of the hardware library is how the hardware is, no choice of the protocol.
        library = str(scope.source.globals.get("__name__", "")).startswith(_LIBRARY)
        if function is language.wait and scope.names.get(IN_PROCESS) and not library:
            kind = "wait"
        if not kind:
            return False
        key = f"{scope.names.get(CHAIN, '')}>{node.lineno}:{node.col_offset}"
        self.removable.setdefault(key, Removable(key, kind, ast.unparse(node), scope.source.site(node)))
        return key in self.removed

    def new_temp(self, low: int, high: int) -> Temp:
        """Return a temporary nobody else has."""
        self.temps += 1
        return Temp(self.temps, low, high)


@dataclass(slots=True)
class Scope:
    """Names of one function while it is compiled."""

    source: Source
    names: dict[str, Any]

    def look_up(self, node: ast.Name) -> Any:  # noqa: ANN401  a value is any Python object
        """Return what a name stands for.

        Raises:
            BadInput: nothing of that name is known here.
        """
        for names in (self.names, self.source.globals, vars(builtins)):
            if node.id in names:
                return names[node.id]
        raise self.source.refuse(node, f"nothing called {node.id!r} is known here; assign it first")


@dataclass(frozen=True, slots=True)
class RecordAt:
    """One of a row of records, which one is known only at run time."""

    records: list[Any]
    index: Expr
    site: Site

    def field(self, name: str, source: Source, node: ast.AST) -> list[Any]:
        """Return that field of every record; they lie one after the other in the state.

        Raises:
            BadInput: it is no variable of every record.
        """
        row = [getattr(record, name, None) for record in self.records]
        if not all(isinstance(item, Variable) for item in row):
            raise source.refuse(node, f"{name!r} is not a variable of every record; only those can be reached so")
        return row


def is_dynamic(value: object) -> TypeGuard[Expr]:
    """Whether a value is known only when the model runs."""
    return isinstance(value, EXPRESSIONS)


def as_expr(value: object, source: Source, node: ast.AST) -> Expr:
    """Return a value as an expression.

    Raises:
        BadInput: it is neither a number nor a truth value.
    """
    if isinstance(value, EXPRESSIONS):
        return value
    if isinstance(value, int):
        return Const(int(value))
    raise source.refuse(node, "only numbers, truth values and IntEnum members can be kept or compared")


def evaluate(node: ast.expr, scope: Scope, world: World) -> Any:  # noqa: ANN401
    """Return the value of an expression, computed as far as it can be now."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return _read(scope.look_up(node), world)
        case ast.Attribute():
            return _attribute(node, scope, world)
        case ast.Subscript():
            return _subscript(node, scope, world)
        case ast.BoolOp():
            return _logic(node, scope, world)
        case ast.UnaryOp():
            return _unary(node, scope, world)
        case ast.Compare():
            return _compare(node, scope, world)
        case ast.BinOp():
            return _binary(node, scope, world)
        case ast.IfExp():
            return _choose(node, scope, world)
        case ast.Call():
            return call(node, scope, world)
        case ast.Tuple() | ast.List():
            return tuple(evaluate(item, scope, world) for item in node.elts)
        case ast.JoinedStr():
            return _text(node, scope, world)
        case ast.GeneratorExp() | ast.ListComp():
            return tuple(_comprehension(node, scope, world))
    raise scope.source.refuse(node, "use numbers, comparisons, and/or/not, + - *, indexing and calls of helpers")


def _text(node: ast.JoinedStr, scope: Scope, world: World) -> str:
    """Return an f-string of what is known now: the words of a step."""
    parts = []
    for part in node.values:
        value = evaluate(part.value if isinstance(part, ast.FormattedValue) else part, scope, world)
        if is_dynamic(value) or isinstance(value, Cells):
            raise scope.source.refuse(node, "a step's words can name only what is known when the model is compiled")
        parts.append(str(value))
    return "".join(parts)


def _read(value: object, world: World) -> object:
    return Load(world.at[id(value)]) if isinstance(value, Variable) else value


def _attribute(node: ast.Attribute, scope: Scope, world: World) -> object:
    owner = evaluate(node.value, scope, world)
    if isinstance(owner, RecordAt):
        row = owner.field(node.attr, scope.source, node)
        return LoadAt(world.at[id(row[0])], len(row), owner.index, owner.site)
    try:
        return _read(getattr(owner, node.attr), world)
    except AttributeError:
        raise scope.source.refuse(node, f"{type(owner).__name__} has no {node.attr!r}; make it in build()") from None


def place(node: ast.Subscript, scope: Scope, world: World) -> tuple[list[Any], object]:
    """Return the row and the index of `row[index]`.

    Raises:
        BadInput: not a row of the state or a sequence, or a known index outside it.
    """
    row, index = evaluate(node.value, scope, world), evaluate(node.slice, scope, world)
    items = row.items if isinstance(row, Cells) else row
    if isinstance(items, Mapping) and not is_dynamic(index):
        return [items[index]], 0
    if not isinstance(items, list | tuple):
        raise scope.source.refuse(node, "only arrays and tuples can be indexed")
    if not is_dynamic(index) and not (isinstance(index, int) and 0 <= index < len(items)):
        raise scope.source.refuse(node, f"the index {index} is outside its {len(items)} elements")
    return list(items), index


def _subscript(node: ast.Subscript, scope: Scope, world: World) -> object:
    items, index = place(node, scope, world)
    if not is_dynamic(index):
        return _read(items[int(index)], world)  # type: ignore[call-overload]
    site = scope.source.site(node)
    if all(isinstance(item, Variable) for item in items):
        return LoadAt(world.at[id(items[0])], len(items), index, site)
    if all(isinstance(item, Component) for item in items):
        return RecordAt(items, index, site)
    if all(isinstance(item, int) for item in items):
        least, most = interval(index, world.slots)
        if least < 0 or most >= len(items):
            raise scope.source.refuse(node, f"the index may be {least} to {most}, the table has {len(items)} elements")
        table: Expr = Const(int(items[-1]))
        for number, item in reversed(list(enumerate(items[:-1]))):
            table = Choose(Binary("==", index, Const(number)), Const(int(item)), table)
        return table
    raise scope.source.refuse(node, "an index known only at run time reaches into one row, not into rows of rows")


def _logic(node: ast.BoolOp, scope: Scope, world: World) -> object:
    """`and` and `or` give one of their operands, as in Python; where all are 0 or 1 that is the truth value."""
    is_and = isinstance(node.op, ast.And)
    terms: list[object] = []
    for number, part in enumerate(node.values, 1):
        value = evaluate(part, scope, world)
        if is_dynamic(value):
            terms.append(value)
            continue
        decides = bool(value) is not is_and
        if decides or number == len(node.values):
            terms.append(value)
        if decides:
            break
    if len(terms) == 1:
        return terms[0]
    made = as_expr(terms[-1], scope.source, node)
    for term in reversed(terms[:-1]):
        left = as_expr(term, scope.source, node)
        if _is_truth(left, world) and _is_truth(made, world):
            made = Binary("and" if is_and else "or", left, made)
        else:
            made = Choose(left, made, left) if is_and else Choose(left, left, made)
    return made


def _is_truth(expr: Expr, world: World) -> bool:
    low, high = interval(expr, world.slots)
    return low >= 0 and high <= 1


def _joined(is_and: bool, terms: list[Expr]) -> object:
    """Join conditions that are 0 or 1."""
    if not terms:
        return is_and
    return reduce(lambda left, right: Binary("and" if is_and else "or", left, right), terms)


def truth(value: object, world: World) -> object:
    """Return whether a value is true, as 0 or 1 where it is known only at run time."""
    if not is_dynamic(value):
        return bool(value)
    return value if _is_truth(value, world) else Binary("!=", value, Const(0))


def is_read(value: object) -> bool:
    """Whether a value is, or holds, something that is known only at run time."""
    return is_dynamic(value) or (isinstance(value, tuple | list) and any(is_read(item) for item in value))


def _unary(node: ast.UnaryOp, scope: Scope, world: World) -> object:
    value = evaluate(node.operand, scope, world)
    if isinstance(node.op, ast.Not):
        return Unary("not", value) if is_dynamic(value) else not value
    if isinstance(node.op, ast.USub):
        return Unary("-", value) if is_dynamic(value) else -value
    raise scope.source.refuse(node, "use not and - only")


def _compare(node: ast.Compare, scope: Scope, world: World) -> object:
    values = [evaluate(part, scope, world) for part in (node.left, *node.comparators)]
    pairs: list[object] = []
    for operation, left, right in zip(node.ops, values, values[1:]):
        if isinstance(operation, ast.In | ast.NotIn):
            found = _member(node, left, right, scope)
            pairs.append(_negate(found) if isinstance(operation, ast.NotIn) else found)
        elif not is_dynamic(left) and not is_dynamic(right):
            pairs.append(_STATIC[_COMPARE[type(operation)]](left, right))
        else:
            pairs.append(
                Binary(_COMPARE[type(operation)], as_expr(left, scope.source, node), as_expr(right, scope.source, node))
            )
    if False in [pair for pair in pairs if not is_dynamic(pair)]:
        return False
    return _joined(True, [pair for pair in pairs if is_dynamic(pair)])


def _member(node: ast.AST, left: object, right: object, scope: Scope) -> object:
    if not isinstance(right, tuple | list | range):
        raise scope.source.refuse(node, "write the values to look in as a tuple")
    if not is_dynamic(left) and not any(is_dynamic(item) for item in right):
        return left in right
    terms: list[Expr] = [
        Binary("==", as_expr(left, scope.source, node), as_expr(item, scope.source, node)) for item in right
    ]
    return _joined(False, terms)


def _negate(value: object) -> object:
    return Unary("not", value) if is_dynamic(value) else not value


def _binary(node: ast.BinOp, scope: Scope, world: World) -> object:
    left, right = evaluate(node.left, scope, world), evaluate(node.right, scope, world)
    word = _ARITHMETIC.get(type(node.op))
    if word is None:
        if not is_dynamic(left) and not is_dynamic(right) and isinstance(node.op, ast.Mod | ast.FloorDiv):
            return left % right if isinstance(node.op, ast.Mod) else left // right
        raise scope.source.refuse(node, "Python and C divide negatives differently; use + - * on the state")
    if not is_dynamic(left) and not is_dynamic(right):
        return _STATIC[word](left, right)
    return Binary(word, as_expr(left, scope.source, node), as_expr(right, scope.source, node))


def _choose(node: ast.IfExp, scope: Scope, world: World) -> object:
    condition = evaluate(node.test, scope, world)
    if not is_dynamic(condition):
        return evaluate(node.body if condition else node.orelse, scope, world)
    then, other = evaluate(node.body, scope, world), evaluate(node.orelse, scope, world)
    return Choose(condition, as_expr(then, scope.source, node), as_expr(other, scope.source, node))


def _comprehension(node: ast.GeneratorExp | ast.ListComp, scope: Scope, world: World) -> Iterator[object]:
    if len(node.generators) != 1:
        raise scope.source.refuse(node, "one `for` in a comprehension")
    generator = node.generators[0]
    for item in known_sequence(generator.iter, scope, world):
        inner = Scope(scope.source, {**scope.names, **bound(generator.target, item, scope)})
        wanted = [evaluate(test, inner, world) for test in generator.ifs]
        if any(is_dynamic(test) for test in wanted):
            raise scope.source.refuse(node, "an `if` in a comprehension must be known when the model is compiled")
        if all(wanted):
            yield evaluate(node.elt, inner, world)


def known_sequence(node: ast.expr, scope: Scope, world: World) -> Iterable[Any]:
    """Return what a `for` goes over.

    Raises:
        BadInput: it is not known when the model is compiled.
    """
    sequence = evaluate(node, scope, world)
    if isinstance(sequence, Cells):
        return [_read(item, world) for item in sequence.items]
    if is_dynamic(sequence) or not isinstance(sequence, Iterable):
        raise scope.source.refuse(node, "loop over a range or a tuple that is known when the model is compiled")
    return sequence


def bound(target: ast.expr, item: Any, scope: Scope) -> dict[str, Any]:  # noqa: ANN401
    """Return the names that a loop's target takes from one item."""
    if isinstance(target, ast.Name):
        return {target.id: item}
    if isinstance(target, ast.Tuple) and isinstance(item, tuple) and len(target.elts) == len(item):
        return {name: value for part, one in zip(target.elts, item) for name, value in bound(part, one, scope).items()}
    raise scope.source.refuse(target, "a loop names one variable, or a tuple of them")


def call(node: ast.Call, scope: Scope, world: World) -> object:
    """Return the value of a call: of a builtin on what is known now, or of a helper that is one `return`."""
    function = evaluate(node.func, scope, world)
    if function in (any, all):
        (items,) = arguments(node, scope, world)[0]
        values = [_read(item, world) for item in (items.items if isinstance(items, Cells) else items)]
        known = [bool(value) for value in values if not is_dynamic(value)]
        if (function is any) in known:
            return function is any
        unknown = [truth(value, world) for value in values if is_dynamic(value)]
        return _joined(function is all, [value for value in unknown if is_dynamic(value)])
    positional, named = arguments(node, scope, world)
    if function is sum and any(is_dynamic(item) for item in positional[0]):
        terms: list[Expr] = [as_expr(item, scope.source, node) for item in positional[0]]
        return reduce(lambda left, right: Binary("+", left, right), terms)
    if function in _WORDS:
        raise scope.source.refuse(node, f"{function.__name__}() stands alone as a statement, or right of one `=`")
    if function in _PLAIN or isinstance(function, type):
        if any(is_dynamic(value) for value in (*positional, *named.values())):
            if function in (int, bool) and len(positional) == 1:
                return positional[0] if function is int else truth(positional[0], world)
            raise scope.source.refuse(node, "it can be applied only to what is known when the model is compiled")
        return function(*positional, **named)
    return _helper(node, function, positional, named, scope, world)


def _helper(
    node: ast.Call, function: object, positional: list[Any], named: dict[str, Any], scope: Scope, world: World
) -> object:
    inner = entered(node, function, positional, named, scope)
    body = statements(inner.source)
    if len(body) == 1 and isinstance(body[0], ast.Return) and body[0].value is not None:
        return evaluate(body[0].value, inner, world)
    raise scope.source.refuse(node, "a helper inside an expression is a single `return`; give it a line of its own")


def arguments(node: ast.Call, scope: Scope, world: World) -> tuple[list[Any], dict[str, Any]]:
    """Return a call's arguments."""
    if any(isinstance(argument, ast.Starred) for argument in node.args) or any(k.arg is None for k in node.keywords):
        raise scope.source.refuse(node, "write the arguments out, without *")
    return (
        [evaluate(argument, scope, world) for argument in node.args],
        {keyword.arg: evaluate(keyword.value, scope, world) for keyword in node.keywords if keyword.arg},
    )


_ACTIVE_LIMIT = 20


def entered(node: ast.Call, function: object, positional: list[Any], named: dict[str, Any], scope: Scope) -> Scope:
    """Return the scope inside a called helper, its parameters bound.

    Raises:
        BadInput: not a helper written in Python, the wrong number of arguments, or recursion.
    """
    if not callable(function) or (not hasattr(function, "__code__") and not hasattr(function, "__func__")):
        raise scope.source.refuse(node, "only helpers written in the model's own Python can be called")
    plain = getattr(function, "__func__", function)
    owner = [function.__self__] if hasattr(function, "__self__") else []
    depth = scope.names.get("__depth__", 0) + 1
    if depth > _ACTIVE_LIMIT:
        raise scope.source.refuse(node, "helpers are inlined, so they cannot recurse; use a loop")
    inner = source_of(plain)
    wanted = [argument.arg for argument in inner.tree.args.args] + [a.arg for a in inner.tree.args.kwonlyargs]
    names = dict(zip(wanted, [*owner, *positional]))
    names |= named
    defaults = inner.tree.args.defaults
    for argument, default in zip(inner.tree.args.args[::-1], defaults[::-1]):
        if argument.arg not in names and isinstance(default, ast.Constant):
            names[argument.arg] = default.value
    if set(names) != set(wanted) or len(owner) + len(positional) > len(wanted):
        raise scope.source.refuse(node, f"it takes {', '.join(wanted[len(owner) :]) or 'no arguments'}")
    names["__depth__"] = depth
    names[IN_PROCESS] = scope.names.get(IN_PROCESS, False)
    names[CHAIN] = f"{scope.names.get(CHAIN, '')}>{node.lineno}"
    return Scope(inner, names)


def outside(site: Site, what: str, low: int, high: int) -> BadInput:
    """Return the error for a value that left its range while exploring."""
    return BadInput(
        str(site),
        f"{what} left its range [{low}, {high}]",
        remedy="widen it, or guard the step; a local that grows is made in build() with upto()",
    )
