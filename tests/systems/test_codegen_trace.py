"""codegen.sync-before-execute over traces: a sender that goes on before an asked CPU ran do_sync_core is found."""

import sys
from pathlib import Path

import pytest
from slow_looks import SlowLook, made

from nostale.contract import NostaleError, Role
from nostale.systems.codegen.trace import BINDING, MONITOR, _Look
from nostale.watch import analyse, read_trace, run_monitor
from nostale.watch.script import parse

KEPT = """
1 50 8 local_timer_entry
2 50 9 local_timer_entry
0 100 7 sys_enter id=1
0 110 7 csd_queue_cpu cpu=1 func=do_sync_core csd=1
1 120 8 csd_function_entry func=do_sync_core csd=1
0 130 7 csd_queue_cpu cpu=1 func=do_sync_core csd=1
1 140 8 csd_function_entry func=do_sync_core csd=1
0 150 7 sys_exit id=1
"""


def words(text):
    return [result.verdict.word for result in run_monitor(MONITOR, parse(text))]


def without(text, start):
    return "\n".join(line for line in text.splitlines() if not line.startswith(start))


def test_a_kept_protocol_is_unknown_with_what_was_seen():
    (result,) = run_monitor(MONITOR, parse(KEPT))
    assert result.verdict.word == "unknown"
    assert "seen: 2 batches that asked CPUs 1; do_sync_core ran 2 times there" in result.verdict.assumptions
    assert any(missing.startswith("execute: ") for missing in result.verdict.missing)


@pytest.mark.parametrize("removed", ["1 120", "1 140"])
def test_a_sender_that_goes_on_although_an_asked_cpu_has_not_run_it_is_found(removed):
    violated, *_ = run_monitor(MONITOR, parse(without(KEPT, removed)))
    assert (violated.verdict.word, violated.verdict.of) == ("violated", Role.RELY)
    assert violated.verdict.path[0].place == "csd_queue_cpu"
    assert violated.verdict.path[-1].why == "it relies on CPU 1 having run do_sync_core"


def test_each_asked_cpu_must_have_run_it():
    two = KEPT.replace("1 120", "0 111 7 csd_queue_cpu cpu=2 func=do_sync_core csd=2\n1 120")
    assert "violated" in words(two)
    assert "violated" not in words(two.replace("0 130", "2 125 9 csd_function_entry func=do_sync_core csd=2\n0 130"))


def test_lost_events_make_a_violation_a_doubt():
    assert words(without(KEPT, "1 120").replace("1 140", "1 139 lost 4\n1 140")) == ["unknown", "unknown"]


def test_a_trace_that_recorded_no_function_entries_accuses_nobody():
    assert words(without(without(KEPT, "1 120"), "1 140")) == ["unknown"]


def test_a_cpu_that_ran_an_unrecorded_thread_is_not_accused():
    hidden = without(KEPT, "1 120").replace("0 100", "1 60 8 sched_switch prev_pid=8 next_pid=77\n0 100")
    assert words(hidden) == ["unknown"]
    assert "violated" in words(hidden.replace("next_pid=77", "next_pid=8"))


def test_a_cpu_that_showed_nothing_before_is_not_accused():
    assert words(without(without(KEPT, "1 120"), "1 50")) == ["unknown"]
    trace = parse(without(KEPT, "1 ") + "\n2 160 9 csd_function_entry func=do_sync_core")
    trace.cpus = (0, 1, 2)
    assert [result.verdict.word for result in run_monitor(MONITOR, trace)] == ["unknown"]


def test_another_function_is_no_sync():
    assert "violated" in words(
        KEPT.replace("1 120 8 csd_function_entry func=do_sync_core", "1 120 8 csd_function_entry func=f")
    )


def test_batches_are_found_as_row_by_row():
    ends, hidden = 0, 0
    for seed in range(60):
        trace = made(seed)
        fast, slow = _Look(trace), SlowLook(trace)
        found = [*fast.occurrences()]
        assert found == [*slow.occurrences()]
        assert (fast.asked, fast.hidden, fast.unrecorded) == (slow.asked, slow.hidden, slow.unrecorded)
        ends += sum(one.event == "done" for one in found)
        hidden += len(fast.hidden)
    assert ends > 20
    assert hidden > 20


def test_an_execution_is_never_seen():
    assert BINDING.bound["execute"].grade == "unseen"


@pytest.mark.shared
def test_real_toggles_of_tracepoints_keep_it(shared):
    trace = read_trace(shared / "data/watch/text_poke.dat")
    (result,) = analyse(trace, [1], [MONITOR]).results
    assert result.verdict.word == "unknown"
    assert any(
        "180 batches that asked CPUs 1; do_sync_core ran 180 times there" in one for one in result.verdict.assumptions
    ), result.verdict.assumptions


@pytest.mark.live
def test_text_patches_of_this_machine_are_not_accused():
    sys.path.insert(0, str(Path(__file__).parents[1] / "watch"))
    from recorder import provoked

    try:
        trace, _ = provoked(4, "text")
    except (NostaleError, AssertionError) as problem:
        pytest.skip(f"cannot trace here: {problem}")
    (result,) = run_monitor(MONITOR, trace)
    assert result.verdict.word == "unknown"
    assert not any(one.startswith("seen: 0 batches") for one in result.verdict.assumptions)
