"""What is told alike is asked once: the same as if each interruption had been told by itself, compiled or not."""

import random
from dataclasses import replace

import numpy as np
import pytest
from slowly import one_by_one

from nostale.contract.breaks import sums
from nostale.watch import analyse, group, read_trace
from nostale.watch.compiled import library
from nostale.watch.joins import Joins
from nostale.watch.ring import Lost
from nostale.watch.script import parse
from nostale.watch.stretches import stretches

PIDS = {0: "swapper/0", 7: "a", 8: "b", 9: "kworker/0:1", 10: "migration/1", 11: "c"}
EVENTS = (
    "local_timer_entry", "local_timer_exit", "softirq_entry vec=1", "softirq_entry vec=9", "softirq_exit vec=1",
    "reschedule_entry", "reschedule_exit", "irq_work_entry", "irq_work_exit", "call_function_single_entry",
    "call_function_single_exit",
    "irq_handler_entry irq=9 name=nvme", "irq_handler_entry irq=9 name=eth", "x86_platform_ipi_entry",
    "irq_handler_exit",
    "sys_enter id=10", "sys_enter id=24", "sys_enter id=202", "sys_exit id=10", "sys_exit id=24", "page_fault_user",
    "user_enter", "softirq_raise vec=4", "softirq_raise vec=3",
    "softirq_raise vec=1", "nmi_handler handler=perf_event_nmi_handler",
    "csd_queue_cpu cpu={cpu} callsite=f func={func} csd={csd}", "csd_function_entry func={func} csd={csd}",
    "csd_function_exit func={func} csd={csd}", "ipi_send_cpu cpu={cpu} callsite={callsite} callback={callback}",
    "hrtimer_start hrtimer={csd} function={timer}", "hrtimer_expire_entry hrtimer={csd} function={timer}",
    "hrtimer_expire_exit", "sched_waking pid={pid}", "sched_wakeup pid={pid}",
    "workqueue_queue_work work={csd} function=vmstat_update",
    "workqueue_execute_start work={csd} function=vmstat_update", "workqueue_execute_end work={csd}",
    "sched_switch prev_pid={own} prev_state=0 next_pid={pid}",
    "sched_switch prev_pid={own} prev_state=1 next_pid={pid}",
    "tick_stop success=0 dependency=4",
)  # fmt: skip
ASKS = ("sched_waking", "ipi_send", "csd_queue", "hrtimer_start")
STACKS = ("try_to_wake_up asm_sysvec_apic_timer_interrupt", "signal_wake_up_state __x64_sys_kill", "")
RECORDINGS = ("exec_cpu1", "mprotect", "signal", "text_poke", "timer", "workqueue")


def made(seed, many=400):
    """A trace in which anything may follow anything; some of its events carry stacks."""
    rng = random.Random(seed)
    events = rng.sample(EVENTS, rng.randrange(12, len(EVENTS)))
    running = [rng.choice((7, 8)), rng.choice((9, 11))]
    lines = []
    for at in range(many):
        cpu = rng.randrange(2)
        pid = rng.choice([one for one in PIDS if one not in running])
        words = {
            "cpu": rng.randrange(2),
            "own": running[cpu],
            "pid": pid,
            "csd": rng.randrange(0, 4),
            "func": rng.choice(("do_sync_core", "sched_ttwu_pending", "flush_tlb_func", "nobody_knows")),
            "callsite": rng.choice(("try_to_wake_up", "signal_wake_up_state", "f")),
            "callback": rng.choice(("NULL", "rb_wake_up_waiters")),
            "timer": rng.choice(("tick_nohz_handler", "hrtimer_wakeup", "posix_timer_fn", "odd")),
        }
        event = rng.choice(events).format(**words)
        stack = (
            rng.choice(STACKS) if event.startswith(("sched_waking", "ipi_send", "csd_queue", "hrtimer_start")) else ""
        )
        lines.append(f"{cpu} {1000 + 7 * at} {running[cpu]} {event}")
        if stack:
            lines.append(f"{cpu} {1001 + 7 * at} {running[cpu]} kernel_stack {stack}")
        if event.startswith("sched_switch"):
            running[cpu] = pid
    trace = parse("\n".join(lines), comms=PIDS)
    lost = (Lost(0, 1700, 1900, 5), Lost(1, 2500, 2504, None)) if seed % 3 == 0 else ()
    return replace(trace, table=replace(trace.table, lost=lost))


