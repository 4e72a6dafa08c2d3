"""What a model compiles to: rules over a flat vector of small integers. Both explorers run exactly this.

A rule is enabled in a state when every `Assume` met on the way through its body is true; its effect is the body's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Const:
    """An integer known when the model is compiled."""

    value: int


@dataclass(frozen=True, slots=True)
class Load:
    """The value of one slot of the state."""

    slot: int


@dataclass(frozen=True, slots=True)
class LoadAt:
    """The value of slot `base + index`, `index` being below `size`."""

    base: int
    size: int
    index: Expr
    site: Site


@dataclass(frozen=True, slots=True)
class Temp:
    """A value computed earlier in the same rule."""

    number: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Unary:
    """`not` or `-`."""

    op: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class Binary:
    """Arithmetic, a comparison, `and` or `or`; truth values are 0 and 1."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Choose:
    """`then` where `condition` is true, else `other`."""

    condition: Expr
    then: Expr
    other: Expr


Expr = Const | Load | LoadAt | Temp | Unary | Binary | Choose


@dataclass(frozen=True, slots=True)
class Site:
    """Where in a model's source something stands."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Assume:
    """The rule is enabled only if `condition` is true here."""

    condition: Expr


@dataclass(frozen=True, slots=True)
class Store:
    """Write one slot."""

    slot: int
    value: Expr
    site: Site


@dataclass(frozen=True, slots=True)
class StoreAt:
    """Write slot `base + index`."""

    base: int
    size: int
    index: Expr
    value: Expr
    site: Site


@dataclass(frozen=True, slots=True)
class Let:
    """Give a value of this rule a name."""

    number: int
    value: Expr


@dataclass(frozen=True, slots=True)
class If:
    """One of two bodies."""

    condition: Expr
    then: tuple[Op, ...]
    other: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class Violate:
    """Whoever gets here breaks property number `number`."""

    number: int


@dataclass(frozen=True, slots=True)
class Note:
    """An abstract event happened. It has no effect on the state; a replayed path tells of it."""

    text: str


Op = Assume | Store | StoreAt | Let | If | Violate | Note


@dataclass(slots=True)
class Slot:
    """One small integer of the state.

    Args:
        name: as a reader knows it, such as `seen[1]`.
        low, high: the values it may hold.
        first: its value in the initial state.
        words: names of its values from `low` on; empty where numbers say enough.
        shown: whether a path tells of its changes.
    """

    name: str
    low: int
    high: int
    first: int
    words: tuple[str, ...] = ()
    shown: bool = True

    @property
    def bits(self) -> int:
        """How many bits tell its values apart."""
        return max(1, (self.high - self.low).bit_length())

    def say(self, value: int) -> str:
        """Return a value in a reader's words."""
        if self.words:
            return self.words[value - self.low]
        return str(value)


@dataclass(frozen=True, slots=True)
class Rule:
    """One atomic step somebody can take.

    Args:
        name: unique, such as `patcher:41` or `execute[1]/2`.
        lane: whose step it is.
        what: what happens, in a reader's words.
        site: where it is written.
        body: guards and effects, in order.
    """

    name: str
    lane: str
    what: str
    site: Site
    body: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class Predicate:
    """A condition on single states: `kind` is `never` or `sometimes`; an `always` is a `never` of its opposite."""

    number: int
    kind: str
    condition: Expr


@dataclass(frozen=True, slots=True)
class System:
    """A compiled model.

    Args:
        name: of the model.
        slots: the state vector.
        rules: in a fixed order, which is the order of successors.
        predicates: the conditions on states; the other property numbers are those of `Violate`.
        n_properties: property numbers are below this.
        ended: true in states where having nothing left to do is no deadlock.
        symmetric: groups of interchangeable members; a member is the numbers of its slots, in one order for all. States
            that differ by a permutation of members are one state to the explorers, which check that they may be.
    """

    name: str
    slots: tuple[Slot, ...]
    rules: tuple[Rule, ...]
    predicates: tuple[Predicate, ...]
    n_properties: int
    ended: Expr
    symmetric: tuple[tuple[tuple[int, ...], ...], ...] = ()

    @property
    def initial(self) -> tuple[int, ...]:
        """The one initial state."""
        return tuple(slot.first for slot in self.slots)


def interval(expr: Expr, slots: tuple[Slot, ...] | list[Slot]) -> tuple[int, int]:
    """Return bounds on the value of an expression, from the ranges of the slots it reads."""
    match expr:
        case Const(value):
            return value, value
        case Load(slot):
            return slots[slot].low, slots[slot].high
        case LoadAt(base, size, _, _):
            read = slots[base : base + size]
            return min(slot.low for slot in read), max(slot.high for slot in read)
        case Temp(_, low, high):
            return low, high
        case Unary("-", operand):
            low, high = interval(operand, slots)
            return -high, -low
        case Binary("+" | "-" | "*" as op, left, right):
            return _arithmetic(op, interval(left, slots), interval(right, slots))
        case Choose(_, then, other):
            (a, b), (c, d) = interval(then, slots), interval(other, slots)
            return min(a, c), max(b, d)
        case _:
            return 0, 1


def _arithmetic(op: str, left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int]:
    (a, b), (c, d) = left, right
    if op == "+":
        return a + c, b + d
    if op == "-":
        return a - d, b - c
    corners = [a * c, a * d, b * c, b * d]
    return min(corners), max(corners)


def reads(expr: Expr) -> Iterator[int]:
    """Yield every slot an expression may read, with repetition."""
    match expr:
        case Load(slot):
            yield slot
        case LoadAt(base, size, index, _):
            yield from range(base, base + size)
            yield from reads(index)
        case Unary(_, operand):
            yield from reads(operand)
        case Binary(_, left, right):
            yield from reads(left)
            yield from reads(right)
        case Choose(condition, then, other):
            yield from reads(condition)
            yield from reads(then)
            yield from reads(other)
        case _:
            return


def unsafe_index(expr: Expr, slots: tuple[Slot, ...] | list[Slot]) -> LoadAt | None:
    """Return a read whose index may leave its row, going by the ranges alone; None where there is none."""
    match expr:
        case LoadAt(_, size, index, _):
            low, high = interval(index, slots)
            return expr if low < 0 or high >= size else unsafe_index(index, slots)
        case Unary(_, operand):
            return unsafe_index(operand, slots)
        case Binary(_, left, right):
            return unsafe_index(left, slots) or unsafe_index(right, slots)
        case Choose(condition, then, other):
            return unsafe_index(condition, slots) or unsafe_index(then, slots) or unsafe_index(other, slots)
        case _:
            return None


def writes(body: tuple[Op, ...]) -> Iterator[int]:
    """Yield every slot a body may write, with repetition."""
    for op in body:
        match op:
            case Store(slot, _, _):
                yield slot
            case StoreAt(base, size, _, _, _):
                yield from range(base, base + size)
            case If(_, then, other):
                yield from writes(then)
                yield from writes(other)
            case _:
                pass


def reads_of(body: tuple[Op, ...]) -> Iterator[int]:
    """Yield every slot a body may read, with repetition."""
    for op in body:
        match op:
            case Assume(condition):
                yield from reads(condition)
            case Store(_, value, _) | Let(_, value):
                yield from reads(value)
            case StoreAt(_, _, index, value, _):
                yield from reads(index)
                yield from reads(value)
            case If(condition, then, other):
                yield from reads(condition)
                yield from reads_of(then)
                yield from reads_of(other)
            case _:
                pass
