"""Made functions mean what CPython says: random bodies, run by it and, step by step, as a model.

Sound by construction: what a body stores is clipped, locals are assigned before they are read, one statement outside
`with atomic()` touches one shared variable. A body that is refused is therefore a failure too.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import sys
import types
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nostale.contract import BadInput
from nostale.prove import compile_model, interpreter
from nostale.prove.language import Cells, Variable
from tests.prove import semantics

STEPS = 5_000  # more than any made body takes

HEAD = """\
from nostale.prove import Model, array, atomic, flag, process, upto


class Steps:
    def clip(self, x):
        return x if -20 <= x <= 20 else 0

    def pick(self, x, y):
        return x if x > y or x == 0 else y - 1

    def bump(self, x):
        before = self.a
        self.a = self.clip(x)
        after = before + self.a
        self.b = self.clip(after)
        return self.clip(before - x)

    def known(self, k):
        if k > 1:
            return self.a
        return self.clip(k - self.b)

    def nudge(self, x):
        if x > 2:
            self.c = self.clip(self.c + x)
        else:
            self.row[1] = self.clip(x)

"""
TAIL = """

class Made(Steps, Model):
    def build(self):
        self.a, self.b, self.c = (upto(999, low=-999, first=n) for n in {start})
        self.row = array(3, lambda: upto(999, low=-999, first=1))
        self.i = upto(2)
        self.yes = flag()
        self.turns = array(4, lambda: upto(3))
