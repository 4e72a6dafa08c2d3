"""Interchangeable members: fewer states, the same answers, real names in the path, and a wrong declaration refused."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from nostale.contract import BadInput
from nostale.prove import reference
from nostale.prove.ir import Assume, Binary, Const, Load, Predicate, Rule, Slot, Store, System
from nostale.prove.symmetry import canonical, checked
from tests.prove.made import SITE, by_c, real_levels, refusal_or, switches, symmetric_systems
from tests.prove.test_reference_models import guarded, system


def cpus_of(made: System, count: int) -> System:
    """Declare the executing CPUs of a text_poke model interchangeable."""
    at = {slot.name: index for index, slot in enumerate(made.slots)}
    names = ("pc{}", "c0_{}", "c1_{}", "r0_{}", "ip{}", "ak{}")
    return replace(made, symmetric=(tuple(tuple(at[n.format(cpu)] for n in names) for cpu in range(count)),))


def text_poke(shared, count: int, **how) -> System:
    return cpus_of(system(guarded(shared).textpoke(count, **how)), count)


@pytest.mark.shared
@pytest.mark.parametrize(("cpus", "states", "depth"), [(6, 3_367, 39), (7, 5_840, 43), (10, 23_672, 55)])
def test_interchangeable_cpus_leave_few_states_of_the_same_depth(shared, compiler, cpus, states, depth):
    search = by_c(text_poke(shared, cpus), compiler).search
    assert (search.states, search.depth, search.complete) == (states, depth, True)


@pytest.mark.shared
def test_the_shortest_way_stays_as_short_and_tells_real_cpus(shared, compiler):
    made = text_poke(shared, 3, bug=1)
    with_it, without = by_c(made, compiler), by_c(replace(made, symmetric=()), compiler)
    assert len(with_it.found[0]) == 16 and with_it == reference.explore(made)
    assert switches(made, with_it.found[0]) == switches(made, without.found[0])


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(symmetric_systems())
def test_states_are_the_orbits_and_answers_those_of_the_full_run(compiler, made):
    some, every = by_c(made, compiler), by_c(replace(made, symmetric=()), compiler)
    orbits = [{canonical(made, state) for state in level} for level in real_levels(made)]
    assert some.search.states == sum(map(len, orbits)) and some.search.depth == every.search.depth
    assert {n: len(way) for n, way in some.found.items()} == {n: len(way) for n, way in every.found.items()}
    feared = [n for n in some.found if n != 2]
    assert [some.found[n] for n in feared] == [every.found[n] for n in feared]


def pair(*extra: Rule, members: int = 2, high: int = 2) -> System:
    """Members that count to two, each on its own; `extra` rules may tell them apart."""
    slots = tuple(Slot(f"count[{m}]", 0, high, 0) for m in range(members))
    rules = tuple(
        Rule(f"step[{m}]:{value}", f"CPU {m}", "counts", SITE, (is_at(m, value), Store(m, Const(value + 1), SITE)))
        for m in range(members)
        for value in range(high)
    )
    group = tuple((m,) for m in range(members))
    return System("pair", slots, rules + extra, (), 1, Const(1), (group,))


def is_at(slot, value):
    return Assume(Binary("==", Load(slot), Const(value)))


FAVOUR = Rule("favour", "CPU 0", "goes back", SITE, (is_at(0, 2), is_at(1, 0), Store(0, Const(0), SITE)))
REFUSAL = (
    "model pair: the members of (count[0], count[1]) are not interchangeable: with the records of count[0] and "
    "count[1] exchanged, favour (made:1) has no counterpart "
    "(likely something tells them apart: a number of theirs that is stored, compared or ordered); "
    "take the declaration back, or make the rules treat them alike"
)


def test_a_rule_that_favours_one_member_is_refused_by_name(compiler):
    assert by_c(pair(), compiler).search.states == 6
    for explored in (lambda: by_c(pair(FAVOUR), compiler, 2), lambda: reference.explore(pair(FAVOUR))):
        assert refusal_or(explored) == REFUSAL


def test_a_property_that_favours_one_member_is_refused(compiler):
    first_ahead = Binary("and", Binary("==", Load(0), Const(2)), Binary("==", Load(1), Const(0)))
    made = replace(pair(), predicates=(Predicate(0, "sometimes", first_ahead),), n_properties=2)
    either = Binary("or", first_ahead, Binary("and", Binary("==", Load(1), Const(2)), Binary("==", Load(0), Const(0))))
    for explored in (lambda: by_c(made, compiler), lambda: reference.explore(made)):
        assert "a never, always or sometimes, or the end of the model, answers otherwise" in refusal_or(explored)
    fair = replace(made, predicates=(Predicate(0, "sometimes", either),))
    assert by_c(fair, compiler) == reference.explore(fair)


def test_a_counterpart_makes_the_favour_fair(compiler):
    back = Rule("back", "CPU 1", "goes back", SITE, (is_at(1, 2), is_at(0, 0), Store(1, Const(0), SITE)))
    assert by_c(pair(FAVOUR, back), compiler) == reference.explore(pair(FAVOUR, back))


def test_members_of_other_shape_are_refused(compiler):
    uneven = replace(pair(), slots=(Slot("count[0]", 0, 2, 0), Slot("count[1]", 0, 3, 0)))
    twice = replace(pair(), symmetric=(((0,), (0,)),))
    for made, why in ((uneven, "differ in range"), (twice, "stands in it twice")):
        with pytest.raises(BadInput, match=why):
            by_c(made, compiler)
        with pytest.raises(BadInput, match=why):
            reference.explore(made)


def test_what_was_checked_is_said():
    assert checked(pair()) == "2 x (count[0]): every permutation of the members was tried on every state met"
    assert checked(pair(members=6)).endswith("every swap of two (15) of the members was tried on every state met")


def test_records_wider_than_a_word_are_sorted_alike(compiler):
    wide = [Slot(f"w{m}.{k}", 0, (1 << 30) - 1, 0) for m in range(2) for k in range(3)]
    rules = tuple(
        Rule(f"set{m}{k}", f"CPU {m}", "sets", SITE, (is_at(3 * m + k, 0), Store(3 * m + k, Const(1 << 29), SITE)))
        for m in range(2)
        for k in range(3)
    )
    made = System("wide", tuple(wide), rules, (), 1, Const(1), (((0, 1, 2), (3, 4, 5)),))
    assert by_c(made, compiler) == reference.explore(made) and by_c(made, compiler).search.states == 36
