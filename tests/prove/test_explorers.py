"""The interpreter and the generated C give the same counts and ways, on the repository's models and on made ones."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nostale.prove import Means, compile_model, prove, reference
from nostale.prove.exploration import Bounds
from nostale.prove.ir import (
    Assume,
    Binary,
    Choose,
    Const,
    If,
    Let,
    Load,
    LoadAt,
    Predicate,
    Rule,
    Slot,
    Store,
    StoreAt,
    System,
    Temp,
    Unary,
    Violate,
)
from nostale.systems.codegen.model import TextPoke
from nostale.systems.entry.model import IrqEntry
from tests.prove.made import SITE, by_c, comparable, refusal_or, symmetric_systems
from tests.prove.small import Counter, Dekkerless

MODELS = [
    (model, variant) for model in (TextPoke, IrqEntry, Dekkerless, Counter) for variant in ("", *model.variants())
]


@pytest.mark.parametrize(("model", "variant"), MODELS, ids=lambda x: getattr(x, "__name__", x or "whole"))
def test_both_explorers_agree_on_the_repositorys_models(model, variant, compiler):
    system = compile_model(model({}, variant)).system
    slow = reference.explore(system)
    assert by_c(system, compiler) == slow
    for threads in (2, 4):
        assert comparable(by_c(system, compiler, threads), system) == comparable(slow, system)


LANES = st.sampled_from(["left", "right", "third"])

# Made systems: up to four small variables, rules of every kind of operation, values that may leave their range.
SLOTS = st.lists(st.tuples(st.integers(-2, 1), st.integers(0, 3)), min_size=2, max_size=4).map(
    lambda rows: tuple(Slot(f"v{i}", low, low + span, low) for i, (low, span) in enumerate(rows))
)


def exprs(n: int, *, indexed: bool = True):
    leaf = st.one_of(st.integers(-1, 3).map(Const), st.integers(0, n - 1).map(Load))
    if indexed:
        leaf |= st.builds(lambda i: LoadAt(0, 2, i, SITE), st.integers(0, n - 1).map(Load))
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.builds(Binary, st.sampled_from(["+", "-", "*", "==", "<", "<=", "!=", "and", "or"]), inner, inner),
            st.builds(Unary, st.sampled_from(["not", "-"]), inner),
            st.builds(Choose, inner, inner, inner),
        ),
        max_leaves=4,
    )


def ops(n: int):
    expr = exprs(n)
    store = st.builds(lambda s, e: Store(s, e, SITE), st.integers(0, n - 1), expr)
    store_at = st.builds(lambda i, e: StoreAt(0, 2, i, e, SITE), expr, expr)
    simple = st.one_of(store, store_at, st.just(Violate(0)), st.builds(Assume, expr))
    return st.one_of(simple, st.builds(lambda c, a, b: If(c, (a,), (b,)), expr, simple, simple))


@st.composite
def systems(draw) -> System:
    slots = draw(SLOTS)
    n = len(slots)
    rules = []
    for number in range(draw(st.integers(1, 4))):
        low, high = slots[0].low, slots[0].high
        body = (Let(1, Load(0)), *draw(st.lists(ops(n), min_size=1, max_size=3)), Store(0, Temp(1, low, high), SITE))
        body = draw(st.sampled_from([body, body[:-1]]))
        rules.append(Rule(f"r{number}", draw(LANES), "step", SITE, body))
    never, sometimes, ended = (draw(exprs(n, indexed=False)) for _ in range(3))
    predicates = (Predicate(1, "never", never), Predicate(2, "sometimes", sometimes))
    return System("made", slots, tuple(rules), predicates, 4, ended)


def agree(system, compiler, most=None):
    slow = refusal_or(lambda: reference.explore(system, Bounds(most)))
    assert refusal_or(lambda: by_c(system, compiler, 1, most)) == slow
    for threads in (2, 4):
        fast = refusal_or(lambda n=threads: by_c(system, compiler, n, most))
        assert comparable(fast, system) == comparable(slow, system)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(systems(), st.sampled_from([None, 5, 40]))
def test_both_explorers_agree_on_made_systems(compiler, system, most):
    agree(system, compiler, most)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(symmetric_systems(), st.sampled_from([None, 40]))
def test_both_explorers_agree_on_made_symmetric_systems(compiler, system, most):
    agree(system, compiler, most)


class Distinct(TextPoke):
    """The same protocol, every order of its CPUs a state of its own."""

    interchangeable = ()


def test_a_bound_that_is_reached_is_unknown_and_says_so(compiler):
    for means in (Means(compiler, None, 20), Means(None, None, 20)):
        answer = prove(Distinct({}, ""), "codegen", means)
        verdicts = {result.id: result.verdict for result in answer.results}
        assert not answer.search.complete and answer.verdict == "unknown"
        assert verdicts["codegen.no-torn-instruction"].missing == (
            "the states beyond the 14 within 3 steps: the next step leads to more than --max-states",
            "6 of them were still to be expanded; most varied among those: cpu.at[0] (2 values), "
            "cpu.at[1] (2 values), text.now (2 values), text.memory[0] (2 values), text.byte[0][1] (2 values)",
        )


def test_without_a_compiler_the_interpreter_takes_over_and_says_so():
    answer = prove(Dekkerless(), "x", Means(None, None))
    assert answer.notes == (
        "x: no C compiler (cc, gcc, clang): the reference interpreter explored; slower, same counts",
    )


def test_an_unchanged_proof_comes_from_the_cache_and_says_so(compiler, tmp_path):
    from nostale.outside.cache import Cache

    means = Means(compiler, Cache(tmp_path / "cache"))
    first, second = prove(Dekkerless(), "x", means), prove(Dekkerless(), "x", means)
    assert first.results == second.results and first.search == second.search
    assert first.notes == () and "from the cache" in second.notes[0]
    assert prove(Dekkerless({}, "no-claim"), "x", means).notes == ()
