"""A user's automaton over a trace, in the form of the kernel's RV models: what breaks it is found wherever it began."""

import pytest
from tests.watch.recordings import dat7

from nostale.contract import BadInput
from nostale.watch import custom_monitor, needed, read_trace, run_monitor
from nostale.watch.custom import from_any_state
from nostale.watch.script import parse

# As the kernel's tools/verification/models/wwnr.dot is about: a task runs, is switched out, is woken only then.
DOT = """
digraph state_automaton {
    {node [shape = plaintext, style=invis, label=""] "__init_off"};
    {node [shape = ellipse] "off"};
    {node [shape = plaintext] "on"};
    "__init_off" -> "off";
    "off" -> "on" [ label = "switch_in" ];
    "on" -> "off" [ label = "switch_out" ];
    "off" -> "off" [ label = "wakeup" ];
}
"""
BIND = """
keys = ["task"]
title = "a task is woken only while it does not run"

[events.switch_in]
on = ["sched_switch"]
where = ["next_pid != 0"]
keys = {task = "next_pid"}

[events.switch_out]
on = ["sched_switch"]
where = ["prev_pid != 0"]
keys = {task = "prev_pid"}

[events.wakeup]
on = ["sched_waking"]
keys = {task = "pid"}
what = "is woken"
"""
TRACE = """
0 100 1 sched_waking pid=8
1 110 0 sched_switch prev_pid=0 next_pid=8
1 130 8 sched_switch prev_pid=8 next_pid=9
0 140 1 sched_waking pid=8
"""


def monitor(dot=DOT, bind=BIND):
    return custom_monitor(dot, "wwnr.dot", bind, "wwnr.toml")


def verdicts(text, **changed):
    return [result.verdict for result in run_monitor(monitor(**changed), parse(text))]


def test_a_run_that_keeps_to_it_holds_and_one_that_does_not_is_violated_with_its_path():
    assert [one.word for one in verdicts(TRACE)] == ["holds"]
    (broken,) = verdicts(TRACE.replace("1 130", "0 120 1 sched_waking pid=8\n1 130"))
    assert broken.word == "violated"
    assert [step.time_ns for step in broken.path] == [100, 110, 120]
    assert broken.path[-1].what == "is woken, ?-1"


def test_each_value_of_a_key_has_a_run_of_its_own():
    other = TRACE.replace("1 130", "0 120 1 sched_waking pid=9\n1 130")
    assert [one.word for one in verdicts(other)] == ["holds"]


def test_where_a_run_began_is_not_known_unless_it_is_said():
    """A trace may begin while the task runs: to be switched out first is no violation, unless it is said to be off."""
    late = "1 130 8 sched_switch prev_pid=8 next_pid=0"
    assert [one.word for one in verdicts(late + "\n0 140 1 sched_waking pid=8")] == ["holds"]
    said = 'start = "off"\n' + BIND
    assert "violated" in [one.word for one in verdicts(late + "\n0 140 1 sched_waking pid=8", bind=said)]


def test_what_is_not_recorded_or_not_bound_is_unknown():
    (absent,) = verdicts("1 130 8 sched_switch prev_pid=8 next_pid=0")
    assert absent.missing == ("wakeup: the trace has no sched_waking events",)
    (silent,) = verdicts("0 100 1 sched_waking pid=8", bind='start = "on"\n' + BIND)
    assert silent.word == "unknown"
    unseen = BIND.replace('on = ["sched_waking"]\nkeys = {task = "pid"}', 'unseen = "it is not traced here"')
    (doubt,) = verdicts(TRACE, bind=unseen)
    assert (doubt.word, doubt.missing) == ("unknown", ("wakeup: it is not traced here",))


def test_after_lost_events_nothing_is_judged():
    broken = TRACE.replace("1 130", "0 119 lost 2\n0 120 1 sched_waking pid=8\n1 130")
    (doubt,) = verdicts(broken)
    assert doubt.word == "unknown"
    assert doubt.missing[0] == "what came after 100 ns, as events were lost there"
    assert "seen: 0 switch_in, 0 switch_out, 1 wakeup" in doubt.assumptions


