"""Counterexamples are shortest, replayed before they are shown, and tell only what changed."""

from collections import deque

import pytest
from hypothesis import HealthCheck, given, settings

from nostale.contract import Holds, Violated
from nostale.prove import Means, compile_model, interpreter, prove, reference
from nostale.prove.exploration import Bounds, Exploration
from nostale.prove.replay import Disagreement, replay
from nostale.systems.codegen.model import TextPoke
from tests.prove.made import all_ways, by_c, successors, switches, symmetric_systems
from tests.prove.small import Counter, Dekkerless


def distance(system, wanted) -> int:
    """The fewest steps to a state in which `wanted` is true: a search of its own, by levels."""
    level, seen = deque([(system.initial, 0)]), {system.initial}
    while level:
        state, steps = level.popleft()
        if interpreter.holds(system, state, wanted):
            return steps
        for number in range(len(system.rules)):
            effect = interpreter.apply(system, state, number)
            if effect and effect.state not in seen:
                seen.add(effect.state)
                level.append((effect.state, steps + 1))
    raise AssertionError("never reached")


@pytest.mark.parametrize("variant", ["no-int3", "no-tail-sync"])
def test_the_way_to_a_torn_instruction_is_shortest(variant, compiler):
    compiled = compile_model(TextPoke({}, variant))
    torn = next(p for p in compiled.system.predicates if p.kind == "never")
    answer = prove(TextPoke({}, variant), "x", Means(compiler, None))
    shown = next(r.verdict for r in answer.results if r.id == "codegen.no-torn-instruction")
    assert isinstance(shown, Violated) and len(shown.path) == distance(compiled.system, torn.condition)


def test_a_path_tells_only_what_changed():
    answer = prove(Dekkerless({}, "no-claim"), "x", Means(None, None))
    (broken,) = [r.verdict for r in answer.results if isinstance(r.verdict, Violated)]
    told = [(s.observer, [(c.var, c.old, c.new) for c in s.changed]) for s in broken.path]
    assert told == [
        ("left", []),
        ("right", []),
        ("right", [("wants[1]", "no", "yes")]),
        ("right", [("inside[1]", "no", "yes")]),
        ("left", [("wants[0]", "no", "yes")]),
        ("left", [("inside[0]", "no", "yes")]),
    ]
    assert broken.path[0].source.startswith("tests/prove/small.py:")


def test_a_way_that_does_not_replay_is_never_shown():
    compiled = compile_model(Dekkerless({}, "no-claim"))
    property_ = next(p for p in compiled.properties if p.name == "both-inside")
    way = reference.explore(compiled.system, Bounds(1000)).found[property_.number]
    with pytest.raises(Disagreement, match="does not end there"):
        replay(compiled.system, way[:-1], property_)
    with pytest.raises(Disagreement, match="is not enabled"):
        replay(compiled.system, way[::-1], property_)


def test_an_explorer_that_lies_is_caught(monkeypatch):
    from nostale.prove import proof
    from nostale.prove.explore import How

    compiled = compile_model(Dekkerless())
    search = reference.explore(compiled.system, Bounds(1000)).search
    both = next(p for p in compiled.properties if p.name == "both-inside")
    monkeypatch.setattr(proof, "explore", lambda *a, **k: (Exploration(search, {both.number: (0,)}), How("native")))
    with pytest.raises(Disagreement):
        prove(Dekkerless(), "x", Means(None, None))


def test_a_scene_that_never_happens_is_told():
    answer = prove(Counter({"top": "0"}), "x", Means(None, None))
    assert [r.verdict for r in answer.results if r.id == "user.exact"] == [Holds(("reached in 0 steps",), ())]
    answer = prove(TextPoke({}, "no-int3"), "x", Means(None, None))
    scene = next(r for r in answer.results if r.id == "codegen.scene-trap")
    assert isinstance(scene.verdict, Violated) and scene.verdict.path == ()


def test_a_deadlock_is_found_and_the_claiming_protocol_has_one():
    answer = prove(Dekkerless(), "x", Means(None, None))
    (stuck,) = [r for r in answer.results if r.id == "user.no-deadlock"]
    assert isinstance(stuck.verdict, Violated) and len(stuck.verdict.path) == 2


@pytest.mark.parametrize(("model", "variant", "name"), [(Dekkerless, "no-claim", "both-inside")])
def test_no_shortest_way_has_fewer_switches_of_observer(model, variant, name, compiler):
    compiled = compile_model(model({}, variant))
    number = next(p.number for p in compiled.properties if p.name == name)
    condition = next(p.condition for p in compiled.system.predicates if p.number == number)
    shown = by_c(compiled.system, compiler).found[number]
    ways = [w for w, end in all_ways(compiled.system, len(shown)) if interpreter.holds(compiled.system, end, condition)]
    assert shown == min(ways, key=lambda way: (switches(compiled.system, way), way))
    assert len({switches(compiled.system, way) for way in ways}) > 1


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(symmetric_systems())
def test_the_way_shown_is_the_first_of_those_with_fewest_switches(compiler, system):
    found = by_c(system, compiler).found
    bad = system.predicates[0].condition
    ends = {1: lambda state: interpreter.holds(system, state, bad), 3: lambda state: not successors(system, state)}
    for number, end in ends.items():
        if number in found and len(found[number]) < 7:
            ways = [way for way, state in all_ways(system, len(found[number])) if end(state)]
            assert found[number] == min(ways, key=lambda way: (switches(system, way), way))
