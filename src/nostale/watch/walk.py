"""Every stretch of one CPU, event by event: what walk.c does, in Python, where there is none and to hold it against.

A stretch counts against the task that was running. Time spent in a stretch nested in another is counted in the inner
one only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nostale.contract import Kind
from nostale.watch.related import NONE, Related
from nostale.watch.ring import Ints
from nostale.watch.spans import CLOSES, ENTRIES, EXITS, OTHERS, Span
from nostale.watch.trace import Trace


def bare_calls(trace: Trace) -> Ints:
    """Return the functions run for other CPUs that must stand for their IPIs, as the trace has no events of those."""
    rows = trace.rows("csd_function_entry")
    if not rows.size or trace.rows("call_function_single_entry", "call_function_entry").size:
        return rows[:0]
    bare: Ints = rows[trace.field(rows, "csd_function_entry", "csd") != 0]
    return bare


def walk_slowly(trace: Trace, cpu: int, related: Related, bare: Ints) -> list[Span]:
    """Return the stretches of one CPU, whoever was running, in order of the events that opened them.

    Args:
        bare: by `bare_calls`.
    """
    walk = _Walk(trace, cpu, related, frozenset(bare.tolist()))
    rows = trace.rows(*ENTRIES, *EXITS, *OTHERS)
    rows = rows[trace.cpu[rows] == cpu]
    names = {trace.formats.by_name[name].id: name for name in (*ENTRIES, *EXITS, *OTHERS) if trace.has(name)}
    switches = {row: number for number, row in enumerate(related.switches.rows.tolist())}
    lost = sorted((one.before_ns for one in trace.lost if one.cpu == cpu), reverse=True)
    columns = (trace.ts[rows].tolist(), trace.type[rows].tolist(), trace.pid[rows].tolist())
    for row, ts, kind, pid in zip(rows.tolist(), *columns):
        while lost and ts >= lost[-1]:
            lost.pop()
            walk.forget()
        name = names[kind]
        if name == "sched_switch":
            walk.switch(row, ts, switches[row])
        elif name in ENTRIES:
            walk.enter(ENTRIES[name], name, row, ts, pid)
        elif name in CLOSES:
            walk.leave(CLOSES[name], ts)
        else:
            walk.see(name, row, ts, pid)
    return walk.made


@dataclass(slots=True)
class _Walk:
    """The state of one CPU while its events go by."""

    trace: Trace
    cpu: int
    related: Related
    bare: frozenset[int]
    made: list[Span] = field(default_factory=list)
    open: list[Span] = field(default_factory=list)
    syscalls: dict[int, Span] = field(default_factory=dict)
    left: dict[int, int] = field(default_factory=dict)
    faults: dict[int, Span] = field(default_factory=dict)
    running: Span | None = None  # the context switch whose taker has the CPU
    last: Span | None = None

    def enter(self, kind: Kind, name: str, row: int, ts: int, pid: int) -> None:
        self.open.append(self._make(kind, name, row, pid, ts))

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
            self.syscalls[pid] = self._make(Kind.SYSCALL, name, row, pid, ts)
        elif name == "sys_exit":
            span = self.syscalls.get(pid)
            if span is not None and self.related.call[row] == span.row:
                del self.syscalls[pid]
                if self.left.get(pid, span.start_ns - 1) < span.start_ns:
                    span.end_ns = ts
                else:  # it left the CPU meanwhile, and the switch back was not recorded
                    span.at_most_ns = ts - span.start_ns - span.nested_ns
                self._finish(span)
        elif name == "page_fault_user":
            self._in_user_mode(pid, ts)
            fault = self.faults[pid] = self._make(Kind.PAGE_FAULT, name, row, pid, ts)
            self._finish(fault)
        elif name == "user_enter":
            fault_ended = self.faults.pop(pid, None)
            if fault_ended is not None:
                fault_ended.end_ns = ts
        elif name == "nmi_handler":
            self._finish(self._make(Kind.NMI, name, row, pid, ts))
        elif name == "workqueue_execute_start":
            if self.running is not None and self.running.next_pid == pid:
                self.running.parts += (row,)
        elif self.open:
            self.open[-1].parts += (row,)
        elif row in self.bare:
            self.enter(Kind.IPI_CALL, name, row, ts, pid)
            self.open[-1].parts = (row,)

    def switch(self, row: int, ts: int, number: int) -> None:
        """Take note of the `number`-th switch of the trace."""
        switches = self.related.switches
        prev, to = int(switches.prev[number]), int(switches.next[number])
        if self.open:  # their exits were not recorded: nothing interrupts across a switch
            for span in self.open:
                self._finish(span)
            self.open.clear()
        self.left[prev] = ts
        self.running = None
        if switches.runnable[number] and prev != 0:
            span = self._make(Kind.CONTEXT_SWITCH, "sched_switch", row, prev, ts)
            span.next_pid, span.via = to, self.last
            self.running = span
            self._end_switch(span, number)
            self._finish(span)
        left = self.left.pop(to, None)
        if to in self.syscalls and left is not None:
            self.syscalls[to].nested_ns += ts - left
        self.last = None

    def forget(self) -> None:
        """Events were lost: what is open has no known end."""
        self.open.clear()
        self.syscalls.clear()
        self.faults.clear()
        self.left.clear()
        self.running = self.last = None

    def _end_switch(self, span: Span, number: int) -> None:
        """Say when a thread that was taken off here got a CPU again; not where events were lost since."""
        came, left = int(self.related.came[number]), int(self.related.left[number])
        if came == NONE or self.trace.lost_between(None, span.start_ns, int(self.trace.ts[came])):
            return
        if NONE != left < came:  # it had a CPU meanwhile: the switch to it was not recorded
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

    def _make(self, kind: Kind, name: str, row: int, pid: int, ts: int) -> Span:
        span = Span(kind, name, row, self.cpu, pid, ts)
        self.made.append(span)
        return span

    def _finish(self, span: Span) -> None:
        # Softirqs run on the way out of the interrupt before them: that one is the way in.
        if span.kind is not Kind.SOFTIRQ or self.last is None:
            self.last = span
