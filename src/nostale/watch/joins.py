"""Who asked: the joins from an interruption to the event on another CPU, or before it, that caused it.

| from | to | by |
| --- | --- | --- |
| csd_function_entry | csd_queue_cpu | csd pointer and CPU, first in first out, same function |
| reschedule_entry, irq_work_entry | ipi_send_cpu, ipi_send_cpumask | target and callback, all sent since the last |
| call_function_*_entry | the same | likewise, where no csd tells |
| an event that carries a stack | kernel_stack | the next event on its CPU, same thread |
| a sender | sys_enter | its thread's last one, when no sys_exit came since |
| sched_switch to a task | sched_waking | thread id, since it last left a CPU |
| workqueue_execute_start | workqueue_queue_work | work pointer, the last before |
| hrtimer_expire_entry | hrtimer_start | timer pointer, the last before |
| sys_exit | sys_enter | thread, the one just before |

A join across a gap in which events of either CPU were lost is not made.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np

from nostale.contract import Cause, Work
from nostale.watch.ring import Ints
from nostale.watch.spans import ENTRIES, EXITS
from nostale.watch.syscalls import syscall_names
from nostale.watch.trace import Column, Trace

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
_THREADS: Final = (
    "kworker/", "ksoftirqd/", "migration/", "rcu_", "rcuc/", "rcuog/", "rcuop/", "rcuob/", "rcub/", "cpuhp/",
    "kcompactd",
    "kswapd", "khugepaged", "ksmd", "kthreadd", "idle_inject/", "irq/", "jbd2/", "kdamond", "watchdog/", "kauditd",
    "oom_reaper", "khungtaskd", "irq_work/", "swapper/",
)  # fmt: skip


@dataclass(slots=True, eq=False)
class Joins:
    """The joins of one trace, each made when first asked for."""

    trace: Trace
    _csd: dict[int, int] | None = None
    _unrun: dict[int, list[int]] = field(default_factory=dict)
    _sent: dict[int, tuple[int, ...]] | None = None
    _by_cpu: dict[int, Ints] = field(default_factory=dict)
    _of_kind: dict[tuple[int, tuple[str, ...]], Ints] = field(default_factory=dict)
    _lists: dict[tuple[str, str], tuple[Column, Ints]] = field(default_factory=dict)
    _threads: dict[tuple[str, ...], tuple[Ints, Ints]] = field(default_factory=dict)
    _named: dict[int, str | None] = field(default_factory=dict)
    _kernel: dict[int, bool] = field(default_factory=dict)
    _own: dict[tuple[int, int, str | None], Cause] = field(default_factory=dict)
    _numbers: dict[tuple[str, str], dict[int, int]] = field(default_factory=dict)
    _names: dict[int, str] | None = None
    _comms: dict[int, str] | None = None
    _stacks: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def number(self, row: int, event: str, name: str) -> int:
        """Return one number of one event; the whole column is taken out when first asked for."""
        known = self._numbers.get((event, name))
        if known is None:
            rows = self.trace.rows(event)
            column = self.trace.field(rows, event, name).tolist() if rows.size else []
            known = self._numbers[event, name] = dict(zip(rows.tolist(), column))
        return known[row]

    def symbol(self, row: int, event: str, name: str) -> str:
        """Return one address of one event as a function's name, "" for NULL."""
        address = self.number(row, event, name) & ((1 << 64) - 1)
        return self.trace.origin.symbols.name(address) if address else ""

    def event(self, row: int) -> str:
        """Return the kind of an event."""
        return self.trace.formats.by_id[int(self.trace.type[row])].name

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
            rows = self.trace.rows("sched_switch")
            pids = self.trace.field(rows, "sched_switch", "next_pid") if rows.size else rows
            last = dict(zip(pids.tolist(), rows.tolist()))
            self._comms = {one: self.trace.text(row, "sched_switch", "next_comm") for one, row in last.items()}
        return self._comms.get(pid)

    def is_kernel_thread(self, pid: int) -> bool:
        """Whether a thread is the kernel's own: as the machine said, else by the names the kernel gives them."""
        known = self._kernel.get(pid)
        if known is None:
            told = self.trace.origin.kernel_threads or frozenset()
            known = self._kernel[pid] = pid in told or (self.comm(pid) or "").startswith(_THREADS)
        return known

    def own(self, cpu: int, pid: int, syscall: str | None) -> Cause:
        """Return the cause of a task's own kernel entries: one object for all alike, as there are many."""
        known = self._own.get((cpu, pid, syscall))
        if known is None:
            known = self._own[cpu, pid, syscall] = Cause(Work.SELF, cpu, self.comm(pid), pid, syscall=syscall)
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
        known = self._stacks.get(row)
        if known is None:
            known = self._stacks[row] = self._stack(row)
        return known

    def _stack(self, row: int) -> tuple[str, ...]:
        trace = self.trace
        here = self._cpu_rows(int(trace.cpu[row]))
        after = int(np.searchsorted(here, row)) + 1
        if after >= here.size or not trace.has("kernel_stack"):
            return ()
        following = int(here[after])
        same = trace.pid[following] == trace.pid[row]
        if not same or trace.type[following] != trace.formats.by_name["kernel_stack"].id:
            return ()
        return trace.stack(following)

    def syscall(self, pid: int, row: int) -> str | None:
        """Return the system call that a thread is in at `row`, None where it is in none or it is not known."""
        opened = self._open_call(pid, row)
        return None if opened is None else self.call_name(opened)

    def call_name(self, row: int) -> str:
        """Return the system call that a sys_enter begins."""
        number = self.number(row, "sys_enter", "id")
        if self._names is None:
            self._names = syscall_names(self.trace.origin.machine)
        return self._names.get(number, f"syscall {number}")

    def call_of(self, pid: int, row: int) -> str | None:
        """Return the system call of a thread that emitted `row`: as its events tell, else as the stack there does."""
        return self.syscall(pid, row) or _call_on(self.stack(row))

    def _open_call(self, pid: int, row: int) -> int | None:
        trace = self.trace
        opened = self.last_of(pid, row, "sys_enter", "sys_exit")
        if opened is None or self.event(opened) != "sys_enter":
            return None
        return None if trace.lost_between(None, int(trace.ts[opened]), int(trace.ts[row])) else opened

    def last_of(self, pid: int, row: int, *events: str) -> int | None:
        """Return a thread's last event of these kinds before `row`, on any CPU."""
        keys, rows = self._of_threads(events)
        at = int(np.searchsorted(keys, _key(pid, row))) - 1
        return int(rows[at]) if at >= 0 and int(self.trace.pid[rows[at]]) == pid else None

    def entered(self) -> dict[int, int]:
        """Return for each sys_exit the sys_enter of its thread just before it, on any CPU."""
        _, rows = self._of_threads(("sys_enter", "sys_exit"))
        if not self.trace.has("sys_enter") or rows.size < 2:
            return {}
        first, second = rows[:-1], rows[1:]
        opens = self.trace.type[rows] == self.trace.formats.by_name["sys_enter"].id
        paired = (self.trace.pid[first] == self.trace.pid[second]) & opens[:-1] & ~opens[1:]
        return dict(zip(second[paired].tolist(), first[paired].tolist()))

    def _of_threads(self, events: tuple[str, ...]) -> tuple[Ints, Ints]:
        """Return the rows of these kinds ordered by thread, then time, and the keys that say so."""
        known = self._threads.get(events)
        if known is None:
            rows = self.trace.rows(*events)
            keys = _key(self.trace.pid[rows].astype(np.int64), rows)
            order = np.argsort(keys)
            known = self._threads[events] = keys[order], rows[order]
        return known

    def in_interrupt(self, row: int) -> bool:
        """Whether the sender at `row` was in an interrupt or softirq, so that its thread is a bystander."""
        stack = self.stack(row)
        if stack:
            return any(frame.startswith(_IRQ_FRAMES) for frame in stack)
        return self.inside_entry(row)

    def inside_entry(self, row: int) -> bool:
        """Whether the CPU was in an interrupt or softirq when `row` happened."""
        return self._open_entry(row, (*ENTRIES,), (*EXITS,)) is not None

    def timer(self, row: int) -> int | None:
        """Return the hrtimer_expire_entry within which `row` happened."""
        return self._open_entry(row, ("hrtimer_expire_entry",), ("hrtimer_expire_exit",))

    def _open_entry(self, row: int, entries: tuple[str, ...], exits: tuple[str, ...]) -> int | None:
        """Walk back from `row` on its CPU to an entry whose exit has not come; a context switch ends the search."""
        trace = self.trace
        rows = self._rows(int(trace.cpu[row]), *entries, *exits, "sched_switch")
        closed = 0
        end = int(np.searchsorted(rows, row))
        for one in map(int, rows[max(0, end - 256) : end][::-1]):
            name = self.event(one)
            if name == "sched_switch":
                return None
            if name in exits:
                closed += 1
            elif closed:
                closed -= 1
            else:
                return one
        return None

    # --- scheduler, work items, timers

    def waker(self, pid: int, row: int) -> int | None:
        """Return the sched_waking that led to the switch to `pid` at `row`, None where it had been runnable."""
        woken = self._last("sched_waking", "pid", pid, row)
        if woken is None or self._torn(woken, row):
            return None
        left = self._last("sched_switch", "prev_pid", pid, row)
        if left is None or left < woken:
            return woken
        # A task may be woken between deciding to sleep and leaving the CPU: then it left asleep, but was woken before.
        came = self._last("sched_switch", "next_pid", pid, row)
        asleep = bool(self.number(left, "sched_switch", "prev_state") & 0xFF)
        return woken if asleep and (came is None or came < woken) else None

    def was_runnable(self, pid: int, row: int) -> bool:
        """Whether `pid`, switched to at `row` and not woken for it, had been willing to run all along."""
        left = self._last("sched_switch", "prev_pid", pid, row)
        if left is None:  # never left a CPU here, never woken here: runnable since before the first event
            return self.trace.has("sched_waking") and not self.trace.lost_between(
                None, -(1 << 62), int(self.trace.ts[row])
            )
        return not self.number(left, "sched_switch", "prev_state") & 0xFF

    def queued(self, row: int) -> int | None:
        """Return the workqueue_queue_work of a workqueue_execute_start."""
        work = self.number(row, "workqueue_execute_start", "work")
        return self._sound(self._last("workqueue_queue_work", "work", work, row), row)

    def armed(self, row: int) -> int | None:
        """Return the hrtimer_start of a hrtimer_expire_entry."""
        timer = self.number(row, "hrtimer_expire_entry", "hrtimer")
        return self._sound(self._last("hrtimer_start", "hrtimer", timer, row), row)

    def back(self, pid: int, row: int) -> tuple[int | None, int | None]:
        """Return the first sched_switch to `pid` and the first from it, on any CPU, after `row`."""
        return self._next("sched_switch", "next_pid", pid, row), self._next("sched_switch", "prev_pid", pid, row)

    def came(self, pid: int, row: int) -> int | None:
        """Return the last sched_switch to `pid`, on any CPU, before `row`."""
        return self._last("sched_switch", "next_pid", pid, row)

    def off_cpu_ns(self, pid: int, low: int, high: int) -> int:
        """Return how long a thread had no CPU between two rows of its own."""
        first, last, rows = self._group("sched_switch", "prev_pid", pid)
        total = 0
        for left in rows[first:last][slice(*np.searchsorted(rows[first:last], [low, high]))].tolist():
            came, _ = self.back(pid, left)
            if came is not None and came < high:
                total += int(self.trace.ts[came] - self.trace.ts[left])
        return total

    def raised(self, cpu: int, low: int, high_ns: int) -> set[int]:
        """Return the softirqs raised on `cpu` from row `low` until `high_ns`."""
        rows = self._rows(cpu, "softirq_raise")
        rows = rows[np.searchsorted(rows, low) :]
        rows = rows[: np.searchsorted(self.trace.ts[rows], high_ns, side="right")]
        return set(self.trace.field(rows, "softirq_raise", "vec").tolist()) if rows.size else set()

    # --- helpers

    def _cpu_rows(self, cpu: int) -> Ints:
        if cpu not in self._by_cpu:
            self._by_cpu[cpu] = np.flatnonzero(self.trace.cpu == cpu)
        return self._by_cpu[cpu]

    def _rows(self, cpu: int, *events: str) -> Ints:
        """Return the rows of these kinds on one CPU."""
        known = self._of_kind.get((cpu, events))
        if known is None:
            rows = self.trace.rows(*events)
            known = self._of_kind[cpu, events] = rows[self.trace.cpu[rows] == cpu]
        return known

    def before(self, cpu: int, row: int, events: tuple[str, ...]) -> int | None:
        """Return the last event of these kinds on one CPU before `row`."""
        rows = self._rows(cpu, *events)
        at = int(np.searchsorted(rows, row)) - 1
        return int(rows[at]) if at >= 0 else None

    def _group(self, event: str, name: str, value: int) -> tuple[int, int, Ints]:
        """Return where the rows of one kind of event with one value of a field begin and end, and all rows so sorted.

        Cost: O(events log events) the first time, then O(log events).
        """
        known = self._lists.get((event, name))
        if known is None:
            rows = self.trace.rows(event)
            values = self.trace.field(rows, event, name) if rows.size else np.zeros(0, np.int64)
            order = np.argsort(values, kind="stable")
            known = self._lists[event, name] = values[order], rows[order]
        values, rows = known
        wanted = np.array(value).astype(values.dtype)
        return int(np.searchsorted(values, wanted)), int(np.searchsorted(values, wanted, side="right")), rows

    def _next(self, event: str, name: str, value: int, row: int) -> int | None:
        low, high, rows = self._group(event, name, value)
        at = low + int(np.searchsorted(rows[low:high], row + 1))
        return int(rows[at]) if at < high else None

    def _last(self, event: str, name: str, value: int, row: int) -> int | None:
        low, high, rows = self._group(event, name, value)
        at = low + int(np.searchsorted(rows[low:high], row))
        return int(rows[at - 1]) if at > low else None

    def _sound(self, asked: int | None, row: int) -> int | None:
        return None if asked is None or self._torn(asked, row) else asked

    def _torn(self, asked: int, row: int) -> bool:
        """Whether events that could have made another join were lost between the two."""
        trace = self.trace
        start, end = int(trace.ts[asked]), int(trace.ts[row])
        return any(trace.lost_between(int(trace.cpu[one]), start, end) for one in (asked, row))


def _call_on(stack: tuple[str, ...]) -> str | None:
    """The system call whose entry function stands on a stack: for traces that do not have the calls themselves."""
    for frame in stack:
        for prefix in _CALL_FRAMES:
            if frame.startswith(prefix):
                return frame.removeprefix(prefix)
    return None


T = TypeVar("T", int, Ints)


def _key(pid: T, row: T) -> T:
    """Order by thread, then time: a row is below 2^36, a thread id below 2^22."""
    return pid * (1 << 36) + row
