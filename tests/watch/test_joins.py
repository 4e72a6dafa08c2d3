"""Joins taken a column at a time: the same as the plain search back, or on, from one event."""

import random
from dataclasses import replace

import numpy as np
import pytest

from nostale.watch import analyse
from nostale.watch.compiled import library
from nostale.watch.index import Index
from nostale.watch.joins import Joins
from nostale.watch.related import by_columns, innermost, relate
from nostale.watch.ring import Lost
from nostale.watch.script import parse
from nostale.watch.spans import OWN

PIDS = (0, 7, 8, 9)
ENTRIES = ("local_timer", "softirq")
WAKES = ("sched_waking", "sched_wakeup")


@pytest.mark.parametrize("seed", range(20))
def test_many_look_ups_at_once_are_each_the_look_up_of_one(seed):
    rng = np.random.default_rng(seed)
    many = int(rng.integers(0, 40))
    keys, rows = rng.integers(-3, 4, many) * (1 << 40), np.sort(rng.choice(200, many, replace=False))
    index = Index(keys, rows)
    asked, at = rng.integers(-4, 5, 300) * (1 << 40), rng.integers(0, 220, 300)
    pairs = list(zip(asked.tolist(), at.tolist()))
    assert index.lasts(asked, at).tolist() == [none_as(-1, index.last(*pair)) for pair in pairs]
    assert index.nexts(asked, at).tolist() == [none_as(-1, index.next(*pair)) for pair in pairs]


@pytest.mark.parametrize("seed", range(50))
def test_the_innermost_entry_is_the_one_that_a_stack_has_on_top(seed):
    rng = np.random.default_rng(seed)
    change = rng.choice(np.array([1, 1, -1, -1, 0], np.int8), int(rng.integers(0, 60)))
    rows = np.cumsum(rng.integers(1, 9, len(change)))
    entered, expected = [], []
    for row, one in zip(rows.tolist(), change.tolist()):
        if one == 1:
            entered.append(row)
        elif one == 0:
            entered.clear()
        elif entered:
            entered.pop()
        expected.append(entered[-1] if entered else -1)
    assert innermost(rows, change).tolist() == expected


@pytest.mark.parametrize("way", [relate, by_columns])
@pytest.mark.parametrize("seed", range(30))
def test_who_woke_came_back_or_was_in_a_call_is_found_as_by_looking_at_each_event(seed, way):
    if way is relate and library(worth_compiling=True) is None:
        pytest.skip("no C compiler")
    wakes = "sched_wakeup" if seed % 3 == 0 else "sched_waking"
    trace = parse(made(random.Random(seed), wakes=wakes), comms={pid: f"t{pid}" for pid in PIDS})
    joins = Joins(trace, way(trace))
    events = [Event(joins, row) for row in range(len(trace))]
    found = 0
    for row, one in enumerate(events):
        before, after = events[:row], events[row + 1 :]
        assert joins.syscall(one.pid, row) == call_of(one.pid, before)
        assert joins.inside_entry(row) == inside(one.cpu, before)
        assert joins.timer(row) == timer(one.cpu, before)
        if one.name == "sched_switch":
            woken = woke(one.to, before)
            found += woken is not None
            assert joins.woken(row) == woken
            assert joins.waker(row) == (woken if wakes == "sched_waking" else None)
            came = next((each.row for each in after if each.name == "sched_switch" and each.to == one.pid), None)
            left = next((each.row for each in after if each.name == "sched_switch" and each.pid == one.pid), None)
            assert joins.back(row) == came
            lefts = joins.related.left[joins.related.switches.rows == row]
            assert lefts.tolist() == [none_as(-1, left)]
    assert found


@pytest.mark.parametrize("seed", range(60))
def test_without_the_tasks_own_entries_the_others_are_told_as_with_them(seed):
    rng = random.Random(seed)
    trace = parse(made(rng, many=300, one_cpu_each=True), comms={pid: f"t{pid}" for pid in PIDS})
    lost = Lost(0, 180, 200, 5)
    trace = replace(trace, table=replace(trace.table, lost=(lost,) if seed % 2 else ()))
    told = [one for one in analyse(trace).breaks if one.kind not in OWN]
    assert len(told) > 5
    assert list(analyse(trace, own=False).breaks) == told


class Event:
    def __init__(self, joins, row):
        trace = joins.trace
        self.row, self.name = row, joins.event(row)
        self.cpu, self.pid = int(trace.cpu[row]), int(trace.pid[row])
        if self.name == "sched_switch":
            self.to = trace.number(row, "sched_switch", "next_pid")
            self.slept = trace.number(row, "sched_switch", "prev_state") != 0
        if self.name in WAKES:
            self.woken = trace.number(row, self.name, "pid")


def made(rng, many=120, one_cpu_each=False, wakes="sched_waking"):
    """A trace in which anything may follow anything, as where events were not recorded.

    With `one_cpu_each` a thread is where the last switch to it was, and on no CPU after one from it.
    """
    lines, running = [], [0, 0]
    for at in range(many):
        cpu, pid, to = rng.randrange(2), rng.choice(PIDS), rng.choice(PIDS)
        if one_cpu_each:
            pid, to = running[cpu], rng.choice([one for one in PIDS if one == 0 or one not in running])
        event = rng.choice(
            [
                f"sched_switch prev_pid={pid} prev_state={rng.choice((0, 1))} next_pid={to}",
                f"{wakes} pid={rng.choice(PIDS)}",
                "sys_enter id=10",
                "sys_exit id=10",
                "page_fault_user address=1",
                f"hrtimer_start hrtimer={rng.randrange(1, 4)} function=hrtimer_wakeup",
                "local_timer_entry",
                "local_timer_exit",
                "softirq_entry vec=1",
                "softirq_exit vec=1",
                "hrtimer_expire_entry hrtimer=1 function=hrtimer_wakeup",
                "hrtimer_expire_exit hrtimer=1",
            ]
        )
        if event.startswith("sched_switch"):
            running[cpu] = to
        lines.append(f"{cpu} {100 + at} {pid} {event}")
    return "\n".join(lines)


def call_of(pid, before):
    calls = [each.name for each in before if each.pid == pid and each.name in ("sys_enter", "sys_exit")]
    return "mprotect" if calls and calls[-1] == "sys_enter" else None


def inside(cpu, before):
    depth = 0
    for each in before:
        if each.cpu != cpu:
            continue
        if each.name == "sched_switch":
            depth = 0
        elif each.name.removesuffix("_entry") in ENTRIES:
            depth += 1
        elif each.name.removesuffix("_exit") in ENTRIES:
            depth = max(0, depth - 1)
    return depth > 0


def timer(cpu, before):
    expiring = []
    for each in before:
        if each.cpu != cpu:
            continue
        if each.name == "sched_switch":
            expiring.clear()
        elif each.name == "hrtimer_expire_entry":
            expiring.append(each.row)
        elif each.name == "hrtimer_expire_exit" and expiring:
            expiring.pop()
    return last(expiring[-1:])


def woke(pid, before):
    woken = last(each.row for each in before if each.name in WAKES and each.woken == pid)
    left = last(each.row for each in before if each.name == "sched_switch" and each.pid == pid)
    came = last(each.row for each in before if each.name == "sched_switch" and each.to == pid)
    if woken is None or left is None or left < woken:
        return woken
    slept = next(each.slept for each in before if each.row == left)
    return woken if slept and (came is None or came < woken) else None


def last(rows):
    return max(rows, default=None)


def none_as(other, value):
    return other if value is None else value
