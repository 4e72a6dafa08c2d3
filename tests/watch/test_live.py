"""This machine, live: what is provoked on a spinner is named. Needs root, tracefs and two CPUs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from recorder import ALL, provoked
from test_demo import WORKS

from nostale.contract import BadInput, NostaleError
from nostale.outside.tracefs import instance
from nostale.watch import analyse, watch_live

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def seen():
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU: nobody can provoke from another")
    try:
        return provoked(6, *ALL)
    except NostaleError as problem:
        pytest.skip(str(problem))


@pytest.mark.parametrize("name", sorted(WORKS))
def test_what_is_provoked_on_a_spinner_is_named_with_its_sender(seen, name):
    trace, truth = seen
    breaks = analyse(trace, [truth["cpu"]]).breaks
    mine = [one for one in breaks if one.cause.kind is WORKS[name] and one.cause.pid == truth["actor_tid"]]
    assert [one for one in mine if any(low <= one.start_ns <= high + 30_000 for low, high in truth["ops"][name])]


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
