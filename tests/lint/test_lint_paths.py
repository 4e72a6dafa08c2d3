from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from slow_paths import moves, slow_paths

from nostale.contract import Automaton, depth_automaton
from nostale.lint.flow import Edge, Site
from nostale.lint.image import Class
from nostale.lint.paths import Paths
from nostale.lint.rule import Occurrence
from nostale.lint.targets import How, Target, Transfer, Via
from nostale.outside.x86 import Kind

DEPTH = depth_automaton("depth", enter="begin", leave="end", needs_inside="escape", needs_outside="return", limit=2)
SYNC = Automaton.of(
    "sync", [("stale", "sync", "fresh"), ("fresh", "sync", "fresh"), ("fresh", "use", "fresh")], initial="stale"
)


@dataclass
class Drawn:
    """A drawn program: {address: (how it goes on, called addresses, following addresses)}; 99 is not in the image."""

    code: dict[int, tuple[str, tuple[int, ...], tuple[int, ...]]]
    events: dict[int, list[str]] = field(default_factory=dict)

    def site(self, address):
        how, called, following = self.code.get(address, ("ret", (), ()))
        edges = tuple(Edge(to) for to in dict.fromkeys(following))
        if how == "":
            return Site(address, Kind.NEXT, edges)
        if how == "ret":
            return Site(address, Kind.RETURN, (), Transfer(How.RETURN, Via.DIRECT, ""))
        targets = tuple(Target(f"f{to}", None if to == 99 else to, None if to == 99 else Class.TEXT) for to in called)
        return Site(
            address, Kind.CALL, edges, Transfer(How.CALL if how == "call" else How.TAIL, Via.DIRECT, "f", targets)
        )

    def arrive(self, address, why=""):
        yield Edge(address, why)

    def events_at(self, site):
        return [Occurrence(event) for event in self.events.get(site.address, [])]


def ways(program, automaton=SYNC, entry=0, **options):
    return Paths(program, automaton, program.events_at, **options).of(entry, automaton.initial)


def found(program, **options):
    seen = ways(program, **options)
    return [(one.address, seen.length(one)) for one in seen.findings]


# 0 calls 10, which returns, and goes on to 1.
def calling(inner, events, after=("ret", (), ())):
    return Drawn({0: ("call", (10,), (1,)), 1: after, **inner}, events)


def test_what_a_called_function_does_counts_for_its_caller():
    program = calling({10: ("", (), (11,))}, {10: ["sync"], 1: ["use"]})
    assert found(program) == []
    assert found(calling({10: ("", (), (11,))}, {1: ["use"]})) == [(1, 4)]


def test_a_finding_inside_a_call_is_told_with_the_open_calls():
    seen = ways(calling({10: ("call", (20,), (11,))}, {20: ["use"]}))
    assert [(hop.address, hop.depth) for hop in seen.trail(seen.findings[0])] == [(0, 0), (10, 1), (20, 2)]


def test_a_call_that_came_back_is_one_hop_unless_its_inside_is_asked_for():
    seen = ways(calling({10: ("", (), (11,))}, {1: ["use"]}))
    (finding,) = seen.findings
    assert [(hop.address, hop.inside) for hop in seen.trail(finding)] == [(0, 10), (1, None)]
    assert [hop.address for hop in seen.trail(finding, inside=True)] == [0, 10, 11, 1]


def test_a_function_comes_back_to_its_caller_and_to_nobody_else():
    # 0 calls 10 stale and stops; 5 syncs, calls 10 and then uses. Mixed up, the stale state would come back to 6.
    code = {0: ("", (), (1, 4)), 1: ("call", (10,), (2,)), 2: ("", (), ()), 4: ("", (), (5,)), 5: ("call", (10,), (6,))}
    assert found(Drawn({**code, 10: ("ret", (), ())}, {4: ["sync"], 6: ["use"]})) == []


def test_a_tail_call_comes_back_to_the_caller_of_its_function():
    inner = {10: ("tail", (20,), ()), 20: ("", (), (21,))}
    assert found(calling(inner, {1: ["use"]})) == [(1, 5)]
    assert found(calling(inner, {20: ["sync"], 1: ["use"]})) == []


def test_a_recursion_needs_no_bound():
    # 10 calls itself or returns; only the innermost syncs, so every way back has synced.
    inner = {10: ("", (), (11, 13)), 11: ("call", (10,), (12,)), 12: ("ret", (), ()), 13: ("ret", (), ())}
    assert found(calling(inner, {13: ["sync"], 1: ["use"]})) == []
    assert found(calling(inner, {11: ["sync"], 1: ["use"]})) == [(1, 4)]


def test_a_function_that_never_returns_ends_the_path():
    assert found(calling({10: ("", (), (10,))}, {1: ["use"]})) == []


def test_a_call_out_of_the_image_is_stepped_over_and_said():
    program = Drawn({0: ("call", (99,), (1,))}, {1: ["use"]})
    seen = ways(program)
    assert ([one.address for one in seen.findings], list(seen.open)) == ([1], [0])


def test_a_call_that_is_not_to_be_entered_is_stepped_over():
    program = calling({10: ("", (), (10,))}, {1: ["use"]})
    assert found(program, enters=lambda site, target: False) == [(1, 2)]


def test_a_path_is_not_followed_beyond_the_states_that_end_it():
    program = Drawn({0: ("", (), (1,)), 1: ("", (), (2,))}, {0: ["sync"]})
    assert ways(program, until=frozenset({"fresh"})).reached == {0}
    assert ways(program).reached == {0, 1, 2}


