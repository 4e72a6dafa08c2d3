"""lazytlb.membarrier-interrupts over traces: a thread that ran throughout a call and was not interrupted is found."""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from slow_looks import made, slow_calls

from nostale.systems.lazytlb.trace import MONITOR, _calls, _entered, _Entries, look
from nostale.watch import needed, read_trace, run_monitor
from nostale.watch.build import WORTH_COMPILING, build
from nostale.watch.compiled import library
from nostale.watch.script import PAGE_BYTES, parse

BORN = """
0 10 7 task_newtask pid=8 clone_flags=0x3d0f00
1 20 0 sched_switch prev_pid=0 next_pid=8
"""
CALL = """
0 {0} 7 sys_enter id=324 args[0]=32
0 {1} 7 csd_queue_cpu cpu=1 func=ipi_sync_core csd=1
1 {2} 8 csd_function_entry func=ipi_sync_core csd=1
0 {4} 7 sys_exit id=324
1 {5} 8 local_timer_entry
"""
KEPT = BORN + CALL.format(*range(100, 200))
GROUPS = {7: 7, 8: 7, 9: 9}


def without(text, *starts):
    return "\n".join(line for line in text.splitlines() if not line.startswith(starts))


def judged(text, groups=()):
    trace = parse(text)
    trace.origin = replace(trace.origin, groups=dict(groups))
    return run_monitor(MONITOR, trace)


def words(text, groups=()):
    return [result.verdict.word for result in judged(text, groups)]


SILENT = without(KEPT, "0 101", "1 102") + "\n0 1 9 csd_queue_cpu cpu=0\n1 1 9 csd_function_entry\n"
SILENT = "0 1 9 csd_queue_cpu cpu=0\n1 1 9 csd_function_entry\n" + without(KEPT, "0 101", "1 102")


def test_a_thread_that_was_interrupted_keeps_it_and_one_that_was_not_breaks_it():
    assert words(KEPT) == ["holds"]
    (result,) = judged(SILENT)
    assert result.verdict.word == "violated"
    assert [step.place for step in result.verdict.path] == ["sys_enter", "sys_exit"]
    assert "thread 8 has had CPU 1 since before the call" in result.verdict.path[0].why


def test_a_core_that_synchronised_before_or_after_the_call_only_has_not_in_it():
    assert "violated" in words(KEPT.replace("1 102", "1 105").replace("1 105 8 local", "1 106 8 local"))
    assert "violated" in words(
        without(KEPT, "1 102").replace("0 100", "1 99 8 csd_function_entry func=ipi_sync_core csd=1\n0 100")
    )


@pytest.mark.parametrize(
    "also",
    [
        "1 101 8 sched_switch prev_pid=8 next_pid=9\n1 103 9 sched_switch prev_pid=9 next_pid=8",  # away in between
        "1 105 8 sched_switch prev_pid=8 next_pid=9",  # chosen away, perhaps during the call
    ],
)
def test_a_thread_that_may_have_left_its_cpu_is_covered_by_the_scheduler(also):
    assert "violated" not in words(without(SILENT, "1 105") + "\n" + also)


def test_a_thread_without_known_relation_is_a_doubt_and_no_violation():
    (result,) = judged(without(SILENT, "0 10 "))
    assert result.verdict.word == "unknown"
    assert "whether 1 threads that ran throughout a call share the memory of its caller" in result.verdict.missing


def test_thread_groups_tell_who_shares_memory():
    text = without(SILENT, "0 10 ")
    assert words(text, GROUPS) == ["violated"]
    assert "violated" not in words(text, {7: 7, 8: 8})


def test_a_call_that_interrupted_a_thread_shows_that_it_shares_the_memory():
    """The second call of the same caller must interrupt it as well."""
    first = without(KEPT, "0 10 ")
    second = without(CALL.format(*range(200, 300)), "0 201", "1 202")
    assert words(first) == ["holds"]
    assert "violated" in words(first + second)


def test_an_execve_ends_what_is_known_of_a_threads_memory():
    execs = SILENT.replace("0 100", "1 50 8 sys_enter id=59\n1 60 8 sys_exit id=59\n0 100")
    assert "violated" not in words(execs)
    before = SILENT.replace("0 10 7 task", "1 5 8 sys_enter id=59\n0 10 7 task")
    assert "violated" in words(before)


@pytest.mark.parametrize(
    "line", ["0 104 7 sys_exit id=324 ret=-1", "0 104 7 sys_exit id=324 ret=-22"], ids=["EPERM", "EINVAL"]
)
def test_a_call_that_failed_promises_nothing(line):
    assert "violated" not in words(without(SILENT, "0 104").replace("1 105", line + "\n1 105"))