"""


@dataclass(frozen=True)
class Where:
    """What an expression or statement may use where it stands.

    Args:
        shared: state that may be read; what a statement outside `atomic` touches is one of them.
        locals: locals that have a value here.
        assigns: locals that may be assigned here.
        atomic: whether one step is all of it.
        branch: whether a branch of a step is, where locals are not assigned.
        whiles: how many `while` are around.
        depth: how many more may nest.
        carried: locals that a `while` carries from one turn to the next; what they hold has known bounds.
    """

    shared: tuple[str, ...]
    locals: tuple[str, ...] = ()
    assigns: tuple[str, ...] = ("n", "m")
    atomic: bool = False
    branch: bool = False
    whiles: int = 0
    depth: int = 2
    carried: tuple[str, ...] = ()


CELLS = ("self.a", "self.b", "self.c", "self.row[0]", "self.row[1]", "self.row[2]")
INDEXED = ("self.row[self.i]", "self.row[2 - self.i]")
READ = (*CELLS, "self.i", "self.yes")


def pick(draw, *choices):
    return draw(st.sampled_from(choices))


def number(draw, at: Where, depth: int = 2) -> str:
    kinds = ["leaf"] + (
        ["two", "minus", "either", "helper", "truth", "operand", "bool", "many", "lazy"] if depth else []
    )
    match pick(draw, *kinds):
        case "two":
            return f"({number(draw, at, depth - 1)} {pick(draw, '+', '-', '*')} {number(draw, at, depth - 1)})"
        case "minus":
            return f"-{number(draw, at, 0)}".replace("--", "- -")
        case "either":
            then, other = number(draw, at, depth - 1), number(draw, at, depth - 1)
            return f"({then} if {truth(draw, at, depth - 1)} else {other})"
        case "helper":
            if draw(st.booleans()):
                return f"self.clip({number(draw, at, depth - 1)})"
            return f"self.pick({number(draw, at, 0)}, {number(draw, at, depth - 1)})"
        case "truth":
            return f"({comparison(draw, at, depth - 1)})"
        case "operand":
            return f"({number(draw, at, 0)} {pick(draw, 'and', 'or')} {number(draw, at, depth - 1)})"
        case "bool":
            return f"{pick(draw, 'bool', 'int')}({number(draw, at, depth - 1)})"
        case "many" if at.atomic:
            return pick(draw, f"sum(({number(draw, at, 0)}, self.a, 1))", "sum(self.row[z] for z in range(3))")
        case "lazy" if at.atomic:
            # The index would be outside where the condition is false: only what is taken is evaluated.
            return pick(
                draw, "(self.row[self.a] if 0 <= self.a < 3 else -1)", "(self.row[self.i + 1] if self.i < 2 else 5)"
            )
    return pick(draw, *(str(n) for n in range(4)), *at.shared, *at.shared, *at.locals, *at.locals)


def comparison(draw, at: Where, depth: int = 1) -> str:
    """A condition whose value is a truth value."""
    match pick(draw, "two", "two", "three", *(["and", "or", "not", "in", "any"] if depth else [])):
        case "three":
            ends = number(draw, at, 0), number(draw, at, depth), number(draw, at, 0)
            return f"{ends[0]} {pick(draw, '<', '<=', '!=')} {ends[1]} {pick(draw, '<', '>=', '==')} {ends[2]}"
        case "and" | "or" as word:
            return f"({comparison(draw, at, depth - 1)}) {word} ({comparison(draw, at, depth - 1)})"
        case "not":
            return f"not {number(draw, at, 0)}"
        case "in":
            return f"{number(draw, at, 0)} {pick(draw, 'in', 'not in')} (1, {number(draw, at, 0)}, -2)"
        case "any" if at.atomic:
            word = pick(draw, "any", "all")
            return pick(draw, f"{word}((self.yes, self.a == 0))", f"{word}(self.row[z] > z for z in range(3))")
    order = pick(draw, "==", "!=", "<", "<=", ">", ">=")
    return f"{number(draw, at, depth)} {order} {number(draw, at, 0)}"


def truth(draw, at: Where, depth: int = 1) -> str:
    """A condition of any kind: a number is true when it is not 0."""
    if depth and draw(st.booleans()):
        word = pick(draw, "and", "or")
        return f"({truth(draw, at, depth - 1)}) {word} ({number(draw, at, 0)})"
    return comparison(draw, at, depth) if draw(st.booleans()) else number(draw, at, 0)


def block(draw, at: Where, most: int = 3) -> list[str]:
    """Statements; a local that one of them surely assigned can be read by those after it."""
    lines: list[str] = []
    for _ in range(draw(st.integers(1, most))):
        made, given = (in_step if at.atomic else in_process)(draw, at)
        lines += made
        at = replace(at, locals=tuple(dict.fromkeys((*at.locals, *given))))
    return lines


def inner(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def loop_name(at: Where) -> str:
    return f"k{at.depth}"


def in_step(draw, at: Where) -> tuple[list[str], tuple[str, ...]]:
    kinds = ["store", "store", "add", "scale", "index", "flag", "call"]
    kinds += [] if at.branch else ["local", "local", "more", "result", "known", "carry", "pair"]
    kinds += ["if", "for", "over"] if at.depth else []
    match pick(draw, *kinds):
        case "carry" if at.carried:
            return carry(draw, at), ()
        case "pair":
            name = pick(draw, *CELLS)
            return [
                f"pair = ({number(draw, at, 1)}, {name})",
                f"{name} = self.clip({number(draw, at, 1)})",
                f"self.b = self.clip(pair[{pick(draw, '0', '1')}])",
            ], ()
        case "over":
            under = replace(at, depth=at.depth - 1, locals=(*at.locals, "value"))
            return ["for value in self.row:", *inner(block(draw, under, 2))], ()
        case "add":
            target = pick(draw, *CELLS, *INDEXED)
            word, value = pick(draw, "+=", "-="), pick(draw, "1", "2", "self.i")
            return [f"{target} {word} {value}", f"{target} = self.clip({target})"], ()
        case "scale":
            cell = pick(draw, *CELLS)
            return [f"{cell} = self.clip({cell})", f"{cell} *= {pick(draw, '2', '-3', 'self.i')}"], ()
        case "index":
            return [f"self.i = {pick(draw, '0', '1', '2', '2 - self.i', f'2 if {truth(draw, at)} else 1')}"], ()
        case "flag":
            return [f"self.yes = {comparison(draw, at)}"], ()
        case "call":
            return [f"self.nudge({number(draw, at)})"], ()
        case "local":
            name = pick(draw, *at.assigns)
            return [f"{name} = self.clip({number(draw, at)})"], (name,)
        case "more" if set(at.locals) & set(at.assigns):
            name = pick(draw, *sorted(set(at.locals) & set(at.assigns)))
            return [f"{name} -= {number(draw, at, 0)}", f"self.c = self.clip({name})"], ()
        case "known":
            name = pick(draw, *at.assigns)
            return [f"{name} = self.known({pick(draw, '0', '2')})", f"{name} = self.clip({name})"], (name,)
        case "result":
            name = pick(draw, *at.assigns)
            return [f"{name} = self.bump({number(draw, at, 1)})"], (name,)
        case "if":
            under = replace(at, depth=at.depth - 1, branch=True)
            lines = [f"if {truth(draw, at)}:", *inner(block(draw, under, 2))]
            if draw(st.booleans()):
                lines += [f"elif {truth(draw, under)}:", *inner(block(draw, under, 2))]
            if draw(st.booleans()):
                lines += ["else:", *inner(block(draw, under, 2))]
            return lines, ()
        case "for":
            name = loop_name(at)
            under = replace(at, depth=at.depth - 1, locals=(*at.locals, name))
            return [f"for {name} in range({pick(draw, '2', '3')}):", *inner(block(draw, under, 2))], ()
    return [f"{pick(draw, *CELLS, *INDEXED)} = self.clip({number(draw, at)})"], ()


def in_process(draw, at: Where) -> tuple[list[str], tuple[str, ...]]:
    one = replace(at, shared=(pick(draw, *READ),))
    kinds = ["atomic", "atomic", "atomic", "store", "local", "local", "steps", "again", "carry"]
    kinds += ["if", "for", "while", "alternates"] if at.depth else []
    match pick(draw, *kinds):
        case "atomic":
            held = replace(at, shared=READ + INDEXED, atomic=True, depth=min(at.depth, 1))
            return ["with atomic():", *inner(block(draw, held, 3))], ()
        case "store":
            cell = pick(draw, *CELLS)
            return [f"{cell} = self.clip({number(draw, replace(one, shared=(cell,)))})"], ()
        case "carry" if at.carried:
            return carry(draw, one), ()
        case "again" if set(at.locals) & set(at.assigns):
            name = pick(draw, *sorted(set(at.locals) & set(at.assigns)))
            return [f"{name} = self.clip({name} {pick(draw, '+', '-', '*')} {number(draw, one, 1)})"], ()
        case "if":
            under = replace(at, depth=at.depth - 1)
            lines = [f"if {truth(draw, one)}:", *inner(block(draw, under, 2))]
            lines += ["    return"] if pick(draw, *"nnnny") == "y" else []
            if draw(st.booleans()):
                lines += ["else:", *inner(block(draw, under, 2))]
            return lines, ()
        case "for":
            name = loop_name(at)
            under = replace(at, depth=at.depth - 1, locals=(*at.locals, name))
            return [f"for {name} in range({pick(draw, '2', '3')}):", *inner(block(draw, under, 2))], ()
        case "while":
            turns = f"self.turns[{at.whiles}]"
            under = replace(in_turn(at), whiles=at.whiles + 1)
            lines = [f"{turns} = 0", f"while {turns} < {pick(draw, '1', '2')}:"]
            return lines + inner([*block(draw, under, 2), f"{turns} += 1"]), ()
        case "alternates":
            # One block alone reads and changes the local, so only the loop carries it.
            held, name = replace(at, shared=READ + INDEXED, atomic=True, depth=0), f"z{at.depth}"
            turns = f"self.turns[{at.whiles}]"
            cell = pick(draw, *CELLS)
            lines = [f"{name} = 3 - {name}", f"{cell} = self.clip({name} + {number(draw, held, 1)})"]
            if draw(st.booleans()):
                return [f"{name} = 0", "for _ in range(2):", "    with atomic():", *inner(inner(lines))], ()
            head = [f"{name} = 0", f"{turns} = 0", f"while {turns} < 2:", "    with atomic():"]
            return [*head, *inner(inner([*lines, f"{turns} += 1"]))], ()
        case "steps" if at.whiles == 0 and "k" not in at.locals:
            return [f"self.steps({pick(draw, '1', '2', '-3', *(n for n in at.locals if n.startswith('k')))})"], ()
    name = pick(draw, *at.assigns)
    return [f"{name} = self.clip({number(draw, one)})"], (name,)


def in_turn(at: Where) -> Where:
    """Inside a `while`: locals of a turn, and what is carried from one to the next (see semantics.Growing)."""
    own = tuple(f"{name}{at.depth}" for name in ("p", "q"))
    known = tuple(name for name in at.locals if not name.startswith("k"))
    return replace(at, depth=at.depth - 1, assigns=own, carried=known)


def carry(draw, at: Where) -> list[str]:
    """A local that the next turn sees: its value is one of few."""
    name = pick(draw, *at.carried)
    if draw(st.booleans()):
        return [f"{name} = {pick(draw, '-2', '0', '3')} if {truth(draw, at)} else {pick(draw, '1', '4')}"]
    return [f"{name} = {comparison(draw, at)}"]


def own_pairs(lines: list[str]) -> list[str]:
    """Give each tuple a name of its own: one that several steps use is refused where it holds what was read."""
    made = itertools.accumulate("pair = " in line for line in lines)
    return [line.replace("pair", f"pair{number}") for number, line in zip(made, lines)]


@st.composite
def sources(draw) -> str:
    helper = block(draw, Where(READ, locals=("k",), assigns=("r", "s"), depth=1, whiles=2), 2)
    body = block(draw, Where(READ), 4)
    lines = [
        "def steps(self, k):",
        *inner(helper),
        "",
        '@process(lane="p")',
        "def run(self):",
        "    self.c += 1",
        *inner(body),
    ]
    lines = own_pairs(lines)
    start = tuple(draw(st.integers(-3, 4)) for _ in range(3))
    return HEAD + "\n".join(inner(lines)) + "\n" + TAIL.format(start=start)


def by_model(model) -> dict[str, int]:
    """The values at the end, the one enabled rule taken again and again."""
    system = compile_model(model).system
    state = system.initial
    for _ in range(STEPS):
        effects = [effect for n in range(len(system.rules)) if (effect := interpreter.apply(system, state, n))]
        if not effects:
            assert interpreter.holds(system, state, system.ended), "it stopped before its end"
            return {slot.name: value for slot, value in zip(system.slots, state)}
        assert len(effects) == 1, "one process without choices has one way"
        state = effects[0].state
    raise AssertionError("it does not end")


def by_cpython(model, module: types.ModuleType) -> dict[str, int]:
    """The same functions on plain numbers and lists; `atomic` does nothing."""
    space = {**vars(module), "atomic": contextlib.nullcontext}
    functions = {
        name: types.FunctionType(value.__code__, space, name)
        for part in type(model).__mro__[::-1]
        for name, value in vars(part).items()
        if isinstance(value, types.FunctionType) and value.__globals__ is vars(module)
    }
    plain = type("Plain", (), functions)()
    for name, value in vars(model).items():
        if isinstance(value, Variable):
            setattr(plain, name, value.first)
        elif isinstance(value, Cells):
            setattr(plain, name, [item.first for item in value.items])
    plain.run()
    found: dict[str, int] = {}
    for name, value in vars(plain).items():
        cells = {f"{name}[{i}]": item for i, item in enumerate(value)} if isinstance(value, list) else {name: value}
        found |= {cell: int(item) for cell, item in cells.items()}
    return found


def agree(model, module: types.ModuleType, source: str = "") -> None:
    ours, cpython = by_model(model), by_cpython(model, module)
    assert {name: ours[name] for name in cpython} == cpython, source


COUNT = itertools.count()


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(source=sources())
def test_a_made_function_ends_as_cpython_says(tmp_path_factory, source):
    file = tmp_path_factory.getbasetemp() / f"made_{next(COUNT)}.py"
    file.write_text(source)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    agree(module.Made(), module, source)


@pytest.mark.parametrize("case", semantics.AGREED, ids=lambda case: case.__name__)
def test_a_written_function_ends_as_cpython_says(case):
    agree(case(), sys.modules[case.__module__])


def test_a_local_that_grows_beyond_what_was_seen_is_refused():
    with pytest.raises(BadInput, match=r"run\.n = 2 left its range \[0, 1\]; .*a local that grows is made in build"):
        by_model(semantics.Growing())
