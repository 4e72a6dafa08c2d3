"""Recordings of other kernels: `provoked(2, *EVERY)` in Debian guests, emulated, so that interrupts come late there.

Kernels before 6.5 have no csd and no ipi events: who sent an IPI is not known then, and which event would tell is said.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from provoked import NAMED, names, reached
from recorder import EVERY

from nostale.contract import Kind, Work
from nostale.watch import analyse, needed, read_trace

KERNELS = Path(__file__).with_name("kernels")
LATE_NS = 400_000
OLDER, NEWER = ("5.10", "6.1"), ("6.12", "7.2")
SENT = ("csd_queue_cpu", "csd_function_entry", "csd_function_exit", "ipi_send_cpu", "ipi_send_cpumask")
# The compiler of 7.2 has made the function that sends part of the system call, which the other commands pass through.
INLINED = {**NAMED, "membarrier-global": (Work.MEMBARRIER, "ipi_mb < __do_sys_membarrier", "membarrier")}
NAMES = {kernel: NAMED for kernel in (*OLDER, "6.12")} | {"7.2": INLINED}
# What IPIs bring, and the call that its sender is in meanwhile; a signal's may arrive when the call is over.
BY_IPI = {
    "membarrier": "membarrier",
    "membarrier-private": "membarrier",
    "membarrier-rseq": "membarrier",
    "membarrier-global": "membarrier",
    "mprotect": "mprotect",
    "text": "write",
}


def told(kernel):
    truth = json.loads((KERNELS / f"{kernel}.json").read_text())
    return analyse(read_trace(KERNELS / f"{kernel}.dat"), [truth["cpu"]]), truth


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("kernel", NEWER)
def test_what_is_provoked_is_named_with_its_sender(kernel, name):
    answer, truth = told(kernel)
    by = [one for one in answer.breaks if names(one, name, truth, NAMES[kernel])]
    assert [one for one in by if any(reached(one, op, name, LATE_NS) for op in truth["ops"][name])]
    others = [op for other, ops in truth["ops"].items() if other != name for op in ops]
    if name not in ("wakeup", "fault") and NAMES[kernel][name] == NAMED[name]:  # other operations wake tasks, too
        assert not [one for one in by if any(low <= one.start_ns <= high for low, high in others)]


@pytest.mark.parametrize("kernel", NEWER)
def test_where_the_kernel_has_all_events_none_is_missing_and_every_sender_is_known(kernel):
    answer, _ = told(kernel)
    assert (answer.coverage["events_missing"], answer.coverage["breaks_unjoined"]) == ([], 0)


@pytest.mark.parametrize("name", ["wakeup", "workqueue", "fault"])
@pytest.mark.parametrize("kernel", OLDER)
def test_what_needs_no_ipi_is_named_on_older_kernels_too(kernel, name):
    answer, truth = told(kernel)
    by = [one for one in answer.breaks if names(one, name, truth)]
    for op in truth["ops"][name]:
        assert [one for one in by if reached(one, op, name, LATE_NS)]


@pytest.mark.parametrize("name", BY_IPI)
@pytest.mark.parametrize("kernel", OLDER)
def test_what_came_by_ipi_is_unknown_on_older_kernels_with_what_would_tell_and_who_was_in_which_call(kernel, name):
    answer, truth = told(kernel)
    for low, high in truth["ops"][name]:
        here = [one for one in answer.breaks if one.kind is Kind.IPI_CALL and low <= one.start_ns <= high]
        assert here
        for one in here:
            assert (one.cause.kind, one.cause.pid) == (Work.UNKNOWN, None)
            assert "no csd_function_entry and no csd_queue_cpu events, which would tell" in one.cause.looked_at
            assert f"python-{truth['actor_tid']} was in {BY_IPI[name]} on CPU 0" in one.cause.detail


@pytest.mark.parametrize("kernel", OLDER)
def test_what_older_kernels_lack_is_noted_and_nothing_else(kernel):
    answer, _ = told(kernel)
    assert answer.coverage["events_missing"] == list(SENT)
    assert [note.split(" events: ")[0] for note in answer.notes] == [f"no {event}" for event in SENT]
    unknown = {one.kind for one in answer.breaks if one.cause.kind is Work.UNKNOWN}
    assert unknown <= {Kind.IPI_CALL, Kind.IPI_RESCHEDULE, Kind.IRQ_WORK}


@pytest.mark.parametrize("kernel", [*OLDER, *NEWER])
def test_without_the_tasks_own_entries_the_rest_is_told_alike(kernel):
    path = KERNELS / f"{kernel}.dat"
    own = {Kind.SYSCALL, Kind.PAGE_FAULT}
    every = [one for one in analyse(read_trace(path), [1]).breaks if one.kind not in own]
    assert Counter(analyse(read_trace(path, needed(), fold_but=()), [1], own=False).breaks) == Counter(every)
