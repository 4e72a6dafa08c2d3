import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostale.contract import Automaton, BadInput, read_dot, write_dot

# In the layout of the kernel's tools/verification/models; the automaton is ours.
WRITTEN = """digraph state_automaton {
	center = true;
	size = "7,11";
	{node [shape = plaintext, style=invis, label=""] "__init_asleep"};
	{node [shape = ellipse] "asleep"};
	{node [shape = plaintext] "asleep"};
	{node [shape = plaintext] "awake"};
	"__init_asleep" -> "asleep";
	"asleep" [label = "asleep", color = green3];
	"asleep" -> "awake" [ label = "wake\\nstir" ];
	"awake" -> "asleep" [ label = "sleep" ];
	{ rank = min ;
		"__init_asleep";
		"asleep";
	}
}
"""
NAMES = st.text("abcxyz_", min_size=1, max_size=4).map(lambda s: "n" + s)


def test_the_kernels_layout_is_read():
    found = read_dot(WRITTEN, "models/nap.dot")
    assert (found.name, found.initial, found.final) == ("nap", "asleep", {"asleep"})
    assert found.edges == {("asleep", "wake"): "awake", ("asleep", "stir"): "awake", ("awake", "sleep"): "asleep"}


@given(st.dictionaries(st.tuples(NAMES, NAMES), NAMES, min_size=1, max_size=8), st.data())
def test_what_is_written_reads_back_equal(edges, data):
    states = sorted({s for s, _ in edges} | set(edges.values()))
    initial = data.draw(st.sampled_from(states))
    final = data.draw(st.sets(st.sampled_from(states)))
    made = Automaton.of("made", [(s, e, t) for (s, e), t in edges.items()], initial=initial, final=final)
    assert read_dot(write_dot(made), "made.dot") == made


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("graph x { }", "x.dot: starts with 'graph', not with digraph (likely not a .dot file)"),
        ('digraph x { "a" -> "b" [label = "go"]; ', "x.dot: ends before its closing brace (likely a file cut short)"),
        ('digraph x { "a" -> "b" [label = "go"', "x.dot: an attribute list without its closing bracket"),
        ('digraph x { "a" -> "b" [label = "go"]; }', "x.dot: no initial state"),
        ('digraph x { "__init_a" -> "a"; "a" -> "b"; }', "x.dot: the edge from 'a' to 'b' has no event"),
        ("digraph x { @ }", "x.dot:1: '@' does not belong here"),
        ("", "x.dot: ends before its closing brace"),
    ],
)
def test_what_is_not_such_a_file_is_told_in_one_line(text, said):
    with pytest.raises(BadInput) as caught:
        read_dot(text, "x.dot")
    assert str(caught.value).startswith(said)


@given(st.text(max_size=60))
def test_no_text_does_more_than_be_refused(text):
    with contextlib.suppress(BadInput):
        read_dot(text, "x.dot")
