"""Symmetric systems that Hypothesis makes, and slow answers to what the tests ask of a system."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st

from nostale.contract import BadInput
from nostale.prove import interpreter
from nostale.prove.exploration import Crew
from nostale.prove.explore import explore
from nostale.prove.ir import (
    Assume,
    Binary,
    Const,
    If,
    Load,
    Op,
    Predicate,
    Rule,
    Site,
    Slot,
    Store,
    System,
    Violate,
)

SITE = Site("made", 1)


def by_c(system, compiler, threads=1, most=None):
    """Explore by the generated C, with threads from the first level on."""
    crew = Crew(threads, alone_states=1)
    return explore(system, compiler=compiler, cache=None, max_states=most, crew=crew)[0]


def refusal_or(explored):
    """What was found, or the words of the refusal."""
    try:
        return explored()
    except BadInput as refused:
        return str(refused)


def comparable(explored, system):
    """What threads may not change: all but which of several shortest ways leads to a scene."""
    if isinstance(explored, str):
        return explored
    scenes = {p.number for p in system.predicates if p.kind == "sometimes"}
    found = {n: len(way) if n in scenes else way for n, way in explored.found.items()}
    return explored.search, found, explored.stopped


def real_levels(system) -> list[set[tuple[int, ...]]]:
    """Every reachable state without regard to symmetry, level by level."""
    levels, known = [{system.initial}], {system.initial}
    while levels[-1]:
        fresh = {after for state in levels[-1] for _, after in successors(system, state)} - known
        known |= fresh
        levels.append(fresh)
    return levels[:-1]


def successors(system, state):
    effects = ((n, interpreter.apply(system, state, n)) for n in range(len(system.rules)))
    return [(n, effect.state) for n, effect in effects if effect]


def switches(system, way) -> int:
    """How often the lane changes along a way."""
    lanes = [system.rules[number].lane for number in way]
    return sum(a != b for a, b in pairwise(lanes))


def all_ways(system, length):
    """Every way of that length from the initial state, with the state it ends in."""
    ways = [((), system.initial)]
    for _ in range(length):
        ways = [((*way, n), after) for way, state in ways for n, after in successors(system, state)]
    return ways


# A template of a rule: a guard and effects on a member's own slots (0, 1) and the shared ones (2, 3), filled in for
# each member. Values stay in range by construction, so that every draw is a system that runs.
PLACES = st.integers(0, 3)
GUARD = st.tuples(PLACES, st.sampled_from(["==", "!="]), st.integers(0, 2))
EFFECT = st.tuples(PLACES, st.one_of(PLACES.map(lambda p: ("copy", p)), st.integers(0, 2).map(lambda v: ("set", v))))
TEMPLATE = st.tuples(GUARD, st.lists(EFFECT, min_size=1, max_size=3), st.booleans())


@st.composite
def symmetric_systems(draw) -> System:
    members = draw(st.integers(2, 3))
    slots = [Slot(f"{name}[{m}]", 0, 2, 0) for m in range(members) for name in ("own", "mine")]
    shared = len(slots)
    slots += [Slot("shared", 0, 2, draw(st.integers(0, 2))), Slot("other", 0, 2, 0)]
    templates = draw(st.lists(TEMPLATE, min_size=2, max_size=4))
    rules = [
        Rule(f"t{t}[{m}]", f"CPU {m}", "step", SITE, _filled(template, [2 * m, 2 * m + 1, shared, shared + 1]))
        for m in range(members)
        for t, template in enumerate(templates)
    ]
    bad = Binary("and", *(Binary("==", Load(2 * m), Const(2)) for m in (0, 1)))
    for m in range(2, members):
        bad = Binary("and", bad, Binary("==", Load(2 * m), Const(2)))
    scene = Binary("==", Load(shared), Const(1))
    predicates = (Predicate(1, "never", bad), Predicate(2, "sometimes", scene))
    group = tuple((2 * m, 2 * m + 1) for m in range(members))
    return System("made", tuple(slots), tuple(rules), predicates, 4, Const(0), (group,))


def _filled(template, place) -> tuple[Op, ...]:
    (slot, op, value), effects, violates = template
    body: list[Op] = [Assume(Binary(op, Load(place[slot]), Const(value)))]
    for target, (how, what) in effects:
        body.append(Store(place[target], Load(place[what]) if how == "copy" else Const(what), SITE))
    if violates:
        body.append(If(Binary("==", Load(place[0]), Load(place[3])), (Violate(0),), ()))
    return tuple(body)
