"""Ground truth: on each recording the provoking cause is named where the operation struck, and nowhere else.

The truth (NAME.json) was written by the provoking program itself. Whether its target had CPU 1 is asked of
sched_switch alone, here and not through the engine's own attribution.
"""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from nostale.contract import Interruption, Kind, Work
from nostale.watch import analyse, needed, read_trace
from nostale.watch.joins import Joins
from nostale.watch.spans import OWN

pytestmark = pytest.mark.shared
SLACK_NS = 30_000  # an event is written a little before or after the clock is read around the call
MS = 1_000_000


@dataclass(frozen=True)
class Expected:
    """What a break must say to name the provocation; `by` is whose work it was."""

    work: Work
    by: str
    kind: Kind | None = None
    function: str | None = None
    syscall: str | None = None
    frame: str | None = None
    strikes_ns: int = 0  # after the operation's begin
    asks: str | None = None  # the operation strikes only now and then: when the actor asks CPU 1 to run this

    def named_by(self, one: Interruption, truth: dict) -> bool:
        return (
            one.cause.kind is self.work
            and one.pid == truth["target_tid"]
            and one.cause.pid == truth[self.by]
            and self.kind in (None, one.kind)
            and self.function in (None, one.cause.function)
            and self.syscall in (None, one.cause.syscall)
            and (self.frame is None or self.frame in one.cause.stack)
        )


EXPECTED = {
    "membarrier_sync_core": Expected(
        Work.MEMBARRIER, "actor_tid", Kind.IPI_CALL, "ipi_sync_core", "membarrier", "membarrier_private_expedited"
    ),
    "mprotect": Expected(Work.TLB_FLUSH, "actor_tid", Kind.IPI_CALL, "flush_tlb_func", "mprotect", "do_mprotect_pkey"),
    "text_poke": Expected(
        Work.TEXT_PATCH, "actor_tid", Kind.IPI_CALL, "do_sync_core", "write", "smp_text_poke_batch_finish"
    ),
    "bpf_load": Expected(
        Work.BPF_LOAD,
        "actor_tid",
        Kind.IPI_CALL,
        "__bpf_arch_ibpb",
        "setsockopt",
        "bpf_int_jit_compile",
        asks="__bpf_arch_ibpb",
    ),
    "signal": Expected(Work.SIGNAL, "actor_tid", Kind.IPI_RESCHEDULE, None, "tgkill", "kick_process"),
    "timer": Expected(
        Work.POSIX_TIMER, "actor_tid", Kind.IPI_RESCHEDULE, None, "timer_settime", "posix_timer_fn", strikes_ns=MS
    ),
    "workqueue": Expected(Work.WORKQUEUE, "actor_tid", Kind.CONTEXT_SWITCH, "refresh_vm_stats", "write"),
    "pagefault": Expected(Work.SELF, "target_tid", Kind.PAGE_FAULT),
    "syscall": Expected(Work.SELF, "target_tid", Kind.SYSCALL, None, "getppid"),
    "exec_cpu1": Expected(Work.TLB_FLUSH, "actor_tid", Kind.IPI_CALL, "flush_tlb_func", "clone", "dup_mmap"),
}


@dataclass(frozen=True)
class Score:
    windows: int
    named: int
    right: int
    wrong: int

    @property
    def recall(self) -> float:
        return self.named / self.windows if self.windows else 0.0

    @property
    def precision(self) -> float:
        told = self.right + self.wrong
        return self.right / told if told else 0.0


def score(name: str, breaks: tuple[Interruption, ...], trace, truth: dict) -> Score:
    expected = EXPECTED[name]
    windows = [op for op in truth["ops"] if struck(op, expected, trace, truth)]
    span = (truth["ops"][0][0] - SLACK_NS, truth["ops"][-1][1] + SLACK_NS)
    told = [one for one in breaks if expected.named_by(one, truth) and span[0] <= one.start_ns <= span[1]]
    named = sum(any(overlaps(one, op) for one in told) for op in windows)
    right = sum(any(overlaps(one, op) for op in truth["ops"]) for one in told)
    return Score(len(windows), named, right, len(told) - right)


