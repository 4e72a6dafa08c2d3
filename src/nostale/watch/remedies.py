"""What stops each kind of interruption: one table, each line with its source."""

from __future__ import annotations

from typing import Final

from nostale.contract import Kind, Work

_KERNEL_PARAMETERS: Final = "Documentation/admin-guide/kernel-parameters.txt"

# Work to (remedy, source).
REMEDIES: Final[dict[Work, tuple[str, str]]] = {
    Work.TEXT_PATCH: (
        "switch tracepoints, static keys, kprobes and BPF programs before the isolated phase and leave them alone then",
        "arch/x86/kernel/alternative.c, smp_text_poke_batch_finish()",
    ),
    Work.MEMBARRIER: (
        "keep the isolated threads in a process of their own: private expedited membarrier reaches only CPUs that run "
        "the caller's mm; do not register for global expedited",
        "membarrier(2)",
    ),
    Work.TLB_FLUSH: (
        "let no thread of the isolated process map, unmap, protect or free memory, or fork, while it runs isolated; "
        "map and fault in (mlockall) before",
        "arch/x86/mm/tlb.c, flush_tlb_mm_range()",
    ),
    Work.BPF_LOAD: (
        "load BPF programs and socket filters before the isolated phase",
        "kernel/bpf/core.c, bpf_prog_pack_alloc()",
    ),
    Work.RCU: ("boot with rcu_nocbs= and without rcu_expedited; offload callbacks", _KERNEL_PARAMETERS),
    Work.PERF: (
        "open no perf event on the isolated CPU, nor read one from another CPU",
        "kernel/events/core.c, perf_event_read()",
    ),
    Work.SIGNAL: (
        "send the isolated thread no signals; block them there and let another thread take them",
        "signal(7)",
    ),
    Work.WAKEUP: (
        "keep other tasks off the CPU (cpuset partition `isolated`, isolcpus=, affinity) and let nobody wake one there",
        "Documentation/admin-guide/cgroup-v2.rst, cpuset.cpus.partition",
    ),
    Work.POSIX_TIMER: (
        "disarm POSIX timers of the isolated process before the isolated phase, or use none",
        "timer_create(2)",
    ),
    Work.WORKQUEUE: (
        "write a mask without the CPU to /sys/devices/virtual/workqueue/cpumask, and avoid what queues per-CPU work "
        "(its function and sender are named)",
        "Documentation/core-api/workqueue.rst",
    ),
    Work.TICK: (
        "boot with nohz_full= naming the CPU and keep a single runnable task on it",
        "Documentation/timers/no_hz.rst",
    ),
    Work.BLOCK_IO: (
        "do no disk I/O from the CPU; move unmanaged interrupts by /proc/irq/N/smp_affinity, managed ones by "
        "isolcpus=managed_irq",
        _KERNEL_PARAMETERS,
    ),
    Work.NETWORK: (
        "move the device's interrupts and its receive steering (RPS, RFS, XPS) off the CPU",
        "Documentation/networking/scaling.rst",
    ),
    Work.CPU_STOP: (
        "avoid what stops every CPU: CPU hotplug, module unloading, moving running tasks by affinity",
        "kernel/stop_machine.c",
    ),
    Work.WATCHDOG: (
        "write a list without the CPU to /proc/sys/kernel/watchdog_cpumask (nohz_full= does so at boot), or boot with "
        "nowatchdog",
        "Documentation/admin-guide/lockup-watchdogs.rst",
    ),
    Work.DEADLINE: (
        "run no SCHED_DEADLINE task there; of the fair server (since v6.12) write 0 to "
        "/sys/kernel/debug/sched/fair_server/cpuN/runtime",
        "Documentation/scheduler/sched-deadline.rst",
    ),
    Work.PAGE_TABLES: (
        "let nobody on the machine make huge pages meanwhile: write never to "
        "/sys/kernel/mm/transparent_hugepage/enabled, or 0 to khugepaged/defrag there",
        "mm/mmu_gather.c, tlb_remove_table_sync_one()",
    ),
    Work.TRACING: (
        "read trace buffers on a timer instead of waiting on them (buffer_percent)",
        "Documentation/trace/ftrace.rst",
    ),
    Work.SELF: ("", ""),
    Work.HOST: (
        "pin the virtual CPU and its host threads, isolate the host's CPU likewise; of SMIs ask the vendor, "
        "hwlatdetect measures them",
        "Documentation/trace/hwlat_detector.rst",
    ),
    Work.UNKNOWN: ("", ""),
}
_OWN: Final = {
    Kind.SYSCALL: ("the task entered the kernel itself: avoid the call in the isolated phase", "syscalls(2)"),
    Kind.PAGE_FAULT: (
        "the task faulted itself: touch and lock its memory (mlockall) before the isolated phase",
        "mlockall(2)",
    ),
}


def remedy(kind: Kind, work: Work) -> tuple[str, str]:
    """Return what stops it and where that is described; two "" where nothing can be said.

    >>> remedy(Kind.SYSCALL, Work.SELF)
    ('the task entered the kernel itself: avoid the call in the isolated phase', 'syscalls(2)')
    """
    if work is Work.SELF:
        return _OWN.get(kind, ("the task gave up the CPU itself", "sched_yield(2)"))
    return REMEDIES[work]