def test_other_commands_and_traces_without_calls_are_not_judged():
    assert judged(SILENT.replace("args[0]=32", "args[0]=8")) == ()
    assert judged("0 1 7 sys_enter id=1") == ()


def test_an_event_of_a_kind_that_is_not_described_shows_nothing():
    trace = parse(SILENT)
    del trace.formats.by_id[trace.formats.by_name["local_timer_entry"].id]
    assert "violated" not in [result.verdict.word for result in run_monitor(MONITOR, trace)]


def test_lost_events_make_a_violation_a_doubt():
    assert words(SILENT.replace("1 105", "1 104 lost 3\n1 105")) == ["unknown", "unknown"]


def test_calls_and_who_ran_throughout_are_found_as_row_by_row():
    pairs = 0
    for seed in range(60):
        trace = made(seed)
        calls = _calls(trace, _entered(trace, _Entries.of(trace)))
        assert [(call.enter, call.leave, call.throughout) for call in calls] == slow_calls(trace)
        pairs += sum(len(call.throughout) for call in calls)
    assert pairs > 20


BURSTS = (
    *(("sys_enter id=324 args[0]=32", "sys_exit id=324"),) * 3,
    *(("sys_enter id=1", "sys_exit id=1"),) * 4,
    ("sys_enter id=59", "sys_exit id=59"),
    ("sys_enter id=324 args[0]=32", "csd_queue_cpu cpu=CPU func=ipi_sync_core", "sys_exit id=324"),
    ("csd_function_entry func=ipi_sync_core",),
    ("sched_switch next_pid=PID",),
    ("page_fault_user",),
    ("local_timer_entry",),
)


def bursts(seed):
    """Calls of three threads on two CPUs, most with nothing in them, and what comes between."""
    random = Random(seed)
    lines = [
        BORN,
        "0 30 7 task_newtask pid=9 clone_flags=0x3d0f00",
        "0 31 7 csd_queue_cpu cpu=0",
        "0 32 7 ipi_send_cpu",
    ]
    has, time, waiting = {0: 7, 1: 8}, 40, {0: [], 1: []}
    for _ in range(15 + seed % 100):
        cpu = random.randrange(2)
        other = random.choice([one for one in (7, 8, 9) if one != has[1 - cpu]])
        waiting[cpu] = waiting[cpu] or list(random.choice(BURSTS))
        event = waiting[cpu].pop(0).replace("PID", str(other)).replace("CPU", str(1 - cpu))
        time += 1
        lines.append(f"{cpu} {time} {has[cpu]} {event}")
        has[cpu] = other if "switch" in event else has[cpu]
    return parse("\n".join(lines))


def test_calls_that_are_counted_instead_of_kept_change_no_verdict():
    fewer, told = 0, Counter()
    for seed in range(300):
        whole = bursts(seed)
        folded = build(
            whole.origin, whole.formats, whole.pages, PAGE_BYTES, fold_but=MONITOR.calls, size_bytes=WORTH_COMPILING
        )
        verdicts = run_monitor(MONITOR, whole)
        assert run_monitor(MONITOR, folded) == verdicts
        fewer += len(whole) - len(folded)
        told.update(one.verdict.word for one in verdicts)
    if library(worth_compiling=True) is None:
        pytest.skip("no C compiler")
    assert fewer > 300
    assert min(told["violated"], told["unknown"]) > 100


@pytest.mark.shared
@pytest.mark.parametrize("name", ["membarrier_sync_core", "text_poke"])
def test_in_a_recording_the_verdicts_are_as_with_every_call(shared, name):
    path = shared / f"data/watch/{name}.dat"
    every, folded = read_trace(path), read_trace(path, needed([MONITOR]), fold_but=MONITOR.calls)
    assert sum(folded.table.folded.values()) > 1000
    assert run_monitor(MONITOR, folded) == run_monitor(MONITOR, every)


@pytest.mark.shared
def test_in_a_recording_every_call_that_must_interrupt_the_target_does(shared):
    sight = look(read_trace(shared / "data/watch/membarrier_sync_core.dat"))
    assert sight.seen == "20 calls, 5 times a thread of the mm had its CPU throughout"
    assert sight.occurrences.count("core-sync") == 5


@pytest.mark.shared
def test_in_a_recording_an_entry_taken_away_is_found(shared, monkeypatch):
    import nostale.systems.lazytlb.trace as module

    trace = read_trace(shared / "data/watch/membarrier_sync_core.dat")
    assert [result.verdict.word for result in run_monitor(MONITOR, trace)] == ["unknown"]
    real = module.rows_of_function
    monkeypatch.setattr(
        module, "rows_of_function", lambda *asked: real(*asked)[: -2 if asked[1] == "csd_function_entry" else None]
    )
    assert "violated" in [result.verdict.word for result in run_monitor(MONITOR, trace)]
