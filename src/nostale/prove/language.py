"""What a model is written in: ordinary typed Python, of which `prove.frontend` compiles a subset.

A model is a class. `build()` runs as plain Python, with the parameters known, and makes the state: `self.x = flag()`.
Methods marked `process` are sequential code, one atomic step a statement; methods marked `rule` are one guarded atomic
step each, always on offer; `never`, `always` and `sometimes` are conditions on single states. A model file is code and
runs with the rights of whoever proves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeVar, cast

from nostale.contract import BadInput, Binding

F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E", bound=IntEnum)


@dataclass(slots=True)
class Variable:
    """A bounded integer of the state; made by `flag`, `upto` and `one_of`."""

    low: int
    high: int
    first: int
    words: tuple[str, ...] = ()
    shown: bool = True


@dataclass(slots=True)
class Cells:
    """A row of variables or of records; made by `array`. `per` names the parameter that is its length, "" for none."""

    items: list[Any]
    per: str = ""


class Count(int):
    """The value of a number parameter: an int that knows its name, so that a row of that many knows what it is per."""

    def __new__(cls, value: int, name: str) -> Count:
        made = super().__new__(cls, value)
        made.name = name
        return made

    name: str


def flag(*, first: bool = False) -> bool:
    """Make a truth value of the state."""
    return cast(bool, Variable(0, 1, int(first), ("no", "yes")))


def upto(high: int, *, first: int = 0, low: int = 0, shown: bool = True) -> int:
    """Make an integer of the state in [low, high]; a value outside is the model's error and reported as such.

    Where `shown` is False a path does not tell of its changes: bookkeeping that a reader need not follow.
    """
    return cast(int, Variable(low, high, first, shown=shown))


def one_of(words: type[E], *, first: E | None = None, shown: bool = True) -> E:
    """Make a variable that holds a member of an `IntEnum` whose values are consecutive; `shown` as of `upto`.

    Raises:
        BadInput: the values are not consecutive.
    """
    values = [int(word) for word in words]
    if values != list(range(values[0], values[0] + len(values))):
        raise BadInput(words.__name__, "its values are not consecutive", remedy="number them 0, 1, 2...")
    names = tuple(word.name for word in words)
    return cast(E, Variable(values[0], values[-1], values[0] if first is None else int(first), names, shown))


T = TypeVar("T")


def array(size: int, make: Callable[[], T]) -> list[T]:
    """Make `size` variables, records or rows: `array(self.cpus, flag)`, `array(2, lambda: upto(3))`."""
    return cast(list[T], Cells([make() for _ in range(size)], size.name if isinstance(size, Count) else ""))


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number, word or truth value that `--set NAME=VALUE` changes."""

    default: int | str | bool
    about: str
    choices: tuple[int | str | bool, ...] = ()


P = TypeVar("P", int, str, bool)


def param(default: P, about: str, choices: tuple[P, ...] = ()) -> P:
    """Declare a parameter of the model: a class attribute."""
    return cast(P, Parameter(default, about, choices))


@dataclass(frozen=True, slots=True)
class VariantFlag:
    """One mutation of the model, off by default; its attribute `no_tail_sync` is the variant `no-tail-sync`."""

    about: str
    expect: str


def variant(about: str, *, expect: str = "violated") -> bool:
    """Declare a variant: a class attribute that is True in that variant only.

    Args:
        about: what is different, in a sentence.
        expect: the verdict a demonstration of it must have.
    """
    return cast(bool, VariantFlag(about, expect))


@dataclass(frozen=True, slots=True)
class Marked:
    """How a method takes part in the model."""

    kind: str
    per: tuple[str, ...] = ()
    lane: str = ""
    name: str = ""
    title: str = ""
    why: str = ""
    into: tuple[str, ...] = ()
    at: str = ""
    budget: str = ""


def _mark(marked: Marked) -> Callable[[F], F]:
    def put(function: F) -> F:
        cast(Any, function).nostale = marked
        return function

    return put