def overlaps(one: Interruption, op: list[int]) -> bool:
    end = one.start_ns + (one.duration_ns or 0)
    return one.start_ns <= op[1] + SLACK_NS and end >= op[0] - SLACK_NS


def struck(op: list[int], expected: Expected, trace, truth: dict) -> bool:
    if expected.asks and not asked(op, expected.asks, trace, truth):
        return False
    return on_cpu(trace, truth, op[0] + expected.strikes_ns)


def asked(op: list[int], function: str, trace, truth: dict) -> bool:
    rows = trace.rows("csd_queue_cpu")
    rows = rows[(trace.ts[rows] >= op[0]) & (trace.ts[rows] <= op[1]) & (trace.pid[rows] == truth["actor_tid"])]
    return function in [trace.origin.symbols.name(int(one)) for one in trace.field(rows, "csd_queue_cpu", "func")]


def on_cpu(trace, truth: dict, when_ns: int) -> bool:
    rows = trace.rows("sched_switch")
    rows = rows[trace.cpu[rows] == truth["cpu"]]
    at = int(np.searchsorted(trace.ts[rows], when_ns)) - 1
    return at >= 0 and int(trace.field(rows[at : at + 1], "sched_switch", "next_pid")[0]) == truth["target_tid"]


def load(shared, name):
    truth = json.loads((shared / f"data/watch/{name}.json").read_text())
    return read_trace(shared / f"data/watch/{name}.dat"), truth


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_provoking_cause_is_named_where_it_struck_and_nowhere_else(shared, name, record_property):
    trace, truth = load(shared, name)
    found = score(name, analyse(trace, [truth["cpu"]]).breaks, trace, truth)
    record_property("score", str(found))
    assert found.windows > 0
    assert (found.recall, found.precision) == (1.0, 1.0), found


def test_nothing_crosses_cpus_in_the_windows_of_an_operation_that_does_nothing(shared):
    trace, truth = load(shared, "none")
    breaks = analyse(trace, [truth["cpu"]]).breaks
    windows = [op for op in truth["ops"] if on_cpu(trace, truth, op[0])]
    assert windows
    for op in windows:
        inside = [one for one in breaks if one.pid == truth["target_tid"] and op[0] <= one.start_ns <= op[1]]
        assert not [one for one in inside if one.cause.cpu not in (None, truth["cpu"])]


def test_a_program_that_execs_on_the_cpu_is_told_as_the_task_that_took_it(shared):
    """The second half of exec_cpu1: the child, moved to CPU 1, takes it from the target."""
    trace, truth = load(shared, "exec_cpu1")
    told = [
        one for one in analyse(trace, [1]).breaks if one.kind is Kind.CONTEXT_SWITCH and one.pid == truth["target_tid"]
    ]
    for op in truth["ops"]:
        taken = taken_by_child(op, trace, truth)
        # Woken there, or brought there and let on by the tick when its turn came.
        assert all(
            any(one.start_ns == when and one.cause.kind in (Work.WAKEUP, Work.TICK) for one in told) for when in taken
        )
    assert sum(len(taken_by_child(op, trace, truth)) for op in truth["ops"]) >= 10


def taken_by_child(op: list[int], trace, truth: dict) -> list[int]:
    """When, in the window, the target lost CPU 1 to a child of the actor that had been born in it."""
    born = trace.rows("task_newtask")
    born = born[(trace.ts[born] >= op[0]) & (trace.ts[born] <= op[1]) & (trace.pid[born] == truth["actor_tid"])]
    children = set(trace.field(born, "task_newtask", "pid").tolist())
    rows = trace.rows("sched_switch")
    rows = rows[(trace.ts[rows] >= op[0]) & (trace.ts[rows] <= op[1]) & (trace.cpu[rows] == truth["cpu"])]
    rows = rows[trace.pid[rows] == truth["target_tid"]]
    to = trace.field(rows, "sched_switch", "next_pid").tolist()
    return [int(trace.ts[row]) for row, pid in zip(rows.tolist(), to) if pid in children]


