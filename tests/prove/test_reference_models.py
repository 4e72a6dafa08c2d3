"""The three reference models, whose counts every other tool gives: the explorer must give exactly those."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from nostale.prove import reference
from nostale.prove.exploration import Bounds
from nostale.prove.explore import explore
from nostale.prove.ir import Assume, Binary, Const, Expr, Load, Predicate, Rule, Site, Slot, Store, System, Unary

SITE = Site("models.py", 1)
_OPS = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.And: "and", ast.Or: "or"}


def guarded(shared: Path):
    """The module that builds the reference models from guarded commands."""
    spec = importlib.util.spec_from_file_location("reference_models", shared / "data/prove/models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def expr(text: str, at: dict[str, int]) -> Expr:
    python = re.sub(r"!(?!=)", " not ", text.replace("&&", " and ").replace("||", " or "))
    return built(ast.parse(python.strip(), mode="eval").body, at)


def built(node: ast.expr, at: dict[str, int]) -> Expr:
    match node:
        case ast.Constant(value):
            return Const(value)
        case ast.Name(name):
            return Load(at[name])
        case ast.Compare(left, [op], [right]):
            return Binary(_OPS[type(op)], built(left, at), built(right, at))
        case ast.UnaryOp(ast.Not(), operand):
            return Unary("not", built(operand, at))
        case ast.BoolOp(op, [first, *rest]):
            made = built(first, at)
            for part in rest:
                made = Binary(_OPS[type(op)], made, built(part, at))
            return made
    raise AssertionError(ast.dump(node))


def system(model) -> System:
    at = {name: index for index, (name, _, _) in enumerate(model.vars)}
    slots = tuple(Slot(name, 0, (1 << bits) - 1, first) for name, bits, first in model.vars)
    rules = tuple(
        Rule(
            name,
            str(lane),
            name,
            SITE,
            (Assume(expr(guard, at)), *(Store(at[v], expr(e, at), SITE) for v, e in effects)),
        )
        for lane, name, guard, effects in model.tr
    )
    bad = Unary("not", expr(" && ".join(f"({one})" for one in model.inv), at))
    return System(model.name, slots, rules, (Predicate(0, "never", bad),), 2, Const(0))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("builder", "size", "counts"),
    [
        ("textpoke", 6, (353_094, 3_357_768, 39)),
        ("filterlock", 5, (223_105, 741_065, 48)),
        ("phil", 12, (531_441, 4_251_528, 34)),
    ],
)
def test_counts_are_those_of_every_other_tool(shared, compiler, builder, size, counts):
    made = system(getattr(guarded(shared), builder)(size))
    found = explore(made, compiler=compiler, cache=None, max_states=None, tick=lambda *_: None)[0]
    assert (found.search.states, found.search.transitions, found.search.depth) == counts
    assert found.search.complete and 0 not in found.found


@pytest.mark.shared
def test_the_interpreter_gives_the_same_counts_on_small_ones(shared, compiler):
    for builder, size in (("textpoke", 2), ("filterlock", 3), ("phil", 4)):
        made = system(getattr(guarded(shared), builder)(size))
        native = explore(made, compiler=compiler, cache=None, max_states=None, tick=lambda *_: None)[0]
        assert native == reference.explore(made, Bounds(1_000_000))


@pytest.mark.shared
def test_without_the_middle_sync_the_shortest_way_has_16_steps(shared, compiler):
    made = system(guarded(shared).textpoke(3, bug=1))
    found = explore(made, compiler=compiler, cache=None, max_states=None, tick=lambda *_: None)[0]
    assert len(found.found[0]) == 16