def process(*, per: str = "", lane: str) -> Callable[[F], F]:
    """Mark sequential code: one atomic step a statement, outside `with atomic()`.

    Args:
        per: a parameter's name; there is one process for each number below it, given to the method as its argument.
        lane: whose steps these are, with `{}` for that number.
    """
    return _mark(Marked("process", (per,) if per else (), lane))


def rule(*, per: str | tuple[str, ...] = (), lane: str) -> Callable[[F], F]:
    """Mark one guarded atomic step, always on offer: guards are `wait`, the first line of its docstring tells it.

    Args:
        per: names of attributes; there is one rule for each tuple of numbers below them.
        lane: whose step it is, with `{}` for the first of those numbers.
    """
    return _mark(Marked("rule", (per,) if isinstance(per, str) else tuple(per), lane))


def removable(kind: str) -> Callable[[F], F]:
    """Mark a helper whose calls `--ablate` takes away one at a time, to see what they carry.

    Args:
        kind: `fence`, `sync`, `flush`... as a reader calls it. Waits of processes are found without a mark.
    """

    def put(function: F) -> F:
        cast(Any, function).nostale_removable = kind
        return function

    return put


def interrupt(
    *, into: str | tuple[str, ...], lane: str, at: str = "every step", budget: str = "", per: str = ""
) -> Callable[[F], F]:
    """Mark a handler: sequential code that runs on top of a process, which waits until it has returned.

    Args:
        into: the processes, or other handlers, that it interrupts: names of methods with the same `per`.
        lane: whose steps these are, with `{}` for the number.
        at: `every step`, as an NMI comes, or `boundaries`, where the process says `boundary()`.
        budget: the parameter that says how often it may come; without one, any number of times.
        per: as of `process`.
    """
    if at not in ("every step", "boundaries"):
        raise BadInput(f"at={at!r}", "an interrupt comes at 'every step' or at 'boundaries'")
    into = (into,) if isinstance(into, str) else into
    return _mark(Marked("interrupt", (per,) if per else (), lane, into=into, at=at, budget=budget))


def leads_to(*_: object) -> None:
    """Refuse: a promise that something happens at last needs fairness, which is not explored.

    Raises:
        BadInput: always.
    """
    raise BadInput(
        "leads_to",
        "is not explored yet",
        cause="it needs weak fairness, which is not sound with symmetry",
        remedy="state what must not happen with never(), and that it can happen with sometimes()",
    )


def never(name: str, title: str, why: str = "") -> Callable[[F], F]:
    """Mark a condition on single states that must not be reachable."""
    return _mark(Marked("never", name=name, title=title, why=why))


def always(name: str, title: str, why: str = "") -> Callable[[F], F]:
    """Mark a condition that must be true in every reachable state."""
    return _mark(Marked("always", name=name, title=title, why=why))


def sometimes(name: str, title: str) -> Callable[[F], F]:
    """Mark a scene that must be reachable, so that nothing is proved because nothing happens."""
    return _mark(Marked("sometimes", name=name, title=title))


class OnlyInModels(RuntimeError):
    """A word of the language was run as plain Python."""


def wait(condition: object) -> None:
    """Go no further until `condition` is true; several shared reads are one look."""
    raise OnlyInModels("wait() has a meaning in processes and rules only")


def boundary() -> None:
    """Say that interrupts which come at boundaries may come here. It is no step."""
    raise OnlyInModels("boundary() has a meaning in processes only")


@contextmanager
def atomic(what: str = "") -> Iterator[None]:
    """Make one step of the statements inside; `what` tells it in a path."""
    raise OnlyInModels("atomic() has a meaning in processes only")
    yield


def choose(values: Iterable[int]) -> int:
    """Take any of the values: every one is explored. They must be known when the model is compiled."""
    raise OnlyInModels("choose() has a meaning in processes and rules only")


