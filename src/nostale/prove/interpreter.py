"""The meaning of a system: what one rule does in one state, the slow and obvious way.

It is the oracle of the generated C and replays every counterexample before it is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nostale.prove.expressions import outside
from nostale.prove.ir import (
    Assume,
    Binary,
    Choose,
    Const,
    Expr,
    If,
    Let,
    Load,
    LoadAt,
    Note,
    Op,
    Store,
    StoreAt,
    System,
    Temp,
    Unary,
    Violate,
)

State = tuple[int, ...]


@dataclass(slots=True)
class Effect:
    """What one rule did in one state.

    Args:
        state: the state after it.
        broken: numbers of the properties it broke on the way.
        notes: the abstract events that happened.
    """

    state: State
    broken: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Run:
    system: System
    values: list[int]
    temps: dict[int, int] = field(default_factory=dict)
    broken: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def value(self, expr: Expr) -> int:
        match expr:
            case Const(value):
                return value
            case Load(slot):
                return self.values[slot]
            case LoadAt(base, size, index, site):
                at = self.value(index)
                if not 0 <= at < size:
                    raise outside(site, "an index", 0, size - 1)
                return self.values[base + at]
            case Temp(number):
                return self.temps[number]
            case Unary("not", operand):
                return int(not self.value(operand))
            case Unary(_, operand):
                return -self.value(operand)
            case Binary("and", left, right):
                return int(bool(self.value(left)) and bool(self.value(right)))
            case Binary("or", left, right):
                return int(bool(self.value(left)) or bool(self.value(right)))
            case Binary(op, left, right):
                return _OPERATIONS[op](self.value(left), self.value(right))
            case Choose(condition, then, other):
                return self.value(then) if self.value(condition) else self.value(other)

    def store(self, slot: int, value: int, op: Store | StoreAt) -> None:
        held = self.system.slots[slot]
        if not held.low <= value <= held.high:
            raise outside(op.site, f"{held.name} = {value}", held.low, held.high)
        self.values[slot] = value

    def run(self, body: tuple[Op, ...]) -> bool:
        """Run a body; return False as soon as an assumption fails."""
        for op in body:
            match op:
                case Assume(condition):
                    if not self.value(condition):
                        return False
                case Store(slot, value, _):
                    self.store(slot, self.value(value), op)
                case StoreAt(base, size, index, value, site):
                    at = self.value(index)
                    if not 0 <= at < size:
                        raise outside(site, "an index", 0, size - 1)
                    self.store(base + at, self.value(value), op)
                case Let(number, value):
                    self.temps[number] = self.value(value)
                case If(condition, then, other):
                    if not self.run(then if self.value(condition) else other):
                        return False
                case Violate(number):
                    self.broken.append(number)
                case Note(text):
                    self.notes.append(text)
        return True


_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": int.__add__,
    "-": int.__sub__,
    "*": int.__mul__,
    "==": lambda left, right: int(left == right),
    "!=": lambda left, right: int(left != right),
    "<": lambda left, right: int(left < right),
    "<=": lambda left, right: int(left <= right),
    ">": lambda left, right: int(left > right),
    ">=": lambda left, right: int(left >= right),
}


def apply(system: System, state: State, number: int) -> Effect | None:
    """Apply rule `number` in `state`; None where it is not enabled.

    Raises:
        BadInput: an index or a value left its range: the model's error, with its place.
    """
    run = _Run(system, list(state))
    if not run.run(system.rules[number].body):
        return None
    return Effect(tuple(run.values), tuple(dict.fromkeys(run.broken)), tuple(run.notes))


def holds(system: System, state: State, condition: Expr) -> bool:
    """Whether a condition is true in a state."""
    return bool(_Run(system, list(state)).value(condition))
