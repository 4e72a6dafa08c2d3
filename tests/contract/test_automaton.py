import pytest

from nostale.contract import FRESH, STALE, Automaton, BadInput, depth_automaton, rule_automaton

RULE = rule_automaton("rule", changes=["patch"], syncs=["sync"], uses=["run"], relies=["done"])


def test_a_use_after_a_change_is_a_violation_until_the_sync():
    stale = RULE.step(RULE.initial, "patch")
    assert RULE.step(stale, "run") is None
    assert RULE.step(RULE.step(stale, "sync"), "run") == FRESH


def test_a_rely_is_a_violation_exactly_where_a_use_is():
    assert RULE.step(STALE, "done") is None and RULE.step(FRESH, "done") == FRESH


def test_events_outside_the_alphabet_move_nothing():
    assert RULE.step(STALE, "weather") == STALE


def test_two_edges_on_one_event_are_refused():
    with pytest.raises(BadInput, match="not deterministic"):
        Automaton.of("twice", [("a", "go", "b"), ("a", "go", "c")], initial="a")


def test_an_edge_to_an_undeclared_state_is_refused():
    with pytest.raises(BadInput, match="names the state 'b', which is not declared"):
        Automaton("x", ("a",), ("go",), {("a", "go"): "b"})


def test_an_end_without_a_begin_makes_the_next_begin_void():
    depth = depth_automaton("d", enter="begin", leave="end", needs_inside="call", needs_outside=None, limit=2)
    state = depth.initial
    for event in ("end", "begin"):
        state = depth.step(state, event)
    assert state == "0" and depth.step(state, "call") is None


def test_beyond_the_limit_nothing_is_a_violation():
    depth = depth_automaton("d", enter="begin", leave="end", needs_inside="call", needs_outside="return", limit=1)
    state = depth.step(depth.step("0", "begin"), "begin")
    assert state == "beyond" and depth.step(state, "return") == "beyond"