def test_what_one_entry_made_known_serves_the_next():
    program = Drawn({0: ("call", (10,), (1,)), 5: ("", (), (6,)), 6: ("call", (10,), (1,))}, {10: ["sync"], 1: ["use"]})
    paths = Paths(program, SYNC, program.events_at)
    assert [paths.of(entry, "stale").findings for entry in (0, 5)] == [[], []]
    assert [paths.of(entry, "stale").pairs for entry in (0, 5)] == [3, 3]


def test_states_at_the_return_of_the_entry_are_told():
    assert ways(Drawn({0: ("", (), (1, 2))}, {1: ["sync"]})).exits == ["stale", "fresh"]


def test_of_two_states_in_which_a_function_is_entered_the_nearer_way_is_told():
    # 2 calls 10 at once, which begins a range on a detour before 11; 3 calls it with the range begun already.
    code = {0: ("", (), (1, 2)), 2: ("call", (10,), (4,)), 1: ("", (), (3,)), 3: ("call", (10,), (4,))}
    inner = {10: ("", (), (11, 15)), 15: ("", (), (16,)), 16: ("", (), (17,)), 17: ("", (), (11,))}
    program = Drawn({**code, **inner}, {1: ["begin"], 15: ["begin"], 11: ["return"]})
    assert found(program, automaton=DEPTH) == [(11, 5)]


STARTS = (0, 4, 8)  # three functions of four instructions, so that there is much to call and to come back from


@st.composite
def drawn_programs(draw):
    code = {}
    for place in range(12):
        form = draw(st.sampled_from(["", "", "branch", "call", "call", "tail", "ret"]))
        following = (place + 1,) if place % 4 < 3 else ()
        callees = st.lists(st.sampled_from([*STARTS, 99]), min_size=1, max_size=2, unique=True).map(tuple)
        if form == "branch":
            code[place] = ("", (), (*following, draw(st.integers(0, 11))))
        elif form in ("call", "tail"):
            code[place] = (form, draw(callees), following if form == "call" or draw(st.booleans()) else ())
        elif form == "" and following:
            code[place] = ("", (), following)
    happening = st.lists(st.sampled_from(["begin", "end", "escape", "return"]), min_size=1, max_size=2)
    return Drawn(code, draw(st.dictionaries(st.integers(0, 11), happening, max_size=5)))


programs = drawn_programs()


@settings(max_examples=500, deadline=None)
@given(programs)
def test_what_is_found_and_how_far_is_as_with_every_stack_told_apart(program):
    deepest = 4
    seen = ways(program, DEPTH)
    slow = slow_paths(program, DEPTH, program.events_at, 0, "0", deepest=deepest)
    fast = {(one.address, one.occurrence.event): seen.length(one) for one in seen.findings}
    assert set(slow) <= set(fast)
    for one in seen.findings:
        key = (one.address, one.occurrence.event)
        assert key not in slow or fast[key] <= slow[key]
        if max(hop.depth for hop in seen.trail(one, inside=True)) <= deepest:
            assert slow[key] == fast[key]


@settings(max_examples=300, deadline=None)
@given(programs)
def test_every_trail_is_a_way_through_the_program_of_the_length_told(program):
    seen = ways(program, DEPTH)
    for one in seen.findings:
        trail = seen.trail(one, inside=True)
        assert len(trail) == seen.length(one)
        assert (trail[0].address, trail[-1].address) == (0, one.address)
        stack, state = [], "0"
        for hop, following in pairwise(trail):
            assert (hop.state, hop.address in seen.reached) == (state, True)
            site = program.site(hop.address)
            for occurrence in program.events_at(site):
                state = DEPTH.step(state, occurrence.event) or state
            onward = dict(moves(program, site, tuple(stack), 99))
            assert following.address in onward
            stack = onward[following.address]


def test_a_function_that_passes_in_a_state_is_entered_in_another():
    inner = {10: ("", (), (11,))}
    seen = ways(calling(inner, {0: ["sync"], 1: ["use"]}), passes=lambda start, state: state == "stale")
    assert 10 in seen.reached
    seen = ways(calling(inner, {1: ["use"]}), passes=lambda start, state: (start, state) == (10, "stale"))
    assert (10 in seen.reached, [one.address for one in seen.findings]) == (False, [1])


def test_from_some_entries_each_way_is_a_shortest_from_the_nearest():
    # 0 takes three steps to what they have in common, 5 one; both call 10, which syncs on one arm only.
    code = {0: ("", (), (1,)), 1: ("", (), (2,)), 2: ("", (), (6,)), 5: ("", (), (6,)), 6: ("call", (10,), (7,))}
    program = Drawn(
        {**code, 10: ("", (), (11, 12)), 11: ("ret", (), ()), 12: ("ret", (), ())}, {11: ["sync"], 7: ["use"]}
    )
    paths = Paths(program, SYNC, program.events_at)
    together = paths.of_any([0, 5], "stale")
    apart = [paths.of(entry, "stale") for entry in (0, 5)]
    (finding,) = together.findings
    assert together.length(finding) == min(one.length(one.findings[0]) for one in apart) == 5
    assert together.trail(finding) == apart[1].trail(apart[1].findings[0])
    assert together.reached == apart[0].reached | apart[1].reached
