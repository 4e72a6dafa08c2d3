"""This machine, live: what is provoked on a spinner is named. Needs root, tracefs and two CPUs."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from provoked import names, reached
from recorder import EVERY, provoked

from nostale.contract import BadInput, Kind, NostaleError
from nostale.outside.tracefs import instance
from nostale.watch import analyse, read_trace, run_monitor, sampling, watch_live

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def seen():
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU: nobody can provoke from another")
    try:
        return provoked(12, *EVERY)
    except NostaleError as problem:
        pytest.skip(str(problem))


@pytest.mark.parametrize("name", EVERY)
def test_what_is_provoked_is_named_with_its_sender(seen, name):
    trace, truth = seen
    told = [one for one in analyse(trace, [truth["cpu"]]).breaks if names(one, name, truth)]
    assert [one for one in told if any(reached(one, op, name) for op in truth["ops"][name])]


@pytest.mark.parametrize("name", [name for name in EVERY if name not in ("wakeup", "fault")])
def test_what_is_provoked_is_named_in_no_other_window(seen, name):
    """Wake-ups are left out: other operations wake tasks, too."""
    trace, truth = seen
    told = [one for one in analyse(trace, [truth["cpu"]]).breaks if names(one, name, truth)]
    others = [op for other, ops in truth["ops"].items() if other != name for op in ops]
    assert not [one for one in told if any(op[0] <= one.start_ns <= op[1] for op in others)]


def test_the_recorder_does_not_see_its_own_system_calls(seen):
    trace, _ = seen
    assert os.getpid() not in set(trace.pid[trace.rows("sys_enter")].tolist())


def test_no_reader_wakes_up_the_watched_cpu(seen):
    trace, truth = seen
    functions = {one.cause.function for one in analyse(trace, [truth["cpu"]]).breaks}
    assert "rb_wake_up_waiters" not in functions


def test_affinity_is_as_before():
    before = os.sched_getaffinity(0)
    try:
        watch_live(0.1, [max(before)])
    except NostaleError as problem:
        pytest.skip(str(problem))
    assert os.sched_getaffinity(0) == before


def test_a_cpu_that_is_not_there_is_told():
    with pytest.raises(NostaleError) as told:
        watch_live(0.1, [4095])
    if not isinstance(told.value, BadInput):
        pytest.skip(str(told.value))
    assert "CPU 4095: is not online" in str(told.value)


def test_an_interrupted_watch_leaves_no_instance_behind():
    code = "from nostale.watch import watch_live\nwatch_live(60, ready=lambda: print('on', flush=True))"
    try:
        with instance() as ours:
            watch = subprocess.Popen(
                [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            assert watch.stdout.readline() == "on\n"
            during = instances_of(watch.pid, ours)
            watch.send_signal(signal.SIGINT)
            watch.communicate()
            assert (len(during), instances_of(watch.pid, ours)) == (1, [])
    except NostaleError as problem:
        pytest.skip(str(problem))


def instances_of(pid, ours):
    return [path.name for path in (ours.root / "instances").iterdir() if path.name.startswith(f"nostale-{pid}-")]


@pytest.fixture
def busy():
    """A task that spins on CPU 1."""
    if 1 not in os.sched_getaffinity(0):
        pytest.skip("no CPU 1")
    code = "import os\nos.sched_setaffinity(0, {1})\nprint(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as spinner:
        spinner.stdout.readline()
        yield spinner.pid
        spinner.kill()


def run(*arguments, **options):
    command = [sys.executable, "-m", "nostale", "watch", "live", *arguments, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)
    if done.returncode == 2 and ("not root" in done.stderr or "cause: a kernel without" in done.stderr):
        pytest.skip(done.stderr)
    return done


def test_a_flight_recorder_stops_at_the_first_long_break_and_keeps_what_led_to_it(busy, tmp_path):
    kept = tmp_path / "kept.dat"
    started = time.monotonic()
    done = run("--cpu", "1", "--until-break", "1us", "--seconds", "30", "--record", str(kept))
    assert time.monotonic() - started < 20
    assert "stopped at a break of" in done.stderr
    at = int(re.search(r"at (\d+) ns", done.stderr)[1])
    saved = analyse(read_trace(kept), [1]).breaks
    assert [one for one in saved if one.start_ns == at and one.duration_ns >= 1000]


def test_a_flight_recorder_without_such_a_break_says_so(busy, tmp_path):
    done = run("--cpu", "1", "--until-break", "9s", "--seconds", "0.5", cwd=tmp_path)
    assert "there was no break of 9e+06 us" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_flight_recorder_keeps_the_last_seconds_only(busy, tmp_path):
    kept = tmp_path / "kept.dat"
    run("--cpu", "1", "--until-break", "9s", "--seconds", "6", "--record", str(kept))
    times = read_trace(kept).ts
    assert 1_000_000_000 < times[-1] - times[0] < 5_000_000_000  # two, and what a loaded machine is late by


def test_membarrier_keeps_its_promise_on_this_machine(seen):
    from nostale.systems.lazytlb.trace import MONITOR, look

    trace, _ = seen
    assert "violated" not in [result.verdict.word for result in run_monitor(MONITOR, trace)]
    assert look(trace).occurrences.count("core-sync") > 0


def test_which_pages_have_events_after_a_time_is_told_by_the_pages():
    from nostale.watch.live import _Held

    pages = [stamp.to_bytes(8, "little") for stamp in (10, 20, 30)]
    held = _Held({0: list(pages), 1: []})
    assert [len(held.since(when)[0]) for when in (0, 10, 11, 20, 21, 99)] == [3, 3, 3, 3, 2, 1]
    held.forget(25)
    assert held.pages == {0: pages[1:], 1: []}


def test_gap_samples_are_of_a_task_of_our_own_and_every_long_tick_lies_in_one():
    with sampling([1]) as gaps:
        try:
            trace = watch_live(0.5, [1])
        except NostaleError as problem:
            pytest.skip(str(problem))
        told = gaps()
    assert told == tuple(sorted(told, key=lambda one: one.start_ns))
    assert all(gap.end_ns - gap.start_ns >= 1000 for gap in told)
    breaks = analyse(trace, [1], gaps=told).breaks
    ticks = [one for one in breaks if one.kind is Kind.TIMER_TICK and one.pid == told[0].pid and one.duration_ns > 2000]
    assert ticks
    for one in ticks:
        assert any(gap.start_ns <= one.start_ns and one.end_ns <= gap.end_ns for gap in told)
    for one in (one for one in breaks if one.kind is Kind.UNSEEN):
        assert not ((trace.cpu == 1) & (trace.ts >= one.start_ns) & (trace.ts <= one.end_ns)).any()


def test_nobody_draws_or_reads_on_the_watched_cpu(seen):
    """The recorder's threads keep off the watched CPU: none of its own is ever switched to there."""
    trace, truth = seen
    rows = trace.rows("sched_switch")
    rows = rows[trace.cpu[rows] == truth["cpu"]]
    assert os.getpid() not in set(trace.field(rows, "sched_switch", "next_pid").tolist())
