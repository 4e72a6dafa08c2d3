"""codegen.sync-before-execute as trace events show it.

A text write leaves no event. What is seen is the sender asking other CPUs to run do_sync_core, a batch at a time; each
of them running it; and the sender going on, by asking for its next batch or by leaving its system call, which it may
only do once every CPU it asked has run it. Each batch stands for one address, whose value no event tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nostale.contract import Binding, Bound, Grade, Step
from nostale.systems.codegen.contract import SYNC_BEFORE_EXECUTE
from nostale.watch import Occurrence, Occurrences, Sight, Trace, TraceMonitor, next_of_thread, rows_of_function

_SYNC: Final = "do_sync_core"
Rows = NDArray[np.int64]

BINDING: Final = Binding(
    contract=SYNC_BEFORE_EXECUTE,
    engine="watch",
    bound={
        "patch": Bound(
            "csd_queue_cpu func=do_sync_core",
            Grade.MUST,
            "a text write leaves no event; only one after which CPUs are asked to synchronise is seen",
        ),
        "sync": Bound("csd_function_entry func=do_sync_core", Grade.EXACT),
        "execute": Bound("nothing", Grade.UNSEEN, "which instructions a CPU executes leaves no event"),
        "done": Bound(
            "the sender's next batch, or its sys_exit",
            Grade.MUST,
            "a patcher that relies on the patch without either is not seen to do so",
        ),
    },
    start="fresh",
    start_why="what was patched before the first event is not looked at",
    assumptions=(
        "each batch of do_sync_core calls stands for one patch: no event tells the address",
        "a CPU that was not asked needs no synchronising: it was offline, or is the sender itself",
        "csd_function_entry is recorded for every do_sync_core that runs, but where a recorder's thread has the CPU",
    ),
)


@dataclass(slots=True)
class _Batch:
    """The CPUs that one sender asked in one go, each with the row of the asking, and those not seen to have run it."""

    number: int
    asked: dict[int, int] = field(default_factory=dict)
    owing: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Look:
    """The senders' open batches while the events go by."""

    trace: Trace
    open: dict[int, _Batch] = field(default_factory=dict)
    batches: int = 0
    asked: set[int] = field(default_factory=set)
    unrecorded: set[int] = field(default_factory=set)
    hidden: set[int] = field(default_factory=set)
    turns: dict[int, tuple[int, Rows, Rows]] = field(default_factory=dict)
    silent: frozenset[int] | None = None

    def occurrences(self) -> Iterator[Occurrence]:
        trace = self.trace
        asks, runs = (rows_of_function(trace, event, _SYNC) for event in ("csd_queue_cpu", "csd_function_entry"))
        targets = dict(zip(asks.tolist(), trace.field(asks, "csd_queue_cpu", "cpu").tolist())) if asks.size else {}
        # Of a sender's way out of system calls only the first matters that comes after it has asked.
        leaving = next_of_thread(trace, asks, trace.rows("sys_exit"))
        left = set(leaving[leaving >= 0].tolist())
        rows = np.array(sorted({*targets, *left, *runs.tolist()}), np.int64)
        columns = (rows, trace.pid[rows], trace.cpu[rows], trace.ts[rows])
        for row, pid, cpu, ts in zip(*(column.tolist() for column in columns), strict=True):
            if row in targets:
                if targets[row] in self.trace.cpus:
                    yield from self._ask(pid, targets[row], cpu, ts, row)
                else:
                    self.unrecorded.add(targets[row])
            elif row in left:
                yield from self._done(pid, cpu, ts, "sys_exit", row)
            else:
                for batch in self.open.values():
                    batch.owing.discard(cpu)
                yield Occurrence(
                    "sync", {"cpu": cpu}, Step(f"CPU {cpu}", "csd_function_entry", "runs do_sync_core", time_ns=ts)
                )

    def _ask(self, pid: int, target: int, cpu: int, ts: int, row: int) -> Iterator[Occurrence]:
        batch = self.open.get(pid)
        # A batch asks each CPU once: a CPU asked again belongs to the next, which begins once this one is relied on.
        if batch is not None and target in batch.asked:
            yield from self._done(pid, cpu, ts, "csd_queue_cpu of the next batch", row)
            batch = None
        if batch is None:
            batch = self.open[pid] = _Batch(self.batches)
            self.batches += 1
        batch.asked[target] = row
        batch.owing.add(target)
        self.asked.add(target)
        yield Occurrence(
            "patch",
            {"address": batch.number, "cpu": target},
            Step(
                f"CPU {cpu}",
                "csd_queue_cpu",
                f"thread {pid} asks CPU {target} to run do_sync_core",
                why="kernel text was written before it asked",
                time_ns=ts,
            ),
        )

    def _done(self, pid: int, cpu: int, ts: int, place: str, row: int) -> Iterator[Occurrence]:
        batch = self.open.pop(pid, None)
        if batch is None:
            return
        for target, asked in sorted(batch.asked.items()):
            if target in batch.owing and self._may_hide(target, asked, row):
                self.hidden.add(target)
                continue
            yield Occurrence(
                "done",
                {"address": batch.number, "cpu": target},
                Step(
                    f"CPU {cpu}",
                    place,
                    f"thread {pid} goes on",
                    why=f"it relies on CPU {target} having run do_sync_core",
                    time_ns=ts,
                ),
            )

    def _may_hide(self, cpu: int, low: int, high: int) -> bool:
        """Whether `cpu` may have run do_sync_core between two rows with nothing recorded.

        A recorder leaves out what happens while one of its own threads has the CPU. Such a thread shows by having no
        events but the scheduler's; where it is not known who had the CPU, it may have been one.
        """
        begins, switches, threads = self._turns(cpu)
        if begins >= low:
            return True
        first, last = np.searchsorted(switches, [low, high])
        # Who did something before the first switch has events of its own.
        running = set(threads[max(first - 1, 0) : last].tolist())
        return bool(running & self._unrecorded_threads())

    def _turns(self, cpu: int) -> tuple[int, Rows, Rows]:
        """Return the first row of a CPU, its switches, and to whom they are."""
        if cpu not in self.turns:
            trace = self.trace
            there = np.flatnonzero(trace.cpu == cpu)
            rows = trace.rows("sched_switch")
            rows = rows[trace.cpu[rows] == cpu]
            threads = trace.field(rows, "sched_switch", "next_pid") if rows.size else rows
            self.turns[cpu] = int(there[0]) if there.size else len(trace), rows, threads
        return self.turns[cpu]

    def _unrecorded_threads(self) -> frozenset[int]:
        if self.silent is None:
            trace = self.trace
            rows = trace.rows("sched_switch")
            switched_to = trace.field(rows, "sched_switch", "next_pid") if rows.size else rows
            others = np.ones(len(trace), bool)
            others[rows] = False
            self.silent = frozenset(np.setdiff1d(switched_to, trace.pid[others]).tolist())
        return self.silent


def look(trace: Trace) -> Sight:
    """Return what a trace shows of patches and synchronisations; what it cannot show stands in `not_seen`."""
    state = _Look(trace)
    found = tuple(state.occurrences())
    ran = sum(one.event == "sync" and one.keys["cpu"] in state.asked for one in found)
    cpus = ", ".join(map(str, sorted(state.asked))) or "none"
    seen = f"{state.batches} batches that asked CPUs {cpus}; do_sync_core ran {ran} times there"
    missing = [
        f"no {event} event in this trace" for event in ("csd_queue_cpu", "csd_function_entry", "sys_exit")
        if not trace.rows(event).size
    ]  # fmt: skip
    missing += [
        f"CPU {cpu} was asked while it ran a thread none of whose events were recorded" for cpu in sorted(state.hidden)
    ]
    missing += [f"CPU {cpu} was asked, but its events were not recorded" for cpu in sorted(state.unrecorded)]
    if not trace.rows("csd_function_entry").size:  # then it was not recorded: no sync can be seen, none is missed
        found = ()
    return Sight(Occurrences.of(found), {"cpu": trace.cpus}, seen, tuple(missing))


MONITOR: Final = TraceMonitor(BINDING, look)
