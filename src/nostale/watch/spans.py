"""What interrupted the tasks of one CPU: every stretch from a kernel entry's event to its exit's, nesting resolved.

A stretch counts against the task that was running. Kernel threads and the idle task are nobody's work to protect:
what interrupts them is not told (a kernel thread that takes the CPU from a user task is, as a context switch). Time
spent in a stretch nested in another is counted in the inner one only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nostale.contract import Kind
from nostale.watch.ring import Ints
from nostale.watch.trace import Trace

VECTORS: Final = {
    "local_timer": Kind.TIMER,
    "reschedule": Kind.IPI_RESCHEDULE,
    "call_function": Kind.IPI_CALL,
    "call_function_single": Kind.IPI_CALL,
    "irq_work": Kind.IRQ_WORK,
    "x86_platform_ipi": Kind.DEVICE_IRQ,
    "thermal_apic": Kind.DEVICE_IRQ,
    "threshold_apic": Kind.DEVICE_IRQ,
    "deferred_error_apic": Kind.DEVICE_IRQ,
    "error_apic": Kind.DEVICE_IRQ,
    "spurious_apic": Kind.DEVICE_IRQ,
}
ENTRIES: Final = {f"{name}_entry": kind for name, kind in VECTORS.items()} | {
    "irq_handler_entry": Kind.DEVICE_IRQ,
    "softirq_entry": Kind.SOFTIRQ,
}
EXITS: Final = {name.replace("_entry", "_exit"): name for name in ENTRIES}
_CLOSES: Final = EXITS | {"csd_function_exit": "csd_function_entry"}
_AT_ONCE: Final = 1 << 15
_MINE: Final = ("sys_enter", "sys_exit", "page_fault_user", "user_enter")
PARTS: Final = ("csd_function_entry", "hrtimer_expire_entry", "workqueue_execute_start")
OTHERS: Final = (
    "sys_enter",
    "sys_exit",
    "user_enter",
    "page_fault_user",
    "sched_switch",
    "nmi_handler",
    "csd_function_exit",
    *PARTS,
)


@dataclass(slots=True)
class Span:
    """One stretch.

    Args:
        kind: how it reached the CPU.
        what: the event that opened it.
        row: of that event.
        cpu: the CPU.
        pid: who was running; 0 the idle task.
        start_ns: when it began.
        end_ns: when it ended, None where no event tells.
        nested_ns: time of stretches inside it, which count for themselves.
        parts: rows of what ran in it: cross-CPU functions, expired timers, work items.
        next_pid: of a context switch, who ran instead.
        via: of a context switch, the kernel entry on whose way out it happened.
        at_most_ns: where no event tells the end, how long it can have been, by an event that only user mode makes.
    """

    kind: Kind
    what: str
    row: int
    cpu: int
    pid: int
    start_ns: int
    end_ns: int | None = None
    nested_ns: int = 0
    parts: tuple[int, ...] = ()
    next_pid: int = 0
    via: Span | None = None
    at_most_ns: int | None = None

    @property
    def own_ns(self) -> int | None:
        """Its length without what is nested in it."""
        return None if self.end_ns is None else max(0, self.end_ns - self.start_ns - self.nested_ns)


@dataclass(frozen=True, slots=True, eq=False)
class Calls:
    """The system calls of a trace, wherever they began and ended.

    Args:
        enters, exits: `(n,) int64`, rows of those of which both are there.
        loose: `(m,) int64`, rows of a sys_enter that its thread's next one came after without a sys_exit, and of that.
    """

    enters: Ints
    exits: Ints
    loose: Ints

    def entered(self) -> dict[int, int]:
        """Return for each sys_exit its sys_enter."""
        return dict(zip(self.exits.tolist(), self.enters.tolist()))

    def among(self, rows: Ints) -> Calls:
        """Return those that end in one of `rows`."""
        wanted = np.zeros(int(max(self.exits.max(initial=0), rows.max(initial=0))) + 1, bool)
        wanted[rows] = True
        chosen = wanted[self.exits]
        return Calls(self.enters[chosen], self.exits[chosen], self.loose)


def spans(
    trace: Trace,
    cpu: int,
    is_kernel_thread: Callable[[int], bool],
    back: Callable[[int], tuple[int | None, int | None]],
    waker: Callable[[int], int | None],
    calls: Calls,
    *,
    own: bool = True,
) -> list[Span]:
    """Return the stretches of one CPU in order of start.

    Args:
        back: from the row in which a thread left a CPU to those in which it next got one and next left one, whichever.
        waker: from the row of a switch to that which woke who came, None where he had waited for his turn.
        calls: the system calls of all CPUs.
        own: also those that tasks made themselves, system calls and page faults. Without, only such of these are sure
            to be there as a task lost the CPU on the way out of to one that had waited for its turn.

    Cost: O(events of the kinds above on that CPU).
    """
    rows = trace.rows(*ENTRIES, *EXITS, *OTHERS)
    rows = rows[trace.cpu[rows] == cpu]
    switches = _switches(trace, rows)
    if not own:
        rows, switches, calls = _without_own(trace, rows, switches, calls, waker)
    walk = _Walk(trace, cpu, is_kernel_thread, back, calls.entered(), bare=_bare_calls(trace))
    names = {trace.formats.by_name[name].id: name for name in (*ENTRIES, *EXITS, *OTHERS) if trace.has(name)}
    opens = {number: (ENTRIES[name], name) for number, name in names.items() if name in ENTRIES}
    closes = {number: _CLOSES[name] for number, name in names.items() if name in _CLOSES}
    switch = trace.formats.by_name["sched_switch"].id if trace.has("sched_switch") else -1
    lost = sorted((one.before_ns for one in trace.lost if one.cpu == cpu), reverse=True)
    switched = switches.each()
    for row, ts, kind, pid in _each(rows, trace.ts, trace.type, trace.pid):
        while lost and ts >= lost[-1]:
            lost.pop()
            walk.forget()
        if kind == switch:
            walk.switch(row, ts, *next(switched))
        elif kind in opens:
            walk.open.append(Span(*opens[kind], row, cpu, pid, ts))
        elif kind in closes:
            walk.leave(closes[kind], ts)
        else:
            walk.see(names[kind], row, ts, pid)
    walk.forget()
    walk.done.sort(key=attrgetter("row"))
    return walk.done


def own_entries(trace: Trace, cpu: int, is_nobody: Callable[[int], bool], pid: int | None) -> int:
    """Return how many system calls and page faults tasks made on one CPU, of one thread or of all."""
    rows = trace.rows("sys_enter", "page_fault_user")
    threads, counts = np.unique(trace.pid[rows][trace.cpu[rows] == cpu], return_counts=True)
    made = zip(threads.tolist(), counts.tolist())
    return sum(count for one, count in made if pid in (None, one) and one != 0 and not is_nobody(one))


def _without_own(
    trace: Trace, rows: Ints, switches: _Switches, calls: Calls, waker: Callable[[int], int | None]
) -> tuple[Ints, _Switches, Calls]:
    """Leave out what shows in no stretch but in the tasks' own entries.

    The last of those before a switch stays where the cause may be asked of it: the switch took the CPU from a task and
    gave it to one that nobody woke. Of several switches in a row that took it from nobody the last one stays.
    """
    numbers = {name: trace.formats.by_name[name].id for name in _MINE if trace.has(name)}
    kind = np.zeros(1 << 16, np.uint8)  # 1 begins one, 2 ends one
    kind[[numbers[name] for name in ("sys_enter", "user_enter") if name in numbers]] = 1
    kind[[numbers[name] for name in ("sys_exit", "page_fault_user") if name in numbers]] = 2
    mine = kind[trace.type[rows]]
    told = _told_here(trace, calls)
    ended = rows[(mine == 2) & ((trace.type[rows] != numbers.get("sys_exit", -1)) | told[rows])]
    takes = switches.runnable & (switches.prev != 0)
    turns = np.array([row for row in switches.rows[takes].tolist() if waker(row) is None], np.int64)
    at = np.searchsorted(ended, turns) - 1
    last = ended[at[at >= 0]]
    calls = calls.among(last)
    # A call that another began after, its end unseen, ends there: both tell what came last.
    wanted = np.zeros(len(trace), bool)
    for kept in (rows[mine == 0], last, calls.enters, calls.loose):
        wanted[kept] = True
    rows = rows[wanted[rows]]
    idle = np.zeros(len(trace), bool)
    idle[switches.rows[~takes]] = True
    wanted[rows[:-1][idle[rows[:-1]] & idle[rows[1:]]]] = False
    return rows[wanted[rows]], switches.among(wanted[switches.rows]), calls


def _told_here(trace: Trace, calls: Calls) -> NDArray[np.bool_]:
    """Return for each row whether it ends a call that began on the same CPU, nothing of which was lost since."""
    told = np.zeros(len(trace), bool)
    told[calls.exits] = trace.cpu[calls.enters] == trace.cpu[calls.exits]
    for one in trace.lost:
        across = (trace.ts[calls.enters] < one.before_ns) & (one.before_ns <= trace.ts[calls.exits])
        told[calls.exits[across & (trace.cpu[calls.exits] == one.cpu)]] = False
    return told


def _bare_calls(trace: Trace) -> frozenset[int]:
    """Return the functions run for other CPUs that must stand for their IPIs, as the trace has no events of those."""
    if trace.rows("call_function_single_entry", "call_function_entry").size:
        return frozenset()
    rows = trace.rows("csd_function_entry")
    return frozenset(rows[trace.field(rows, "csd_function_entry", "csd") != 0].tolist()) if rows.size else frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class _Switches:
    """The context switches of one CPU in order: `(n,)` rows, who left, who came, and whether the first would go on."""

    rows: Ints
    prev: Ints
    to: Ints
    runnable: NDArray[np.bool_]

    def among(self, chosen: NDArray[np.bool_]) -> _Switches:
        return _Switches(self.rows[chosen], self.prev[chosen], self.to[chosen], self.runnable[chosen])

    def each(self) -> Iterator[tuple[int, int, bool]]:
        for start in range(0, len(self.rows), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            yield from zip(self.prev[some].tolist(), self.to[some].tolist(), self.runnable[some].tolist())


def _switches(trace: Trace, rows: Ints) -> _Switches:
    """Return the switches among `rows`."""
    if not trace.has("sched_switch"):
        nothing = np.zeros(0, np.int64)
        return _Switches(nothing, nothing, nothing, nothing.astype(bool))
    rows = rows[trace.type[rows] == trace.formats.by_name["sched_switch"].id]
    prev, to, state = (trace.field(rows, "sched_switch", name) for name in ("prev_pid", "next_pid", "prev_state"))
    # 0 is TASK_RUNNING; bit 8 (TASK_REPORT_MAX) marks a preemption in the kernel.
    return _Switches(rows, prev, to, (state & 0xFF) == 0)


def _each(rows: Ints, *columns: NDArray[Any]) -> Iterator[tuple[int, ...]]:
    """Yield each row with its values, as Python's numbers, of which only some exist at a time."""
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        yield from zip(some.tolist(), *(column[some].tolist() for column in columns))


