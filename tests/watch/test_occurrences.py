"""Occurrences in columns: what is told of a violation, and what a user's conditions choose, is as one by one."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_custom import DOT

from nostale.contract import UNNAMED, Step
from nostale.watch import Occurrence, Occurrences, Sight, custom_monitor, read_trace, run_monitor
from nostale.watch.distinct import texts
from nostale.watch.script import parse

KEYS = ("x", "y")
NAMED = st.dictionaries(st.sampled_from((*KEYS, "other")), st.sampled_from((0, 1, "a")))
SEEN = st.lists(st.tuples(st.sampled_from(("change", "sync", "use")), NAMED), min_size=1, max_size=80)


def slow_path(seen, values, changes):
    """Return the steps that agree with `values`, from the last change on, at most the last 24 of them."""
    mine = [one for one in seen if all(values[key] == value for key, value in one.keys.items() if key in values)]
    starts = [at for at, one in enumerate(mine) if one.event in changes]
    return tuple(one.step for one in mine[starts[-1] if starts else 0 :][-24:])


@given(SEEN, st.integers(0, 79), st.frozensets(st.sampled_from(("change", "sync", "never"))))
def test_a_path_is_what_agrees_with_the_instance_from_the_last_change_on(drawn, end, changes):
    seen = [Occurrence(event, keys, Step("", "", "", time_ns=at)) for at, (event, keys) in enumerate(drawn)]
    columns = Occurrences.of(seen)
    end = min(end, len(seen) - 1)
    for values in product((0, 1, "a"), repeat=2):
        instance = dict(zip(KEYS, values, strict=True))
        numbers = tuple(columns.numbers.get(key, {}).get(value, 9) for key, value in instance.items())
        assert columns.path(end, KEYS, numbers, changes) == slow_path(seen[: end + 1], instance, changes)


def test_what_is_not_named_stands_for_every_value():
    columns = Occurrences.of([Occurrence("e", {"x": 5}, Step("", "", "")), Occurrence("f", {}, Step("", "", ""))])
    assert [*columns.instances(KEYS)] == [(0, UNNAMED), (UNNAMED, UNNAMED)]
    assert [*columns.instances(())] == [(), ()]
    assert ([*columns.events()], columns.count("f"), columns.count("g")) == (["e", "f"], 1, 0)


BIND = """
keys = ["task", "cpu"]

[events.switch_in]
on = ["sched_switch"]
where = ["next_pid != 0", "next_comm != k*"]
keys = {task = "next_pid", cpu = "common_cpu"}
what = "runs"

[events.switch_out]
on = ["sched_switch"]
keys = {task = "prev_comm"}

[events.wakeup]
on = ["sched_waking", "sched_switch"]
keys = {cpu = "common_cpu"}
"""
BIND_ALL = """
keys = ["cpu"]
start = "x"

[events.e]
on = ["sched_waking"]
keys = {cpu = "common_cpu"}

[events.all]
on = ["sched_switch"]
"""
LINES = st.tuples(st.integers(0, 1), st.integers(7, 8), st.booleans(), st.integers(0, 9), st.sampled_from(("k", "7")))


def one_by_one(trace):
    """Yield the event, the values of its keys and the text of each occurrence, row by row."""
    for row in range(len(trace)):
        name, cpu = trace.formats.by_id[int(trace.type[row])].name, int(trace.cpu[row])
        if name == "sched_switch":
            pid = trace.number(row, name, "next_pid")
            if pid and not trace.text(row, name, "next_comm").startswith("k"):
                yield row, "switch_in", {"task": pid, "cpu": cpu}, "runs"
            yield row, "switch_out", {"task": trace.text(row, name, "prev_comm")}, "switch_out"
        yield row, "wakeup", {"cpu": cpu}, "wakeup"


@given(st.lists(LINES, max_size=30))
def test_a_users_events_are_found_as_row_by_row(lines):
    first = "0 0 7 sched_switch prev_comm=k\n0 0 7 sched_waking\n"
    text = [
        f"{cpu} {at + 1} {pid} " + (f"sched_switch next_pid={to} next_comm={comm}" if switch else "sched_waking")
        for at, (cpu, pid, switch, to, comm) in enumerate(lines)
    ]
    trace = parse(first + "\n".join(text))
    seen = custom_monitor(DOT, "a.dot", BIND, "a.toml").look(trace).occurrences
    expected = [*one_by_one(trace)]
    names = [{number: value for value, number in seen.numbers[key].items()} for key in ("task", "cpu")]
    values = [tuple(map(dict.get, names, instance)) for instance in seen.instances(("task", "cpu"))]
    assert [*seen.events()] == [event for _, event, _, _ in expected]
    assert values == [(keys.get("task"), keys.get("cpu")) for _, _, keys, _ in expected]
    for at, (row, _, _, what) in enumerate(expected):
        assert seen.step(at).time_ns == trace.ts[row]
        assert seen.step(at).what == f"{what}, ?-{trace.pid[row]}"


def test_texts_are_what_a_trace_says_row_by_row():
    trace = parse("\n".join(f"0 {at} 7 dma_map_phys device={'abc'[at % 3] * at}" for at in range(1, 9)))
    rows = trace.rows("dma_map_phys")
    trace.size[rows[::3]] -= 5  # cut off within the text
    length = trace.formats.by_name["dma_map_phys"].fields["device"].offset + 2
    trace.raw = trace.raw.copy()  # to be written to
    trace.raw[trace.places(rows[1::3]) + length] = 2
    found = texts(trace, rows, "dma_map_phys", "device")
    assert [found.values[at] for at in found.which] == [trace.text(row, "dma_map_phys", "device") for row in rows]


@pytest.mark.shared
def test_texts_of_a_recording_are_what_the_trace_says_row_by_row(shared):
    trace = read_trace(shared / "data/watch/none.dat")
    for event, name in (("sched_switch", "prev_comm"), ("irq_handler_entry", "name")):
        rows = trace.rows(event)
        found = texts(trace, rows, event, name)
        assert [found.values[at] for at in found.which] == [trace.text(row, event, name) for row in rows.tolist()]
        assert rows.size


def test_values_known_in_advance_are_reached_though_they_were_not_met():
    dot = 'digraph a { "__init_x" -> "x"; "x" -> "x" [ label = "e" ]; "y" -> "y" [ label = "all" ]; }'
    made = custom_monitor(dot, "a.dot", BIND_ALL, "a.toml")
    seen = [Occurrence("e", {"cpu": 1}, Step("", "", "on CPU 1")), Occurrence("all", {}, Step("", "", "on all"))]
    sight = Sight(Occurrences.of(seen), {"cpu": (0, 1)}, "two")
    results = run_monitor(replace(made, look=lambda _: sight), parse("0 0 7 sched_waking"))
    assert [[step.what for step in result.verdict.path] for result in results] == [["on all"], ["on CPU 1", "on all"]]


def test_of_many_violations_twenty_are_told_and_the_rest_are_counted():
    dot = 'digraph a { "__init_x" -> "x"; "x" -> "y" [ label = "e" ]; }'
    made = custom_monitor(dot, "a.dot", 'start = "x"\n[events.e]\non = ["sched_waking"]', "a.toml")
    results = run_monitor(made, parse("\n".join(f"0 {at} 7 sched_waking" for at in range(300))))
    assert len(results) == 20
    assert "279 more of these are not told" in results[0].verdict.assumptions
    assert [len(result.verdict.path) for result in results] == [*range(2, 22)]