# --- every recording: nothing is left out, nothing is counted twice

RECORDINGS = sorted({*EXPECTED, "none"})


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_interrupt_that_hit_a_user_task_is_told(shared, name):
    trace, truth = load(shared, name)
    starts = {one.start_ns for one in analyse(trace, [1]).breaks}
    rows = trace.rows("reschedule_entry", "call_function_single_entry", "local_timer_entry", "irq_handler_entry")
    rows = rows[(trace.cpu[rows] == 1) & (trace.pid[rows] == truth["target_tid"])]
    assert rows.size
    assert set(trace.ts[rows].tolist()) <= starts


@pytest.mark.parametrize("name", RECORDINGS)
def test_no_time_of_a_task_is_counted_twice(shared, name):
    trace, truth = load(shared, name)
    mine = [one for one in analyse(trace, [1]).breaks if one.pid == truth["target_tid"]]
    total = sum(one.duration_ns or 0 for one in mine)
    assert 0 < total <= mine[-1].start_ns + (mine[-1].duration_ns or 0) - mine[0].start_ns


# --- the test of the test: readers that are wrong must fail it


def everywhere(name, breaks, truth):
    """Names the expected cause at every break of the target."""
    expected = EXPECTED[name]
    return tuple(renamed(expected, one, truth) for one in breaks if one.pid == truth["target_tid"])


def renamed(expected, one, truth):
    cause = replace(
        one.cause,
        kind=expected.work,
        pid=truth[expected.by],
        function=expected.function,
        syscall=expected.syscall,
        stack=(expected.frame or "",),
    )
    return replace(one, kind=expected.kind or one.kind, cause=cause)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_reader_that_names_the_cause_everywhere_fails(shared, name):
    trace, truth = load(shared, name)
    breaks = analyse(trace, [truth["cpu"]]).breaks
    assert score(name, everywhere(name, breaks, truth), trace, truth).precision < 1.0


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_reader_that_names_no_cause_fails(shared, name):
    trace, truth = load(shared, name)
    assert score(name, (), trace, truth).recall == 0.0


JOINS = {
    "csd": ("mprotect", "membarrier_sync_core", "text_poke", "bpf_load", "exec_cpu1"),
    "sent": ("signal", "timer"),
    "stack": ("mprotect", "membarrier_sync_core", "text_poke", "bpf_load", "signal", "timer", "exec_cpu1"),
    "queued": ("workqueue",),
    # Where there is a stack it names the call as well: these two have none.
    "syscall": ("timer", "workqueue"),
    "armed": ("timer",),
    "call_name": ("syscall",),
}


@pytest.mark.parametrize(("join", "name"), [(join, name) for join, names in JOINS.items() for name in names])
def test_an_attribution_that_lacks_one_join_fails(shared, monkeypatch, join, name):
    trace, truth = load(shared, name)
    empty = {"sent": (), "stack": ()}.get(join)
    monkeypatch.setattr(Joins, join, lambda *_: empty)
    assert score(name, analyse(trace, [truth["cpu"]]).breaks, trace, truth).recall < 1.0


@pytest.mark.parametrize("name", RECORDINGS)
def test_without_the_tasks_own_entries_the_others_are_as_with_them(shared, name):
    """Without, system calls are folded, and most are not walked through at all."""
    path = shared / f"data/watch/{name}.dat"
    whole, short = analyse(read_trace(path)), analyse(read_trace(path, needed(), fold_but=()), own=False)
    assert list(short.breaks) == [one for one in whole.breaks if one.kind not in OWN]
    assert short.coverage == whole.coverage
