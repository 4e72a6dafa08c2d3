"""The instance of our own is gone however the run ended, and a dead run's is removed by the next."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from nostale.contract import NostaleError
from nostale.outside import tracefs

pytestmark = pytest.mark.live


@pytest.fixture
def traced():
    """A tracefs to look at, in an instance of our own."""
    try:
        with tracefs.instance() as ours:
            yield ours
    except NostaleError as problem:
        pytest.skip(str(problem))


def others(root):
    """Names of our instances that belong to no live process of this test run."""
    return {path.name for path in (root / "instances").iterdir() if path.name.startswith("nostale-")}


def child(body):
    code = "from nostale.outside.tracefs import instance\nimport os, sys, time\nwith instance() as ours:\n"
    code += textwrap.indent(textwrap.dedent(body), "    ")
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


SLEEPS = """
    ours.write("events/sched/sched_switch/enable", "1")
    print(ours.path.name, flush=True)
    time.sleep(60)
"""


def test_it_exists_while_it_is_used_and_is_gone_after():
    try:
        with tracefs.instance() as ours:
            assert ours.path.is_dir()
            path = ours.path
    except NostaleError as problem:
        pytest.skip(str(problem))
    assert not path.exists()


def test_it_is_gone_after_an_exception(traced):
    process = child("print(ours.path.name, flush=True)\nraise ValueError")
    name = process.communicate()[0].strip()
    assert name.startswith("nostale-") and name not in others(traced.root)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_is_gone_after_a_signal(traced, number):
    process = child(SLEEPS)
    name = process.stdout.readline().strip()
    assert name in others(traced.root)
    process.send_signal(number)
    process.communicate()
    assert name not in others(traced.root)


def test_what_a_killed_run_left_is_removed_at_the_next_start(traced):
    process = child(SLEEPS)
    name = process.stdout.readline().strip()
    process.kill()
    process.communicate()
    assert name in others(traced.root)
    child("pass").communicate()
    assert name not in others(traced.root)


def test_a_private_mount_of_a_killed_run_is_removed_at_the_next_start(traced):
    if traced.root.name == "tracing":
        pytest.skip("tracefs is mounted for all here: no private mount is made")
    process = child("print(ours.root, flush=True)\ntime.sleep(60)")
    root = process.stdout.readline().strip()
    process.kill()
    process.communicate()
    child("pass").communicate()
    assert root not in Path("/proc/self/mounts").read_text()
    assert not Path(root).exists()


def test_a_live_runs_instance_is_left_alone(traced):
    process = child(SLEEPS)
    name = process.stdout.readline().strip()
    child("pass").communicate()
    left = name in others(traced.root)
    process.terminate()
    process.communicate()
    assert left


def test_nothing_global_is_touched(traced):
    before = {
        name: (traced.root / name).read_text() for name in ("tracing_on", "current_tracer", "set_event", "trace_clock")
    }
    process = child(SLEEPS)
    process.stdout.readline()
    during = {name: (traced.root / name).read_text() for name in before}
    process.terminate()
    process.communicate()
    assert during == before == {name: (traced.root / name).read_text() for name in before}


def test_an_unknown_event_is_none_and_an_unknown_file_is_told(traced):
    assert traced.event_format("sched", "no_such_event") is None
    with pytest.raises(NostaleError, match="no_such_file: No such file or directory"):
        traced.read("no_such_file")


def test_a_process_that_starts_later_with_the_same_pid_is_not_taken_for_it():
    assert tracefs._is_gone(os.getpid(), 1)
    assert not tracefs._is_gone(os.getpid(), tracefs._start_time(os.getpid()))
    assert time.monotonic() > 0