@dataclass(slots=True)
class _Walk:
    """The state of one CPU while its events go by."""

    trace: Trace
    cpu: int
    is_kernel_thread: Callable[[int], bool]
    back: Callable[[int], tuple[int | None, int | None]]
    entered: Mapping[int, int]
    done: list[Span] = field(default_factory=list)
    open: list[Span] = field(default_factory=list)
    syscalls: dict[int, Span] = field(default_factory=dict)
    left: dict[int, int] = field(default_factory=dict)
    faults: dict[int, Span] = field(default_factory=dict)
    bare: frozenset[int] = frozenset()
    running: Span | None = None  # the context switch whose taker has the CPU
    last: Span | None = None

    def leave(self, name: str, ts: int) -> None:
        """Close the innermost open stretch of that name; those inside it have lost their exits."""
        if not (self.open and self.open[-1].what == name) and not any(span.what == name for span in self.open):
            return
        while True:
            span = self.open.pop()
            if span.what == name:
                span.end_ns = ts
                self._count_in_outer(span, ts - span.start_ns)
                self._finish(span)
                return
            self._finish(span)

    def see(self, name: str, row: int, ts: int, pid: int) -> None:
        if name == "sys_enter":
            self._in_user_mode(pid, ts)
            self._give_up(pid)
            self.syscalls[pid] = Span(Kind.SYSCALL, name, row, self.cpu, pid, ts)
        elif name == "sys_exit":
            span = self.syscalls.get(pid)
            if span is not None and self.entered.get(row) == span.row:
                del self.syscalls[pid]
                span.end_ns = ts
                self._finish(span)
        elif name == "page_fault_user":
            self._in_user_mode(pid, ts)
            fault = self.faults[pid] = Span(Kind.PAGE_FAULT, name, row, self.cpu, pid, ts)
            self._finish(fault)
        elif name == "user_enter":
            fault_ended = self.faults.pop(pid, None)
            if fault_ended is not None:
                fault_ended.end_ns = ts
        elif name == "nmi_handler":
            self._finish(Span(Kind.NMI, name, row, self.cpu, pid, ts))
        elif name == "workqueue_execute_start":
            if self.running is not None and self.running.next_pid == pid:
                self.running.parts += (row,)
        elif self.open:
            self.open[-1].parts += (row,)
        elif row in self.bare:
            self.open.append(Span(Kind.IPI_CALL, name, row, self.cpu, pid, ts, parts=(row,)))

    def switch(self, row: int, ts: int, prev: int, to: int, runnable: bool) -> None:
        if self.open:  # their exits were not recorded: nothing interrupts across a switch
            for span in self.open:
                self._finish(span)
            self.open.clear()
        self.left[prev] = ts
        self.running = None
        if runnable and prev != 0:
            span = Span(Kind.CONTEXT_SWITCH, "sched_switch", row, self.cpu, prev, ts, next_pid=to, via=self.last)
            self.running = span
            self._end_switch(span)
            self._finish(span)
        if to in self.syscalls and to in self.left:
            self.syscalls[to].nested_ns += ts - self.left[to]
        self.last = None

    def forget(self) -> None:
        """Events were lost, or there are no more: what is open has no known end."""
        for span in (*self.open, *self.syscalls.values()):
            self._finish(span)
        self.open.clear()
        self.syscalls.clear()
        self.faults.clear()
        self.left.clear()
        self.running = self.last = None

    def _end_switch(self, span: Span) -> None:
        """Say when a thread that was taken off here got a CPU again; not where events were lost since."""
        came, left = self.back(span.row)
        if came is None or self.trace.lost_between(None, span.start_ns, int(self.trace.ts[came])):
            return
        if left is not None and left < came:  # it had a CPU meanwhile: the switch to it was not recorded
            span.at_most_ns = int(self.trace.ts[left]) - span.start_ns
        else:
            span.end_ns = int(self.trace.ts[came])

    def _in_user_mode(self, pid: int, ts: int) -> None:
        """A thread did what it can only do in user mode: a fault of its before is over, nobody knows since when."""
        fault = self.faults.pop(pid, None)
        if fault is not None:
            fault.at_most_ns = ts - fault.start_ns

    def _give_up(self, pid: int) -> None:
        """A system call whose exit was seen on another CPU, or not at all."""
        span = self.syscalls.pop(pid, None)
        if span is not None:
            self._finish(span)

    def _count_in_outer(self, span: Span, length_ns: int) -> None:
        if self.open:
            self.open[-1].nested_ns += length_ns
        elif span.pid in self.faults:
            self.faults[span.pid].nested_ns += length_ns
        elif span.pid in self.syscalls:
            self.syscalls[span.pid].nested_ns += length_ns

    def _finish(self, span: Span) -> None:
        # Softirqs run on the way out of the interrupt before them: that one is the way in.
        if span.kind is not Kind.SOFTIRQ or self.last is None:
            self.last = span
        if span.pid != 0 and not self.is_kernel_thread(span.pid):
            self.done.append(span)