def event(name: str, **keys: int) -> None:
    """Tell the contracts that an abstract event happened, keyed as the contract has it."""
    raise OnlyInModels("event() has a meaning in processes and rules only")


@dataclass(frozen=True, slots=True)
class Bind:
    """A contract that a model must keep.

    Args:
        binding: the contract with its evidence grades; engine `prove`.
        domains: how many values each key has.
    """

    binding: Binding
    domains: dict[str, int]


@dataclass(slots=True)
class Component:
    """A piece of hardware or software with state and rules of its own; subclasses set their variables in `__init__`."""

    lane: str = field(default="", init=False)


class Model:
    """A protocol to be explored. See the module for what goes in one.

    Args:
        settings: values for parameters, by name.
        variant: the name of the variant to be, or "" for the protocol as it should be.

    Raises:
        BadInput: no such parameter or variant, or a value a parameter cannot have.
    """

    system = "user"  # which of the five systems its properties belong to
    title = ""  # what is proved, in a line
    not_modelled = ""  # what a reader must not conclude
    requirements: tuple[str, ...] = ()  # of its system's thread, checked by its own never and always
    expect = "holds"  # the verdict a demonstration must have: "violated" where it shows a hole that is there today
    interchangeable: tuple[str, ...] = ()  # parameters whose numbers only name things: CPUs that all do the same

    def __init__(self, settings: dict[str, str] | None = None, variant: str = "") -> None:
        parameters, variants = self.parameters(), self.variants()
        if variant and variant not in variants:
            raise _unknown("variant", variant, sorted(variants), type(self).__name__)
        for name in settings or {}:
            if name not in parameters:
                raise _unknown("parameter", name, sorted(parameters), type(self).__name__)
        for name, parameter in parameters.items():
            given = (settings or {}).get(name)
            value = parameter.default if given is None else _read(name, given, parameter)
            setattr(self, name, Count(value, name) if type(value) is int else value)
        for name in variants:
            setattr(self, name.replace("-", "_"), name == variant)
        self.variant = variant
        self.build()

    def build(self) -> None:
        """Make the state. Plain Python, run once, with the parameters set."""

    def contracts(self) -> tuple[Bind, ...]:
        """Return the contracts that the model must keep."""
        return ()

    def assumptions(self) -> tuple[str, ...]:
        """Return what every verdict on this model takes for granted."""
        return ()

    @classmethod
    def parameters(cls) -> dict[str, Parameter]:
        """Return the parameters by name, in order of declaration."""
        return {name: value for name, value in _declared(cls) if isinstance(value, Parameter)}

    @classmethod
    def variants(cls) -> dict[str, VariantFlag]:
        """Return the variants by name, in order of declaration."""
        return {name.replace("_", "-"): value for name, value in _declared(cls) if isinstance(value, VariantFlag)}


def _declared(cls: type) -> Iterator[tuple[str, object]]:
    for base in reversed(cls.__mro__):
        yield from vars(base).items()


def _unknown(kind: str, name: str, known: list[str], model: str) -> BadInput:
    have = f"it has {', '.join(known)}" if known else "it has none"
    return BadInput(f"model {model}", f"no {kind} {name!r}", remedy=have)


def _read(name: str, given: str, parameter: Parameter) -> int | str | bool:
    value: int | str | bool
    if isinstance(parameter.default, bool):
        words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
        if given.lower() not in words:
            raise BadInput(f"--set {name}={given}", "not a truth value", remedy="write yes or no")
        value = words[given.lower()]
    elif isinstance(parameter.default, int):
        if not given.isdecimal():
            raise BadInput(f"--set {name}={given}", "not a number", remedy=f"such as {name}={parameter.default}")
        value = int(given)
    else:
        value = given
    if parameter.choices and value not in parameter.choices:
        listed = ", ".join(str(choice) for choice in parameter.choices)
        raise BadInput(f"--set {name}={given}", "not one of its values", remedy=f"it takes {listed}")
    return value
