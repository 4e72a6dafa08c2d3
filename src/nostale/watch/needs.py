"""Which events the causes need: what to record, and what cannot be told without each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nostale.watch.monitors import TraceMonitor
from nostale.watch.spans import ENTRIES, EXITS, OTHERS
from nostale.watch.trace import STAND_INS, Trace, Wanted

# Event to what its absence hides. A trace.dat describes only events that were recorded.
NEEDS: Final[dict[str, tuple[str, str]]] = {
    "local_timer_entry": ("irq_vectors", "ticks and timers are not seen"),
    "local_timer_exit": ("irq_vectors", "how long ticks and timers took is not known"),
    "reschedule_entry": ("irq_vectors", "reschedule IPIs are not seen"),
    "reschedule_exit": ("irq_vectors", "how long reschedule IPIs took is not known"),
    "call_function_entry": ("irq_vectors", "function-call IPIs to many CPUs are not seen"),
    "call_function_exit": ("irq_vectors", "how long function-call IPIs to many CPUs took is not known"),
    "call_function_single_entry": ("irq_vectors", "function-call IPIs are not seen"),
    "call_function_single_exit": ("irq_vectors", "how long function-call IPIs took is not known"),
    "irq_work_entry": ("irq_vectors", "irq_work is not seen"),
    "irq_work_exit": ("irq_vectors", "how long irq_work took is not known"),
    "csd_queue_cpu": ("csd", "who sent a function-call IPI is not known"),
    "csd_function_entry": ("csd", "what a function-call IPI ran is not known"),
    "csd_function_exit": ("csd", "when a cross-CPU function ended is not known"),
    "ipi_send_cpu": ("ipi", "who sent a reschedule IPI or irq_work is not known"),
    "ipi_send_cpumask": ("ipi", "who sent one IPI to several CPUs is known from csd events at best"),
    "irq_handler_entry": ("irq", "device interrupts are not seen"),
    "irq_handler_exit": ("irq", "how long device interrupts took is not known"),
    "softirq_entry": ("irq", "softirqs are not seen"),
    "softirq_exit": ("irq", "how long softirqs took is not known"),
    "softirq_raise": ("irq", "what a device interrupt was for is not known"),
    "sched_switch": ("sched", "who ran is not known"),
    "sched_waking": ("sched", "who woke a task that took the CPU is not known"),
    "sys_enter": ("raw_syscalls", "the sender's system call is known from its stack at best"),
    "sys_exit": ("raw_syscalls", "when a system call ended is not known"),
    "page_fault_user": ("exceptions", "page faults are not seen"),
    "hrtimer_expire_entry": ("timer", "which timer expired is not known"),
    "hrtimer_expire_exit": ("timer", "which timer a sender ran in is not known"),
    "hrtimer_start": ("timer", "who armed a timer is not known"),
    "workqueue_queue_work": ("workqueue", "who queued a work item is not known"),
    "workqueue_execute_start": ("workqueue", "which work item a kworker ran is not known"),
    "tick_stop": ("timer", "why a tick was not stopped is not known"),
}
# Of use where the kernel has them; nothing is told worse without.
EXTRAS: Final = {
    "nmi_handler": "nmi",
    "sched_migrate_task": "sched",
    "workqueue_execute_end": "workqueue",
    "user_enter": "context_tracking",
    "task_newtask": "task",
    "sched_process_exec": "sched",
    "rcu_batch_start": "rcu",
}
# What moves memory about for devices: recorded where that is asked for.
MEMORY: Final = (
    ("dma", "dma_map_phys"),
    ("dma", "dma_map_page"),
    ("dma", "dma_unmap_phys"),
    ("dma", "dma_unmap_page"),
    ("dma", "dma_map_sg"),
    ("dma", "dma_unmap_sg"),
    ("dma", "dma_alloc"),
    ("dma", "dma_free"),
    ("dma", "dma_alloc_pages"),
    ("dma", "dma_free_pages"),
    ("dma", "dma_alloc_sgt"),
    ("dma", "dma_free_sgt"),
    ("iommu", "map"),
    ("iommu", "unmap"),
    ("intel_iommu", "qi_submit"),
    ("intel_iommu", "cache_tag_flush_range"),
    ("intel_iommu", "cache_tag_flush_range_np"),
    ("intel_iommu", "cache_tag_flush_all"),
)
# Of what moves memory, events of which one at least tells, and what is hidden where a trace has none of them.
_MEMORY_NEEDS: Final = (
    (("dma_map_phys", "dma_map_page"), "which device was given which addresses is not known"),
    (("dma_unmap_phys", "dma_unmap_page"), "which addresses were taken from a device is not known"),
    (("map",), "what an IOMMU translated is not known"),
    (("unmap",), "what an IOMMU no longer translated is not known"),
    (
        ("qi_submit", "cache_tag_flush_range", "cache_tag_flush_all"),
        "when an IOTLB was flushed is not known (traced for Intel's IOMMU only)",
    ),
)
# A stack is taken with each of these, on the sender's side.
STACKS: Final = ("csd_queue_cpu", "ipi_send_cpu", "ipi_send_cpumask", "sched_waking", "workqueue_queue_work")

# Of the events that there are most of, the first and the last field that is read.
_READ: Final = {
    "sys_enter": ("id", "args[0]"),
    "sys_exit": ("ret", "ret"),
    "sched_switch": ("prev_pid", "next_pid"),
    "sched_waking": ("pid", "target_cpu"),
    "sched_wakeup": ("pid", "pid"),
    "hrtimer_start": ("hrtimer", "expires"),
}


def needed(monitors: Iterable[TraceMonitor] = ()) -> Wanted:
    """Return the events that `analyse` looks at, and what of them: the rest need not be kept when a trace is read.

    Of what a monitor names for itself all is kept.
    """
    asked = (event for one in monitors for event in one.events)
    events = sorted({*NEEDS, *EXTRAS, *ENTRIES, *EXITS, *OTHERS, *STAND_INS, "kernel_stack"})
    return {event: _READ.get(event) for event in events} | dict.fromkeys(asked)


def missing(trace: Trace) -> dict[str, str]:
    """Return the needed events that a trace does not describe, each with what cannot be told for want of it."""
    return {event: loss for event, (_, loss) in NEEDS.items() if not trace.has(event)}


def missing_memory(trace: Trace) -> dict[str, str]:
    """Return, of a trace that has some events of what moves memory, those of which it has none, likewise."""
    if not any(trace.has(event) for _, event in MEMORY):
        return {}
    lacking = {events: loss for events, loss in _MEMORY_NEEDS if not any(map(trace.has, events))}
    return {" or ".join(events): loss for events, loss in lacking.items()}
