"""lazytlb.membarrier-interrupts as trace events show it.

A thread that switches in during the call is covered by the scheduler and not by an IPI, so that only those are asked
for that had their CPU before the call and throughout, and afterwards did something on it other than leave it: between
the kernel's choice of another task and the event that tells it lies some time. No event tells a thread's mm. Two
threads are known to share one where the clone that made one of them was seen to say so (CLONE_VM), where the machine
told their thread group, or where a call of one was seen to interrupt the other, which had its CPU throughout that call:
the kernel compares mms. A thread has another memory after an execve.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nostale.contract import Binding, Bound, Grade, Step
from nostale.systems.lazytlb.membarrier import INTERRUPTS
from nostale.watch import (
    Occurrence,
    Occurrences,
    Sight,
    Trace,
    TraceMonitor,
    next_of_thread,
    rows_of_function,
    syscall_numbers,
)

_SYNC_CORE: Final = 1 << 5  # MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, include/uapi/linux/membarrier.h
_FUNCTION: Final = "ipi_sync_core"
_CALL, _EXECS = "membarrier", ("execve", "execveat")
_CLONE_VM: Final = 0x100
_EVENTS: Final = ("sys_enter", "sys_exit", "sched_switch", "csd_function_entry", "csd_queue_cpu")
# What a task does that is not about to leave its CPU: it goes in or out of the kernel, or an interrupt does. While the
# kernel chooses another task interrupts are disabled.
_STAYS: Final = ("sys_enter", "page_fault_user")
Rows = NDArray[np.int64]

BINDING: Final = Binding(
    contract=INTERRUPTS,
    engine="watch",
    bound={
        "call": Bound("sys_enter of membarrier, a thread that shares the mm having its CPU throughout", Grade.EXACT),
        "core-sync": Bound("csd_function_entry func=ipi_sync_core", Grade.EXACT),
        "return": Bound("sys_exit of the caller, 0", Grade.EXACT),
    },
    start="fresh",
    start_why="what was called before the first event is not looked at",
    assumptions=(
        "threads of different groups, where those are known, have different memories (no vfork, no bare CLONE_VM)",
        "a thread keeps its memory unless it calls execve, and thread ids are not used again within the trace",
        "csd_function_entry is recorded for every ipi_sync_core that runs, but where a recorder's thread has the CPU",
    ),
)


@dataclass(frozen=True, slots=True)
class _Call:
    """One call: who made it, from which row to which, and which threads had another CPU throughout."""

    number: int
    pid: int
    enter: int
    leave: int
    throughout: tuple[tuple[int, int], ...]  # (CPU, thread)


def look(trace: Trace) -> Sight | None:
    """Return what a trace shows of the calls, None where there is none; what it cannot show stands in `not_seen`."""
    if not trace.rows("sys_enter").size:
        return None
    entries = _Entries.of(trace)
    entered = _entered(trace, entries)
    if not entered.size:
        return None
    lacking = [event for event in _EVENTS if not trace.has(event)]
    missing = [f"no {event} events" for event in lacking]
    if lacking:
        return Sight(Occurrences.of(()), {}, f"{len(entered)} calls", tuple(missing))
    calls = _calls(trace, entered)
    syncs = rows_of_function(trace, "csd_function_entry", _FUNCTION)
    memory = _Memory.of(trace, calls, entries.of_calls(*_EXECS))
    groups = trace.origin.groups
    unshared = {
        (call.pid, pid) for call in calls for _, pid in call.throughout if not memory.shared(call.enter, call.pid, pid)
    }
    strangers = {pid for caller, pid in unshared if caller not in groups or pid not in groups}
    if strangers:
        missing.append(f"whether {len(strangers)} threads that ran throughout a call share the memory of its caller")
    found = [one for call in calls for one in _occurrences(trace, call, memory, syncs)]
    pairs = sum(one.event == "call" for one in found)
    seen = f"{len(calls)} calls, {pairs} times a thread of the mm had its CPU throughout"
    if not pairs:
        missing.append("no thread that is known to share the caller's memory ran throughout a call")
    return Sight(Occurrences.of(found), {}, seen, tuple(missing))


@dataclass(frozen=True, slots=True)
class _Entries:
    """Where threads enter system calls, `(n,)` rows, and the number of each."""

    trace: Trace
    rows: Rows
    number: Rows

    @classmethod
    def of(cls, trace: Trace) -> _Entries:
        rows = trace.rows("sys_enter")
        return cls(trace, rows, trace.field(rows, "sys_enter", "id"))

    def of_calls(self, *names: str) -> Rows:
        """Return the rows of these system calls; of a machine whose numbers are not known, none."""
        known = syscall_numbers(self.trace.origin.machine)
        chosen = np.zeros(self.rows.size, bool)
        for name in names:
            if name in known:
                chosen |= self.number == known[name]
        return self.rows[chosen]


def _entered(trace: Trace, entries: _Entries) -> Rows:
    """Return the rows of the calls; a call with flags is refused, and its return value tells that."""
    rows = entries.of_calls(_CALL)
    if not rows.size:
        return rows
    command = trace.field(rows, "sys_enter", "args[0]").astype(np.uint32)
    called: Rows = rows[command == _SYNC_CORE]
    return called


def _calls(trace: Trace, entered: Rows) -> list[_Call]:
    """Return the calls that returned 0."""
    leaves = next_of_thread(trace, entered, trace.rows("sys_exit"))
    returned = np.flatnonzero(leaves >= 0)
    kept = returned[trace.field(leaves[returned], "sys_exit", "ret") == 0]
    enter, leave = entered[kept], leaves[kept]
    throughout = _throughout(trace, enter, leave)
    pids = trace.pid[enter].tolist()
    return [*map(_Call, kept.tolist(), pids, enter.tolist(), leave.tolist(), map(tuple, throughout))]


def _throughout(trace: Trace, enter: Rows, leave: Rows) -> list[list[tuple[int, int]]]:
    """Return for each call the other CPUs that one thread had throughout and afterwards, each with that thread."""
    found: list[list[tuple[int, int]]] = [[] for _ in range(enter.size)]
    switches = trace.rows("sched_switch")
    for cpu in trace.cpus:
        there = switches[trace.cpu[switches] == cpu]
        last = np.searchsorted(there, enter)
        calls = np.flatnonzero((last > 0) & (last == np.searchsorted(there, leave)) & (trace.cpu[enter] != cpu))
        threads = trace.field(there[last[calls] - 1], "sched_switch", "next_pid")
        stayed = (threads != 0) & (_first_to_stay(trace, cpu, leave[calls]) == threads)
        for call, thread in zip(calls[stayed].tolist(), threads[stayed].tolist(), strict=True):
            found[call].append((cpu, thread))
    return found


def _first_to_stay(trace: Trace, cpu: int, rows: Rows) -> Rows:
    """Return for each of `rows` who does the first thing on `cpu` from it on, 0 where that is no sign of staying."""
    if not rows.size:
        return rows
    there = np.flatnonzero(trace.cpu == cpu)
    at = np.searchsorted(there, rows)
    following = there[np.minimum(at, there.size - 1)]
    kinds = trace.formats.by_id.values()
    stays = [one.id for one in kinds if one.name in _STAYS or one.name.endswith(("_entry", "_exit"))]
    sign = (at < there.size) & np.isin(trace.type[following], stays)
    return np.where(sign, trace.pid[following], 0)


@dataclass(slots=True)
class _Memory:
    """Which threads are known to share their memory: from the last execve of each on, until the trace ends."""

    trace: Trace
    since: dict[int, int] = field(default_factory=dict)  # the row of a thread's last execve
    parent: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, trace: Trace, calls: list[_Call], execs: Rows) -> _Memory:
        made = cls(trace, dict(zip(trace.pid[execs].tolist(), execs.tolist())))
        for row, one, other in made._evidence(calls):
            if row > made.since.get(one, -1) and row > made.since.get(other, -1):
                made.parent[made._root(one)] = made._root(other)
        return made

    def shared(self, row: int, one: int, other: int) -> bool:
        """Whether two threads are known to have had one memory at `row`."""
        if row < self.since.get(one, -1) or row < self.since.get(other, -1):
            return False
        return one in self.parent and other in self.parent and self._root(one) == self._root(other)

    def _root(self, pid: int) -> int:
        while self.parent.setdefault(pid, pid) != pid:
            pid = self.parent[pid]
        return pid

    def _evidence(self, calls: list[_Call]) -> Iterator[tuple[int, int, int]]:
        """Yield (row, thread, thread): at that row the two shared their memory."""
        trace = self.trace
        leaders: dict[int, int] = {}
        for pid, group in sorted(trace.origin.groups.items()):
            yield len(trace), pid, leaders.setdefault(group, pid)
        born = trace.rows("task_newtask")
        if born.size:
            children, flags = (trace.field(born, "task_newtask", name) for name in ("pid", "clone_flags"))
            shared = (flags & np.array(_CLONE_VM).astype(flags.dtype)) != 0
            yield from zip(born[shared].tolist(), children[shared].tolist(), trace.pid[born[shared]].tolist())
        asked = rows_of_function(trace, "csd_queue_cpu", _FUNCTION)
        targets = trace.field(asked, "csd_queue_cpu", "cpu")
        for call in calls:
            if not call.throughout:
                continue
            first, last = np.searchsorted(asked, [call.enter, call.leave])
            by_caller = trace.pid[asked[first:last]] == call.pid
            reached = set(targets[first:last][by_caller].tolist())
            yield from ((call.enter, call.pid, pid) for cpu, pid in call.throughout if cpu in reached)


def _occurrences(trace: Trace, call: _Call, memory: _Memory, syncs: Rows) -> Iterator[Occurrence]:
    mine = [(cpu, pid) for cpu, pid in call.throughout if memory.shared(call.enter, call.pid, pid)]
    if not mine:
        return
    for cpu, pid in mine:
        yield _told("call", call, pid, trace, call.enter, f"thread {call.pid} calls membarrier(SYNC_CORE)", cpu)
    first, last = np.searchsorted(syncs, [call.enter, call.leave])
    ran = {int(trace.cpu[row]): int(row) for row in syncs[first:last]}
    for cpu, pid in mine:
        if cpu in ran:
            yield _told("core-sync", call, pid, trace, ran[cpu], f"runs {_FUNCTION}", cpu)
    for cpu, pid in mine:
        yield _told("return", call, pid, trace, call.leave, f"membarrier returns to thread {call.pid}", cpu)


def _told(event: str, call: _Call, pid: int, trace: Trace, row: int, what: str, cpu: int) -> Occurrence:
    place = {"call": "sys_enter", "core-sync": "csd_function_entry", "return": "sys_exit"}[event]
    why = f"thread {pid} has had CPU {cpu} since before the call, and shares its memory" if event == "call" else ""
    step = Step(f"CPU {int(trace.cpu[row])}", place, what, why=why, time_ns=int(trace.ts[row]))
    return Occurrence(event, {"call": call.number, "thread": pid}, step)


MONITOR: Final = TraceMonitor(BINDING, look, calls=(_CALL, *_EXECS))
