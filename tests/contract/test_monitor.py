import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostale.contract import FRESH, UNNAMED, Automaton, Contract, Event, Monitor, Role, Source
from tests.contract.slow_monitor import slow_run
from tests.contract.test_judge import CONTRACT

A, B = 7, 9  # addresses


def broken(*occurrences: tuple) -> list[tuple]:
    """Run (event, CPU, address) on CPUs 0 and 1; return which occurrences broke it, and for whom."""
    monitor = Monitor(CONTRACT, {"cpu": (0, 1)}, FRESH)
    return [*monitor.run([event for event, *_ in occurrences], [tuple(keys) for _, *keys in occurrences])]


def test_a_change_reaches_every_cpu_and_a_sync_only_its_own():
    assert broken(("patch", UNNAMED, A), ("sync", 0, UNNAMED), ("run", 0, A), ("run", 1, A)) == [(3, (1, A))]


def test_a_sync_is_for_every_address_of_the_cpu():
    patched = ("patch", UNNAMED, A), ("patch", UNNAMED, B)
    assert broken(*patched, ("sync", 1, UNNAMED), ("run", 1, A), ("run", 1, B)) == []
    assert broken(*patched, ("sync", 0, UNNAMED), ("run", 1, A), ("run", 1, B)) == [(3, (1, A)), (4, (1, B))]


def test_a_sync_is_for_what_changed_since_the_last_one_too():
    assert broken(("sync", 0, UNNAMED), ("patch", 0, A), ("sync", 0, UNNAMED), ("run", 0, A)) == []
    assert broken(("sync", 0, UNNAMED), ("patch", 0, A), ("sync", 1, UNNAMED), ("run", 0, A)) == [(3, (0, A))]


def test_a_rely_asks_every_cpu():
    assert broken(("patch", UNNAMED, A), ("sync", 0, UNNAMED), ("done", UNNAMED, A)) == [(2, (1, A))]
    assert broken(("patch", UNNAMED, A), ("done", UNNAMED, A)) == [(1, (0, A)), (1, (1, A))]


def test_a_use_elsewhere_is_not_the_changed_addresss_business():
    assert broken(("patch", UNNAMED, A), ("run", 0, B)) == []


def test_an_instance_stays_where_a_violation_left_it():
    assert broken(("patch", UNNAMED, A), ("run", 0, A), ("run", 0, A)) == [(1, (0, A)), (2, (0, A))]


def test_an_occurrence_without_its_keys_is_refused():
    with pytest.raises(KeyError, match="run lacks its address"):
        broken(("run", 0, UNNAMED))
    with pytest.raises(KeyError, match="stroll"):
        broken(("stroll", 0, A))


KEYS = ("x", "y", "z")
EVENTS = ("a", "b", "c", "unheard")
EDGES = st.fixed_dictionaries({(state, event): st.sampled_from(("", *"pqr")) for state in "pqr" for event in "abc"})
VALUES = st.integers(UNNAMED, 2)


@given(st.data(), EDGES, st.integers(0, 3))
def test_any_automaton_runs_as_one_in_which_every_occurrence_looks_at_every_instance(data, edges, keys):
    triples = [(state, event, following) for (state, event), following in edges.items() if following]
    contract = Contract(
        "made.up", "", "", "", KEYS[:keys], "", tuple(Event(one, Role.OTHER, (), "") for one in EVENTS), (),
        (Source("x"),), Automaton.of("made", triples, initial="p", forbidden="abc"),
    )  # fmt: skip
    domains = data.draw(st.dictionaries(st.sampled_from(KEYS), st.lists(st.integers(0, 4), unique=True)))
    occurrences = data.draw(st.lists(st.tuples(st.sampled_from(EVENTS), st.tuples(*[VALUES] * keys)), max_size=40))
    events, named = [event for event, _ in occurrences], [values for _, values in occurrences]
    found = [*Monitor(contract, domains, "p").run(events, named)]
    assert found == slow_run(contract, domains, "p", events, named)
