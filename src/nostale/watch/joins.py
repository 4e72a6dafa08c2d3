"""Who asked: the joins from an interruption to the event on another CPU, or before it, that caused it.

| from | to | by |
| --- | --- | --- |
| csd_function_entry | csd_queue_cpu | csd pointer and CPU, first in first out, same function |
| reschedule_entry, irq_work_entry | ipi_send_cpu, ipi_send_cpumask | target and callback, all sent since the last |
| call_function_*_entry | the same | likewise, where no csd tells |
| an event that carries a stack | kernel_stack | the next event on its CPU, same thread |
| a sender | sys_enter | its thread's last one, when no sys_exit came since |
| sched_switch to a task | sched_waking, else sched_wakeup | thread id, since it last left a CPU |
| workqueue_execute_start | workqueue_queue_work | work pointer, the last before |
| hrtimer_expire_entry | hrtimer_start | timer pointer, the last before |
| local_timer_entry in which nothing expires | hrtimer_start | when it was to expire |
| sys_exit | sys_enter | thread, the one just before |

A join across a gap in which events of either CPU were lost is not made.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from nostale.watch.index import Index
from nostale.watch.related import NONE, Related, relate, wake_event
from nostale.watch.ring import Ints
from nostale.watch.syscalls import syscall_names, syscall_numbers
from nostale.watch.threads import last_of_each
from nostale.watch.trace import WAKING, Trace

_CSD_IPI: Final = "generic_smp_call_function_single_interrupt"
_TTWU: Final = "sched_ttwu_pending"
_RESCHEDULE, _IRQ_WORK, _CALL = "reschedule", "irq_work", "call"
_ANSWERS: Final = {
    "reschedule_entry": _RESCHEDULE,
    "irq_work_entry": _IRQ_WORK,
    "call_function_single_entry": _CALL,
    "call_function_entry": _CALL,
}
_CALL_FRAMES: Final = ("__x64_sys_", "__do_sys_", "__se_sys_")  # include/linux/syscalls.h
_IRQ_FRAMES: Final = (
    "asm_sysvec_",
    "sysvec_",
    "asm_common_interrupt",
    "common_interrupt",
    "handle_softirqs",
    "__do_softirq",
)
_STACK_AT: Final = 8  # after the header of every event
_CALL_EVENTS: Final = ("sys_enter", "sys_exit")
_THREADS: Final = (
    "kworker/", "ksoftirqd/", "migration/", "rcu_", "rcuc/", "rcuog/", "rcuop/", "rcuob/", "rcub/", "cpuhp/",
    "kcompactd",
    "kswapd", "khugepaged", "ksmd", "kthreadd", "idle_inject/", "irq/", "jbd2/", "kdamond", "watchdog/", "kauditd",
    "oom_reaper", "khungtaskd", "irq_work/", "swapper/",
)  # fmt: skip


@dataclass(slots=True, eq=False)
class Joins:
    """The joins of one trace, each made when first asked for.

    Attributes:
        interrupts: by number of a stack whether it is one of an interrupt, None where it is empty and does not tell.
    """

    trace: Trace
    _related: Related | None = None
    _csd: dict[int, int] | None = None
    _unrun: dict[int, list[int]] = field(default_factory=dict)
    _sent: dict[int, tuple[int, ...]] | None = None
    _of_kind: dict[tuple[int, tuple[str, ...]], Ints] = field(default_factory=dict)
    _lists: dict[tuple[str, str], Index] = field(default_factory=dict)
    _threads: dict[tuple[str, ...], Index] = field(default_factory=dict)
    _named: dict[int, str | None] = field(default_factory=dict)
    _kernel: dict[int, bool] = field(default_factory=dict)
    _numbers: dict[tuple[str, str], Callable[[int], int]] = field(default_factory=dict)
    _kinds: dict[int, str] = field(default_factory=dict)
    _numbered: dict[int, int] = field(default_factory=dict)
    _of_frames: dict[bytes, int] = field(default_factory=dict)
    _comms: dict[int, str] | None = None
    _stacks: list[tuple[str, ...]] = field(default_factory=lambda: [()])
    interrupts: list[bool | None] = field(default_factory=lambda: [None])

    @property
    def related(self) -> Related:
        """What each event has to do with others."""
        if self._related is None:
            self._related = relate(self.trace)
        return self._related

    def number(self, row: int, event: str, name: str) -> int:
        """Return one number of one event."""
        known = self._numbers.get((event, name))
        if known is None:
            known = self._numbers[event, name] = self.trace.reader(event, name)
        return known(row)

    def symbol(self, row: int, event: str, name: str) -> str:
        """Return one address of one event as a function's name, "" for NULL."""
        address = self.number(row, event, name) & ((1 << 64) - 1)
        return self.trace.origin.symbols.name(address) if address else ""

    def event(self, row: int) -> str:
        """Return the kind of an event."""
        number = int(self.trace.type[row])
        known = self._kinds.get(number)
        if known is None:
            known = self._kinds[number] = self.trace.formats.by_id[number].name
        return known

    # --- tasks

    def comm(self, pid: int) -> str | None:
        """Return a thread's name: as the trace's table has it, else as the scheduler's events do."""
        if pid not in self._named:
            self._named[pid] = self._comm(pid)
        return self._named[pid]

    def _comm(self, pid: int) -> str | None:
        known = self.trace.comm(pid)
        if known is not None and known != "<...>":
            return known
        if self._comms is None:
            switches = self.related.switches
            pids, last = last_of_each(switches.next)
            rows = zip(pids.tolist(), switches.rows[last].tolist())
            self._comms = {one: self.trace.text(row, "sched_switch", "next_comm") for one, row in rows}
        return self._comms.get(pid)

    def is_kernel_thread(self, pid: int) -> bool:
        """Whether a thread is the kernel's own: as the machine said, else by the names the kernel gives them."""
        known = self._kernel.get(pid)
        if known is None:
            told = self.trace.origin.kernel_threads or frozenset()
            known = self._kernel[pid] = pid in told or (self.comm(pid) or "").startswith(_THREADS)
        return known

    # --- cross-CPU calls

    def csd(self, row: int) -> int | None:
        """Return the csd_queue_cpu of a csd_function_entry."""
        if self._csd is None:
            self._csd = self._join_csds()
        return self._csd.get(row)

    def unrun(self, cpu: int, row: int) -> list[int]:
        """Return what was queued to `cpu` since its last call-function IPI before `row` and has no entry of its own."""
        self.csd(row)
        queued = self._unrun.get(cpu, [])
        before = self.before(cpu, row, ("call_function_single_entry", "call_function_entry"))
        return [one for one in queued if (before or -1) < one < row]

    def _join_csds(self) -> dict[int, int]:
        trace = self.trace
        queue, run = trace.rows("csd_queue_cpu"), trace.rows("csd_function_entry")
        asked: dict[int, tuple[int, int, int]] = {}
        if queue.size:
            columns = (trace.field(queue, "csd_queue_cpu", name).tolist() for name in ("cpu", "csd", "func"))
            asked = dict(zip(queue.tolist(), zip(*columns)))
        ran: dict[int, tuple[int, int, int]] = {}
        if run.size:
            columns = (trace.field(run, "csd_function_entry", name).tolist() for name in ("csd", "func"))
            ran = dict(zip(run.tolist(), zip(trace.cpu[run].tolist(), *columns)))
        pending: dict[tuple[int, int], deque[int]] = defaultdict(deque)
        joined: dict[int, int] = {}
        taken: set[int] = set()
        for row in np.sort(np.concatenate([queue, run])).tolist():
            if row in asked:
                pending[self._csd_key(*asked[row])].append(row)
                continue
            waiting = pending[self._csd_key(*ran[row])] if ran[row][1] else deque[int]()
            # A csd that never showed its entry (lost, or an irq_work) must not shift those after it.
            while waiting and asked[waiting[0]][2] != ran[row][2]:
                waiting.popleft()
            if waiting:
                first = waiting.popleft()
                taken.add(first)
                if trace.origin.symbols.name(ran[row][2] & ((1 << 64) - 1)) == _TTWU:
                    taken.update(waiting)  # all wake-ups queued to a CPU share one entry
                    waiting.clear()
                if not self._torn(first, row):
                    joined[row] = first
        for row, (cpu, _, _) in asked.items():
            if row not in taken:
                self._unrun.setdefault(cpu, []).append(row)
        return joined

    def _csd_key(self, cpu: int, csd: int, func: int) -> tuple[int, int]:
        ttwu = self.trace.origin.symbols.name(func & ((1 << 64) - 1)) == _TTWU
        return (cpu, 0 if ttwu else csd)

    # --- bare IPIs

    def sent(self, row: int) -> tuple[int, ...]:
        """Return every ipi_send_cpu and ipi_send_cpumask that an IPI's entry answers, oldest first.

        The interrupt controller keeps one pending bit a vector, so one entry may answer several.
        """
        if self._sent is None:
            self._sent = self._join_sends()
        return self._sent.get(row, ())

    def _join_sends(self) -> dict[int, tuple[int, ...]]:
        trace = self.trace
        sends = self._sends()
        if not sends:
            return {}
        classes = {trace.formats.by_name[name].id: to for name, to in _ANSWERS.items() if trace.has(name)}
        entries = trace.rows(*_ANSWERS)
        pending: dict[tuple[int, str], list[int]] = defaultdict(list)
        answered: dict[int, tuple[int, ...]] = {}
        last: dict[tuple[int, str], int] = {}
        for row in np.sort(np.concatenate([np.fromiter(sends, np.int64, len(sends)), entries])).tolist():
            if row in sends:
                for key in sends[row]:
                    pending[key].append(row)
                continue
            key = (int(trace.cpu[row]), classes[int(trace.type[row])])
            waiting, before = pending.pop(key, []), last.get(key)
            if not waiting and before is not None and len(answered[before]) > 1:
                # One sent while the CPU was on its way into the entry before pends anew: only the last can have.
                waiting = [answered[before][-1]]
                answered[before] = answered[before][:-1]
            answered[row] = tuple(one for one in waiting if not self._torn(one, row))
            last[key] = row
        return answered

    def _sends(self) -> dict[int, list[tuple[int, str]]]:
        """Return for each event that sends IPIs the CPUs it sends to, each with what will answer there."""
        trace = self.trace
        sends: dict[int, list[tuple[int, str]]] = {}
        rows = trace.rows("ipi_send_cpu")
        if rows.size:
            columns = (trace.field(rows, "ipi_send_cpu", name).tolist() for name in ("cpu", "callback"))
            for row, sender, cpu, callback in zip(rows.tolist(), trace.cpu[rows].tolist(), *columns):
                sends[row] = [(cpu, self._answer(callback, own=cpu == sender))]
        rows = trace.rows("ipi_send_cpumask")
        if rows.size:
            for row, callback in zip(rows.tolist(), trace.field(rows, "ipi_send_cpumask", "callback").tolist()):
                mask = int.from_bytes(trace.data(row, "ipi_send_cpumask", "cpumask"), "little")
                sends[row] = [(cpu, self._answer(callback, own=False)) for cpu in trace.cpus if mask >> cpu & 1]
        return sends

    def _answer(self, callback: int, *, own: bool) -> str:
        # A reschedule has no callback; irq_work is raised on one's own CPU only, that for another goes as a csd
        # (kernel/irq_work.c, irq_work_raise() and irq_work_queue_on(), v6.12).
        if not callback:
            return _RESCHEDULE
        if own and self.trace.origin.symbols.name(callback & ((1 << 64) - 1)) != _CSD_IPI:
            return _IRQ_WORK
        return _CALL

    # --- stacks, system calls, contexts of a sender

    def stack(self, row: int) -> tuple[str, ...]:
        """Return the kernel stack recorded for an event, () where none was."""
        return self._stacks[self.stack_number(row)]

    def stack_number(self, row: int) -> int:
        """Return a number that events with the same kernel stack share, 0 for those without any."""
        stacked = self.related.stacked
        at = bisect_left(stacked.data, row)
        return self.number_of_stack(int(self.related.stack[at])) if at < len(stacked) and stacked[at] == row else 0

    def number_of_stack(self, row: int) -> int:
        """Return the same for a kernel_stack."""
        known = self._numbered.get(row)
        if known is not None:
            return known
        start = self.trace.place(row)
        frames = self.trace.raw[start + _STACK_AT : start + int(self.trace.size[row])].tobytes()
        known = self._numbered[row] = self._of_frames.setdefault(frames, len(self._stacks))
        if known == len(self._stacks):
            stack = self.trace.stack(row)
            self._stacks.append(stack)
            self.interrupts.append(any(frame.startswith(_IRQ_FRAMES) for frame in stack) if stack else None)
        return known

    def syscall(self, pid: int, row: int) -> str | None:
        """Return the system call that a thread is in at `row`, None where it is in none or it is not known."""
        opened = self._open_call(pid, row)
        return None if opened is None else self.call_name(opened)

    def call_name(self, row: int) -> str:
        """Return the system call that a sys_enter begins."""
        number = self.number(row, "sys_enter", "id")
        return syscall_names(self.trace.origin.machine).get(number, f"syscall {number}")

    def call_number(self, name: str) -> int:
        """Return the number of a system call, -1 where the trace's machine has no such."""
        return syscall_numbers(self.trace.origin.machine).get(name, NONE)

    def call_of(self, pid: int, row: int) -> str | None:
        """Return the system call of a thread that emitted `row`: as its events tell, else as the stack there does."""
        return self.syscall(pid, row) or _call_on(self.stack(row))

    def _open_call(self, pid: int, row: int) -> int | None:
        trace = self.trace
        if pid == int(trace.pid[row]):
            opened = int(self.related.call[row])
            if opened == NONE:
                return None
        else:
            last = self.last_of(pid, row, *_CALL_EVENTS)
            if last is None or self.event(last) != "sys_enter":
                return None
            opened = last
        return None if trace.lost_between(None, int(trace.ts[opened]), int(trace.ts[row])) else opened

    def last_of(self, pid: int, row: int, *events: str) -> int | None:
        """Return a thread's last event of these kinds before `row`, on any CPU."""
        return self._of_threads(events).last(pid, row)

    def _of_threads(self, events: tuple[str, ...]) -> Index:
        """Return the rows of these kinds by thread."""
        known = self._threads.get(events)
        if known is None:
            rows = self.trace.rows(*events)
            known = self._threads[events] = Index(self.trace.pid[rows], rows)
        return known

    def in_interrupt(self, row: int) -> bool:
        """Whether the sender at `row` was in an interrupt or softirq, so that its thread is a bystander."""
        by_stack = self.interrupts[self.stack_number(row)]
        return self.inside_entry(row) if by_stack is None else by_stack

    def inside_entry(self, row: int) -> bool:
        """Whether the CPU was in an interrupt or softirq when `row` happened."""
        return bool(self.related.inside[row] != NONE)

    def timer(self, row: int) -> int | None:
        """Return the hrtimer_expire_entry within which `row` happened."""
        innermost = int(self.related.timer[row])
        return None if innermost == NONE else innermost

    # --- scheduler, work items, timers

    @property
    def tells_wakers(self) -> bool:
        """Whether wake-ups tell who woke: by sched_waking, not by sched_wakeup.

        Source:
            include/trace/events/sched.h: "Tracepoint called when the task is actually woken [...] It is not always
            called from the waking context." (since v4.3, which has sched_waking for that)
        """
        return wake_event(self.trace) == WAKING

    def woken(self, row: int) -> int | None:
        """Return the wake-up that led to the sched_switch at `row`, None where who came had been runnable."""
        woken = int(self.related.woken[self._switch(row)])
        return None if woken == NONE or self._torn(woken, row) else woken

    def waker(self, row: int) -> int | None:
        """Return the sched_waking among them."""
        return self.woken(row) if self.tells_wakers else None

    def _switch(self, row: int) -> int:
        """Return which of the switches stands at `row`."""
        return bisect_left(self.related.switches.rows.data, row)

    def was_runnable(self, row: int) -> bool:
        """Whether the thread switched to at `row`, and not woken for it, had been willing to run all along."""
        left = int(self.related.gone[self._switch(row)])
        if left == NONE:  # never left a CPU here, never woken here: runnable since before the first event
            return self.trace.has(wake_event(self.trace)) and not self.trace.lost_between(
                None, -(1 << 62), int(self.trace.ts[row])
            )
        return bool(self.related.switches.runnable[self._switch(left)])

    def queued(self, row: int) -> int | None:
        """Return the workqueue_queue_work of a workqueue_execute_start."""
        work = self.number(row, "workqueue_execute_start", "work")
        return self._sound(self._last("workqueue_queue_work", "work", work, row), row)

    def armed(self, row: int) -> int | None:
        """Return the hrtimer_start of a hrtimer_expire_entry."""
        timer = self.number(row, "hrtimer_expire_entry", "hrtimer")
        return self._sound(self._last("hrtimer_start", "hrtimer", timer, row), row)

    def undue(self, row: int) -> int | None:
        """Return the hrtimer_start that the local timer was set for when it interrupted at `row` and nothing expired.

        A timer that is set anew, for later, or cancelled leaves the device as it was set before; and some timers are
        left to a softirq. None where several could be meant, or where the clock of the trace is not that of timers.

        Source:
            kernel/time/hrtimer.c, remove_hrtimer(), hrtimer_force_reprogram(), hrtimer_interrupt(), v6.12.
        """
        trace, cpu = self.trace, int(self.trace.cpu[row])
        before = self.before(cpu, row, ("local_timer_entry",))
        starts = self._rows(cpu, "hrtimer_start")
        starts = starts[: np.searchsorted(starts, row)]
        if trace.origin.clock != "mono" or before is None or not starts.size:
            return None
        expires = trace.field(starts, "hrtimer_start", "expires")
        due = starts[(expires > trace.ts[before]) & (expires <= trace.ts[row])].tolist()
        timers = {one: self.number(one, "hrtimer_start", "hrtimer") for one in due}
        waiting = [
            one
            for one, timer in timers.items()
            if (self._last("hrtimer_expire_entry", "hrtimer", timer, row) or -1) < one
        ]
        if len({timers[one] for one in waiting}) != 1:
            return None
        return self._sound(waiting[-1], row)

    def back(self, row: int) -> int | None:
        """Return the first sched_switch to the thread that left at `row`, on any CPU."""
        came = int(self.related.came[self._switch(row)])
        return None if came == NONE else came

    def came(self, pid: int, row: int) -> int | None:
        """Return the last sched_switch to `pid`, on any CPU, before `row`."""
        return self._last("sched_switch", "next_pid", pid, row)

    def off_cpu_ns(self, pid: int, low: int, high: int) -> int:
        """Return how long a thread had no CPU between two rows of its own."""
        index = self.by("sched_switch", "prev_pid")
        (first, last), rows = index.range(pid), index.rows
        total = 0
        for left in rows[first:last][slice(*np.searchsorted(rows[first:last], [low, high]))].tolist():
            came = self.back(left)
            if came is not None and came < high:
                total += int(self.trace.ts[came] - self.trace.ts[left])
        return total

    def raised(self, cpu: int, low: int, high_ns: int) -> set[int]:
        """Return the softirqs raised on `cpu` from row `low` until `high_ns`."""
        rows = self._rows(cpu, "softirq_raise")
        first = end = bisect_left(rows.data, low)
        while end < len(rows) and self.trace.ts[rows[end]] <= high_ns:
            end += 1
        return {self.number(row, "softirq_raise", "vec") for row in rows[first:end].tolist()}

    # --- helpers

    def _rows(self, cpu: int, *events: str) -> Ints:
        """Return the rows of these kinds on one CPU."""
        known = self._of_kind.get((cpu, events))
        if known is None:
            rows = self.trace.rows(*events)
            known = self._of_kind[cpu, events] = rows[self.trace.cpu[rows] == cpu]
        return known

    def before(self, cpu: int, row: int, events: tuple[str, ...]) -> int | None:
        """Return the last event of these kinds on one CPU before `row`."""
        rows = self._rows(cpu, *events).data
        at = bisect_left(rows, row)
        return rows[at - 1] if at else None

    def by(self, event: str, name: str) -> Index:
        """Return the rows of one kind of event by one of its fields."""
        known = self._lists.get((event, name))
        if known is None:
            rows = self.trace.rows(event)
            values = self.trace.field(rows, event, name) if rows.size else np.zeros(0, np.int64)
            known = self._lists[event, name] = Index(values, rows)
        return known

    def _last(self, event: str, name: str, value: int, row: int) -> int | None:
        return self.by(event, name).last(value, row)

    def _sound(self, asked: int | None, row: int) -> int | None:
        return None if asked is None or self._torn(asked, row) else asked

    def _torn(self, asked: int, row: int) -> bool:
        """Whether events that could have made another join were lost between the two."""
        trace = self.trace
        if not trace.lost:
            return False
        start, end = int(trace.ts[asked]), int(trace.ts[row])
        return any(trace.lost_between(int(trace.cpu[one]), start, end) for one in (asked, row))


def _call_on(stack: tuple[str, ...]) -> str | None:
    """The system call whose entry function stands on a stack: for traces that do not have the calls themselves."""
    for frame in stack:
        for prefix in _CALL_FRAMES:
            if frame.startswith(prefix):
                return frame.removeprefix(prefix)
    return None
