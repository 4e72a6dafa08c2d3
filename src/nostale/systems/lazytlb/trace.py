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
from nostale.watch import Occurrence, Sight, Trace, TraceMonitor, syscall_numbers

_SYNC_CORE: Final = 1 << 5  # MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, include/uapi/linux/membarrier.h
_FUNCTION: Final = "ipi_sync_core"
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
    lacking = [event for event in _EVENTS if not trace.has(event)]
    if "sys_enter" in lacking:
        return None
    entered = _entered(trace)
    if not entered:
        return None
    missing = [f"no {event} events" for event in lacking]
    if trace.table.folded:
        missing.append("calls in which nothing was recorded were not kept (--no-own)")
    if lacking:
        return Sight((), {}, f"{len(entered)} calls", tuple(missing))
    calls = [*_calls(trace, entered)]
    syncs = _of_function(trace, "csd_function_entry")
    memory = _Memory.of(trace, calls)
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
    return Sight(tuple(found), {}, seen, tuple(missing))


def _entered(trace: Trace) -> list[int]:
    """Return the rows of the calls; a call with flags is refused, and its return value tells that."""
    number = syscall_numbers(trace.origin.machine).get("membarrier")
    rows = trace.rows("sys_enter")
    if number is None or not rows.size:
        return []
    rows = rows[trace.field(rows, "sys_enter", "id") == number]
    if not rows.size:
        return []
    command = trace.field(rows, "sys_enter", "args[0]").astype(np.uint32)
    return [int(row) for row in rows[command == _SYNC_CORE]]


def _calls(trace: Trace, entered: list[int]) -> Iterator[_Call]:
    exits = trace.rows("sys_exit")
    exit_pid = trace.pid[exits]
    switches = trace.rows("sched_switch")
    by_cpu = {cpu: switches[trace.cpu[switches] == cpu] for cpu in trace.cpus}
    runs = {cpu: trace.field(rows, "sched_switch", "next_pid") for cpu, rows in by_cpu.items() if rows.size}
    stayed = _Stayed(trace)
    for number, enter in enumerate(entered):
        pid, home = int(trace.pid[enter]), int(trace.cpu[enter])
        at = int(np.searchsorted(exits, enter))
        mine = np.flatnonzero(exit_pid[at : at + 100_000] == pid)
        if not mine.size:
            continue
        leave = int(exits[at + int(mine[0])])
        if int(trace.field(np.array([leave]), "sys_exit", "ret")[0]) != 0:
            continue
        throughout = []
        for cpu, next_pid in runs.items():
            first, last = np.searchsorted(by_cpu[cpu], [enter, leave])
            thread = int(next_pid[first - 1]) if first == last and first > 0 else 0
            if cpu != home and thread and stayed.after(cpu, leave, thread):
                throughout.append((cpu, thread))
        yield _Call(number, pid, enter, leave, tuple(throughout))


@dataclass(slots=True)
class _Stayed:
    """Tells whether a thread still had its CPU after some row: by what it can only do while it is the current task."""

    trace: Trace
    rows: dict[int, Rows] = field(default_factory=dict)

    def after(self, cpu: int, row: int, thread: int) -> bool:
        trace = self.trace
        if cpu not in self.rows:
            self.rows[cpu] = np.flatnonzero(trace.cpu == cpu)
        at = int(np.searchsorted(self.rows[cpu], row))
        if at == len(self.rows[cpu]):
            return False
        following = int(self.rows[cpu][at])
        known = trace.formats.by_id.get(int(trace.type[following]))
        name = known.name if known is not None else ""
        return int(trace.pid[following]) == thread and (name in _STAYS or name.endswith(("_entry", "_exit")))


def _of_function(trace: Trace, event: str) -> Rows:
    rows = trace.rows(event)
    if not rows.size:
        return rows
    functions, which = np.unique(trace.field(rows, event, "func"), return_inverse=True)
    name = trace.origin.symbols.name
    wanted = np.array([name(int(one) & ((1 << 64) - 1)) == _FUNCTION for one in functions])
    found: Rows = rows[wanted[which]]
    return found


@dataclass(slots=True)
class _Memory:
    """Which threads are known to share their memory: from the last execve of each on, until the trace ends."""

    trace: Trace
    since: dict[int, int] = field(default_factory=dict)  # the row of a thread's last execve
    parent: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, trace: Trace, calls: list[_Call]) -> _Memory:
        made = cls(trace, _last_execs(trace))
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
        asked = _of_function(trace, "csd_queue_cpu")
        targets = trace.field(asked, "csd_queue_cpu", "cpu") if asked.size else asked
        for call in calls:
            first, last = np.searchsorted(asked, [call.enter, call.leave])
            by_caller = trace.pid[asked[first:last]] == call.pid
            reached = set(targets[first:last][by_caller].tolist())
            yield from ((call.enter, call.pid, pid) for cpu, pid in call.throughout if cpu in reached)


def _last_execs(trace: Trace) -> dict[int, int]:
    """Return for the threads that call execve, which gives them another memory, the row of the last call."""
    numbers = syscall_numbers(trace.origin.machine)
    execs = [numbers[name] for name in ("execve", "execveat") if name in numbers]
    rows = trace.rows("sys_enter")
    rows = rows[np.isin(trace.field(rows, "sys_enter", "id"), execs)]
    return dict(zip(trace.pid[rows].tolist(), rows.tolist()))


def _occurrences(trace: Trace, call: _Call, memory: _Memory, syncs: Rows) -> Iterator[Occurrence]:
    mine = [(cpu, pid) for cpu, pid in call.throughout if memory.shared(call.enter, call.pid, pid)]
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


MONITOR: Final = TraceMonitor(BINDING, look)
