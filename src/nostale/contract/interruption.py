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
    TRACING = "tracing"
    SELF = "self"
    HOST = "host"
    UNKNOWN = "unknown"


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
    """

    kind: Work
    cpu: int | None = None
    task: str | None = None
    pid: int | None = None
    function: str | None = None
    syscall: str | None = None
    stack: tuple[str, ...] = ()
    looked_at: str = ""


@dataclass(frozen=True, slots=True)
class Interruption:
    """One interruption of a watched CPU.

    Args:
        cpu: the CPU that was interrupted.
        start_ns: in the clock of the trace.
        duration_ns: until the interrupted task went on, None where its end was not recorded.
        kind: how it reached the CPU.
        cause: what it was for and who sent it.
        remedy: what stops it.
        task: who was interrupted, as comm; "" where not known.
        pid: the interrupted thread's id, None where not known.
    """

    cpu: int
    start_ns: int
    duration_ns: int | None
    kind: Kind
    cause: Cause
    remedy: str
    task: str = ""
    pid: int | None = None
