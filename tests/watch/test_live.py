"""This machine, live: what is provoked on a spinner is named. Needs root, tracefs and two CPUs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from recorder import EVERY, provoked

from nostale.contract import BadInput, Kind, NostaleError, Work
from nostale.outside.tracefs import instance
from nostale.watch import analyse, watch_live

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def seen():
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU: nobody can provoke from another")
    try:
        return provoked(12, *EVERY)
    except NostaleError as problem:
        pytest.skip(str(problem))


# What a break by each operation must say: work, functions that ran or stand on the sender's stack, system call.
NAMED = {
    "membarrier": (Work.MEMBARRIER, "ipi_sync_core", "membarrier"),
    "membarrier-private": (Work.MEMBARRIER, "ipi_mb < membarrier_private_expedited", "membarrier"),
    "membarrier-rseq": (Work.MEMBARRIER, "ipi_rseq", "membarrier"),
    "membarrier-global": (Work.MEMBARRIER, "ipi_mb < membarrier_global_expedited", "membarrier"),
    "mprotect": (Work.TLB_FLUSH, "flush_tlb_func", "mprotect"),
    "text": (Work.TEXT_PATCH, "do_sync_core", "write"),
    "signal": (Work.SIGNAL, "kick_process", "tgkill"),
    "timer": (Work.POSIX_TIMER, None, "timer_settime"),
    "wakeup": (Work.WAKEUP, None, "write"),
    "workqueue": (Work.WORKQUEUE, "refresh_vm_stats", "write"),
    "fault": (Work.SELF, None, None),
}


def names(one, name, truth):
    work, what, syscall = NAMED[name]
    had = {each.partition(".")[0] for each in (one.cause.function or "", *one.cause.stack)}
    return (
        one.cause.kind is work
        and (what is None or set(what.split(" < ")) <= had)
        and one.cause.syscall == syscall
        and one.cause.pid == (truth["toucher_tid"] if name == "fault" else truth["actor_tid"])
        and (one.kind is Kind.PAGE_FAULT or name != "fault")
    )


def reached(one, op, name):
    """Whether a break lies in an operation's window; what needs the CPU first may be let on it by the tick only."""
    late_ns = 5_000_000 if name in ("wakeup", "workqueue", "fault") else 30_000
    return op[0] - 30_000 <= one.start_ns <= op[1] + late_ns


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
