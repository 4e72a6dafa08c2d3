"""The words for an interruption: how it reached the CPU, what work ran, and where it came from.

The words keep their meaning; the vocabulary may grow.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How it reached the CPU."""

    IPI_CALL = "ipi-call"
    IPI_RESCHEDULE = "ipi-reschedule"
    IRQ_WORK = "irq-work"
    TIMER_TICK = "timer-tick"
    TIMER = "timer"
    DEVICE_IRQ = "device-irq"
    SOFTIRQ = "softirq"
    PAGE_FAULT = "page-fault"
    SYSCALL = "syscall"
    CONTEXT_SWITCH = "context-switch"
    NMI = "nmi"
    UNSEEN = "unseen"

    __hash__ = str.__hash__  # an Enum's own is Python, and recordings have a million breaks to look up by it


class Work(StrEnum):
    """What ran on the interrupted CPU."""

    TEXT_PATCH = "text-patch"
    MEMBARRIER = "membarrier"
    TLB_FLUSH = "tlb-flush"
    BPF_LOAD = "bpf-load"
    RCU = "rcu"
    PERF = "perf"
    SIGNAL = "signal"
    WAKEUP = "wakeup"
    POSIX_TIMER = "posix-timer"
    WORKQUEUE = "workqueue"
    TICK = "tick"
    BLOCK_IO = "block-io"
    NETWORK = "network"
    CPU_STOP = "cpu-stop"
    WATCHDOG = "watchdog"
    DEADLINE = "deadline"
    PAGE_TABLES = "page-tables"
    TRACING = "tracing"
    SELF = "self"
    HOST = "host"
    UNKNOWN = "unknown"

    __hash__ = str.__hash__  # likewise


@dataclass(frozen=True, slots=True)
class Link:
    """One who made a kernel thread act.

    Args:
        how: what he did: `queued vmstat_update`, `woke it`.
        cpu: where he was.
        task: his comm, None where it is not known.
        pid: his thread id.
        syscall: the system call he was in.
    """

    how: str
    cpu: int
    task: str | None
    pid: int
    syscall: str | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """Where the work came from.

    Args:
        kind: what ran.
        cpu: the CPU that sent it, None where nobody did or it is not known.
        task: the sending task's comm.
        pid: the sending task's thread id.
        function: the function that ran (for a cross-CPU call), or the work item's.
        syscall: the sender's system call, such as `mprotect`.
        stack: the sender's kernel stack, innermost first.
        looked_at: for `unknown`, which events were looked at and did not tell.
        detail: what more is known of it: what a text patch was for, why the tick was not stopped; "" where nothing is.
        sent_ns: when it was sent, in the clock of the trace; None where that is not known.
        chain: where the sender is a kernel thread, whom it did that for, the nearest first.
    """

    kind: Work
    cpu: int | None = None
    task: str | None = None
    pid: int | None = None
    function: str | None = None
    syscall: str | None = None
    stack: tuple[str, ...] = ()
    looked_at: str = ""
    detail: str = ""
    chain: tuple[Link, ...] = ()
    sent_ns: int | None = None

    def at(self, sent_ns: int | None) -> Cause:
        """Return the same, sent at another time."""
        return Cause(
            self.kind,
            self.cpu,
            self.task,
            self.pid,
            self.function,
            self.syscall,
            self.stack,
            self.looked_at,
            self.detail,
            self.chain,
            sent_ns,
        )

    @property
    def behalf(self) -> Link | None:
        """The task at the far end of the chain; None where the sender acted for nobody that is known."""
        return self.chain[-1] if self.chain else None


class Vanishes(StrEnum):
    """Whether an interruption would not have happened with some measure taken."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What one measure would have done about one interruption.

    Args:
        measure: such as `nohz_full`.
        vanishes: whether it would not have happened.
        why: the argument.
    """

    measure: str
    vanishes: Vanishes
    why: str


@dataclass(frozen=True, slots=True)
class Interruption:
    """One interruption of a watched CPU.

    Args:
        cpu: the CPU that was interrupted.
        start_ns: in the clock of the trace.
        duration_ns: how long it took without what is nested in it and counts for itself, None where that is not known.
        kind: how it reached the CPU.
        cause: what it was for and who sent it.
        remedy: what stops it.
        task: who was interrupted, as comm; "" where not known.
        pid: the interrupted thread's id, None where not known.
        at_most_ns: where the end was not recorded, how long it can have been at most; None where that is not known.
        source: where the remedy is described.
        what_if: what measures would have done about it, where that was asked.
        end_ns: when the interrupted task went on, None where that was not recorded.
    """

    cpu: int
    start_ns: int
    duration_ns: int | None
    kind: Kind
    cause: Cause
    remedy: str
    task: str = ""
    pid: int | None = None
    at_most_ns: int | None = None
    source: str = ""
    what_if: tuple[WhatIf, ...] = ()
    end_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Total:
    """All interruptions of one cause.

    Args:
        cause: the work that ran.
        count: how many.
        total_ns: of those whose duration is known.
        worst_ns: the longest of those, None where none is known.
        open: how many have no known duration.
        remedies: what stops them, each with where that is described.
    """

    cause: Work
    count: int
    total_ns: int
    worst_ns: int | None
    open: int
    remedies: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """How one cause differs between two recordings.

    Args:
        cause: the work that ran.
        old: its interruptions in the first.
        new: in the second.
        old_s, new_s: how long each recording is.
        chance: how likely counts that differ so much are by chance.
        sure: whether that is unlikely enough to call it a change.
    """

    cause: Work
    old: Total
    new: Total
    old_s: float
    new_s: float
    chance: float
    sure: bool

    @property
    def old_per_s(self) -> float:
        """Interruptions a second in the first."""
        return self.old.count / self.old_s

    @property
    def new_per_s(self) -> float:
        """Interruptions a second in the second."""
        return self.new.count / self.new_s