@pytest.fixture(params=["compiled", "plain"])
def way(request, monkeypatch):
    """Both ways of everything that has two."""
    lib = library(worth_compiling=True)
    if request.param == "compiled" and lib is None:
        pytest.skip("no C compiler")
    for module in ("related", "stretches", "group"):
        monkeypatch.setattr(f"nostale.watch.{module}.library", lambda **_: lib if request.param == "compiled" else None)


@pytest.mark.parametrize("seed", range(90))
def test_each_interruption_is_told_as_by_itself(way, seed):
    trace = made(seed)
    assert list(analyse(trace, [0]).breaks) == one_by_one(trace, [0])
    assert list(analyse(trace, own=False).breaks) == one_by_one(trace, [0, 1], own=False)


@pytest.mark.parametrize("seed", range(20))
def test_sums_of_columns_are_those_of_each(seed):
    breaks = analyse(made(seed)).breaks
    assert breaks.summed == sums(breaks.which, breaks.duration_ns, len(breaks.alike))
    assert sum(one.count for _, one in breaks.sums()) == len(breaks) > 20


@pytest.mark.parametrize("seed", range(20))
def test_in_pieces_it_is_told_as_at_once(monkeypatch, seed):
    monkeypatch.setattr("nostale.watch.alike._AT_ONCE", 5)
    trace = made(seed)
    assert list(analyse(trace, [1]).breaks) == one_by_one(trace, [1])


@pytest.mark.parametrize("name", RECORDINGS)
def test_each_interruption_of_a_recording_is_told_as_by_itself(shared, way, name):
    trace = read_trace(shared / f"data/watch/{name}.dat")
    assert list(analyse(trace, own=False).breaks) == one_by_one(trace, trace.cpus, own=False)
    assert list(analyse(trace, [1]).breaks) == one_by_one(trace, [1])


@pytest.mark.parametrize("seed", range(30))
def test_the_compiled_walk_makes_the_stretches_of_the_plain_one(monkeypatch, seed):
    if library(worth_compiling=True) is None:
        pytest.skip("no C compiler")
    trace = made(seed)
    joins = Joins(trace)
    fast = stretches(trace, trace.cpus, joins.related, joins.is_kernel_thread)
    monkeypatch.setattr("nostale.watch.stretches.library", lambda **_: None)
    slow = stretches(trace, trace.cpus, joins.related, joins.is_kernel_thread)
    assert len(fast) == len(slow) > 20
    assert [fast.span(at) for at in range(len(fast))] == [slow.span(at) for at in range(len(slow))]
    assert fast.made["told"].tolist() == slow.made["told"].tolist()


@pytest.mark.parametrize("number", range(9))
def test_a_key_that_lacks_a_number_tells_something_wrong(monkeypatch, number):
    """Each number of a key is needed: without any one some interruption is told as another."""

    def without(keys, rows):
        keys = keys.copy()
        keys[:, number] = 0
        return group.grouped(keys, rows)

    monkeypatch.setattr("nostale.watch.alike.grouped", without)
    traces = map(made, range(90))
    assert any(list(analyse(trace).breaks) != one_by_one(trace, trace.cpus) for trace in traces)


@pytest.mark.parametrize("seed", range(10))
def test_groups_are_those_of_equal_keys(seed):
    if library(worth_compiling=True) is None:
        pytest.skip("no C compiler")
    keys = np.random.default_rng(seed).integers(-2, 3, (300 * (seed > 0), 3))
    rows = np.flatnonzero(keys[:, 0] != 1)
    for fast, slow in zip(group.grouped(keys, rows), group.one_by_one(keys, rows)):
        assert fast.tolist() == slow.tolist()