CONDITIONS = {
    "prev_state & 0xff == 0": 2,
    "prev_state == 0x100": 1,
    "next_pid > 8": 1,
    "next_comm == kw*": 1,
    "next_comm != kw*": 2,
    "common_cpu == 1": 2,
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditions_choose_events_by_number_bits_text_and_common_fields(condition):
    text = """
    0 100 8 sched_switch prev_pid=8 prev_state=1 next_pid=9 next_comm=kworker/0
    1 110 8 sched_switch prev_pid=8 prev_state=0x100 next_pid=8
    1 120 8 sched_switch prev_pid=8 next_pid=8
    """
    dot = 'digraph a { "__init_x" -> "x"; "x" -> "x" [ label = "e" ]; }'
    made = custom_monitor(dot, "a.dot", f'[events.e]\non = ["sched_switch"]\nwhere = ["{condition}"]', "a.toml")
    (result,) = run_monitor(made, parse(text))
    assert result.verdict.bounds == (f"{CONDITIONS[condition]} e",)


def test_a_pointer_is_compared_with_a_functions_name():
    text = "0 100 7 csd_queue_cpu cpu=1 func=do_sync_core\n0 101 7 csd_queue_cpu cpu=1 func=flush_tlb_func"
    dot = 'digraph a { "__init_x" -> "x"; "x" -> "x" [ label = "e" ]; }'
    made = custom_monitor(dot, "a.dot", '[events.e]\non = ["csd_queue_cpu"]\nwhere = ["func == flush_*"]', "a.toml")
    assert run_monitor(made, parse(text))[0].verdict.bounds == ("1 e",)


FAULTS = {
    "x = 1": "'x' means nothing here",
    "[events.wakeup": "is not TOML",
    "": "does not bind the event 'switch_in'",
    BIND.replace('on = ["sched_waking"]', ""): "is bound to nothing",
    BIND.replace("next_pid != 0", "next_pid"): "is not a condition",
    BIND.replace('"task"]', '"cpu"]'): "is not among the contract's keys",
    'start = "nowhere"\n' + BIND: "no state 'nowhere'",
    BIND.replace("events.wakeup", "events.wake"): "the automaton has no such event",
}


@pytest.mark.parametrize("bind", FAULTS)
def test_a_bad_binding_is_one_line_that_says_what(bind):
    with pytest.raises(BadInput) as told:
        monitor(bind=bind)
    assert FAULTS[bind] in str(told.value)
    assert "\n" not in str(told.value)


def test_the_automaton_from_any_state_refuses_what_every_state_refuses():
    """Beside a slow look: every run of at most four events, from every state."""
    from itertools import product

    from nostale.contract import read_dot

    plain = read_dot(DOT, "x.dot")
    whole = from_any_state(plain)
    for events in product(plain.events, repeat=4):
        state, alive = whole.initial, set(plain.states)
        for event in events:
            alive = {plain.edges[one, event] for one in alive if (one, event) in plain.edges}
            state = whole.step(state, event)
            assert (state is None) == (not alive)
            if state is None:
                break
            assert set(state.split(" | ")) == alive


TIMER = 'digraph t { "__init_out" -> "out"; "out" -> "in" [ label = "entry" ]; "in" -> "out" [ label = "exit" ]; }'
TIMERS = "\n".join(
    f'[events.{name}]\non = ["local_timer_{name}"]\nkeys = {{cpu = "common_cpu"}}' for name in ("entry", "exit")
)


@pytest.mark.shared
def test_a_recorded_kernel_enters_and_leaves_the_timers_interrupt_in_turn(shared):
    trace = read_trace(shared / "data/watch/none.dat")
    made = custom_monitor(TIMER, "t.dot", 'keys = ["cpu"]\n' + TIMERS, "t.toml")
    assert [result.verdict.word for result in run_monitor(made, trace)] == ["holds"]
    mixed = custom_monitor(TIMER, "t.dot", TIMERS.replace("keys", "# keys"), "t.toml")  # one run for all CPUs
    assert "violated" in [result.verdict.word for result in run_monitor(mixed, trace)]


def test_every_field_of_an_event_that_it_names_is_there_in_a_recording(tmp_path):
    """Of most sys_enter events little is needed; here a user asks for more."""
    path = dat7(tmp_path / "x.dat", "0 100 7 sys_enter id=10 args[3]=5\n0 110 7 sys_exit id=10")
    bind = """
        keys = ["cpu"]
        [events.call]
        on = ["sys_enter"]
        where = ["args[3] == 5"]
        keys = {cpu = "common_cpu"}
    """
    dot = 'digraph state_automaton { {node [shape = plaintext] "a"}; "__init_a" -> "a"; "a" -> "a" [label = "call"]; }'
    asked = custom_monitor(dot, "one.dot", bind, "one.toml")
    (result,) = run_monitor(asked, read_trace(path, needed([asked])))
    assert "1 call" in str(result.verdict)
