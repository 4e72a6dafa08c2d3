from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from slow_walk import slow_walk

from nostale.contract import depth_automaton
from nostale.lint.flow import Edge, Site
from nostale.lint.rule import Occurrence
from nostale.lint.walk import walk
from nostale.outside.instruction import Kind

DEPTH = depth_automaton("depth", enter="begin", leave="end", needs_inside="escape", needs_outside="return", limit=3)


@dataclass
class Drawn:
    """A drawn graph in the place of an image's control flow."""

    edges: dict[int, list[tuple[int, bool]]]
    events: dict[int, list[str]]

    def site(self, address):
        return Site(address, Kind.NEXT, tuple(Edge(to, "", leaves) for to, leaves in self.edges.get(address, [])))

    def arrive(self, address, why=""):
        yield Edge(address, why)

    def events_at(self, site):
        return [Occurrence(event) for event in self.events.get(site.address, [])]


def drawn(edges, events=None):
    return Drawn({at: [(to, False) for to in tos] for at, tos in edges.items()}, events or {})


def findings(graph, entries=(0,), later=()):
    return walk(graph, DEPTH, "0", graph.events_at, entries, later)


nodes = st.integers(0, 9)
graphs = st.builds(
    Drawn,
    st.dictionaries(nodes, st.lists(st.tuples(nodes, st.booleans()), max_size=3), max_size=10),
    st.dictionaries(nodes, st.lists(st.sampled_from(["begin", "end", "escape", "return"]), max_size=2), max_size=10),
)


@settings(max_examples=400, deadline=None)
@given(graphs, st.lists(nodes, min_size=1, max_size=3, unique=True))
def test_walk_finds_what_the_slow_walk_finds_and_by_a_path_as_short(graph, entries):
    expected = slow_walk(graph.site, graph.arrive, DEPTH, "0", graph.events_at, entries)
    seen = findings(graph, entries)
    lengths = {(one.address, one.occurrence.event): len(seen.trail(one)) for one in seen.findings}
    assert lengths == expected


@settings(max_examples=200, deadline=None)
@given(graphs)
def test_every_trail_is_a_path_of_the_graph(graph):
    seen = findings(graph)
    for one in seen.findings:
        trail = [address for address, _ in seen.trail(one)]
        assert trail[0] == 0
        assert all(to in [edge.to for edge in graph.site(at).edges] for at, to in pairwise(trail))


def test_a_second_state_at_an_instruction_is_looked_at_although_the_first_was_fine():
    # 1 begins a range, 2 does not; both come to the call at 3. One visited mark per instruction would stop here.
    graph = drawn({0: [1, 2], 1: [3], 2: [3]}, {1: ["begin"], 3: ["escape"]})
    assert [one.address for one in findings(graph).findings] == [3]


def test_a_call_inside_its_range_on_both_ways_is_left_alone():
    graph = drawn({0: [1, 2], 1: [3], 2: [3]}, {1: ["begin"], 2: ["begin"], 3: ["escape"]})
    assert findings(graph).findings == []


def test_every_finding_of_a_function_is_reported():
    graph = drawn({0: [1], 1: [2], 2: [3]}, {1: ["escape"], 2: ["escape"], 3: ["escape"]})
    assert [one.address for one in findings(graph).findings] == [1, 2, 3]


def test_the_depth_is_not_clamped_so_an_end_too_many_makes_the_next_range_void():
    graph = drawn({0: [1], 1: [2]}, {0: ["end"], 1: ["begin"], 2: ["escape"]})
    assert [one.address for one in findings(graph).findings] == [2]


def test_a_loop_that_begins_without_end_is_lost_count_of_and_said_so():
    graph = drawn({0: [0]}, {0: ["begin"]})
    assert findings(graph).beyond == [0]


def test_the_shorter_of_two_ways_is_the_one_told():
    graph = drawn({0: [1, 4], 1: [2], 2: [3], 3: [4]}, {4: ["escape"]})
    seen = findings(graph)
    assert seen.trail(seen.findings[0]) == [(0, "0"), (4, "0")]


def test_a_way_into_instrumentable_code_is_said_once_and_not_followed():
    graph = Drawn({0: [(1, True)], 1: [(2, False)]}, {0: ["escape"], 2: ["escape"]})
    assert [one.address for one in findings(graph).findings] == [0]


def test_an_entry_is_begun_at_later_only_where_nothing_has_come_by():
    graph = drawn({0: [1], 1: [], 5: [6]}, {0: ["begin"], 1: ["escape"], 6: ["escape"]})
    seen = findings(graph, later=[1, 5])
    assert seen.entries == [0, 5]
    assert [one.address for one in seen.findings] == [6]
