"""What interrupts the tasks of a CPU: a stretch from a kernel entry's event to its exit's, and the events that tell it.

A stretch counts against the task that was running. Kernel threads and the idle task are nobody's work to protect:
what interrupts them is not told (a kernel thread that takes the CPU from a user task is, as a context switch). Time
spent in a stretch nested in another is counted in the inner one only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nostale.contract import Kind

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
CLOSES: Final = EXITS | {"csd_function_exit": "csd_function_entry"}
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
OWN: Final = frozenset({Kind.SYSCALL, Kind.PAGE_FAULT})  # what a task does itself


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
