"""What a kernel function that ran on an interrupted CPU is there for: the tables that name the work."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from nostale.contract import Work

# Functions that one CPU asks another to run (smp_call_function and its kin), v6.12 names.
FUNCTIONS: Final[dict[str, Work]] = {
    "do_sync_core": Work.TEXT_PATCH,  # arch/x86/kernel/alternative.c, text_poke_sync()
    "ipi_mb": Work.MEMBARRIER,  # kernel/sched/membarrier.c, and the next three
    "ipi_sync_core": Work.MEMBARRIER,
    "ipi_rseq": Work.MEMBARRIER,
    "ipi_sync_rq_state": Work.MEMBARRIER,
    "flush_tlb_func": Work.TLB_FLUSH,  # arch/x86/mm/tlb.c, and the next two
    "do_flush_tlb_all": Work.TLB_FLUSH,
    "do_kernel_range_flush": Work.TLB_FLUSH,
    "__cpa_flush_tlb": Work.TLB_FLUSH,  # arch/x86/mm/pat/set_memory.c: kernel mappings were changed
    "tlb_remove_table_smp_sync": Work.PAGE_TABLES,  # mm/mmu_gather.c: before page tables are freed
    "__bpf_arch_ibpb": Work.BPF_LOAD,  # arch/x86/net/bpf_jit_comp.c: asked for as a program's memory is allocated
    "remote_function": Work.PERF,  # kernel/events/core.c
    "__perf_event_read": Work.PERF,
    "sched_ttwu_pending": Work.WAKEUP,  # kernel/sched/core.c: wake-ups queued to the CPU
    "nohz_csd_func": Work.TICK,  # kernel/sched/core.c: balancing for CPUs without a tick
    "hrtick": Work.TICK,  # kernel/sched/core.c: ends a task's time slice where the tick would be late
    "nohz_full_kick_func": Work.TICK,  # kernel/time/tick-sched.c: has a CPU look whether it still needs a tick
    "__hrtick_start": Work.TICK,  # kernel/sched/core.c: has another CPU arm it
    "dl_task_timer": Work.DEADLINE,  # kernel/sched/deadline.c: a throttled task or server gets its budget anew
    "watchdog_timer_fn": Work.WATCHDOG,  # kernel/watchdog.c: looks for soft lockups
    "rb_wake_up_waiters": Work.TRACING,  # kernel/trace/ring_buffer.c
    "rps_trigger_softirq": Work.NETWORK,  # net/core/dev.c
    "__blk_mq_complete_request_remote": Work.BLOCK_IO,  # block/blk-mq.c
}
# Of these the sender's stack tells the reason, where it is in a table.
_FOR_MANY: Final = frozenset({"nohz_full_kick_func", "__hrtick_start"})
# Timers that the scheduler arms for a CPU, in whichever task's context it happens to be.
_SCHEDULERS: Final = frozenset({"hrtick", "dl_task_timer"})
_PREFIXES: Final = (
    ("rcu_", Work.RCU),  # rcu_exp_handler, rcu_barrier_handler, rcu_iw_handler
    ("perf_", Work.PERF),
    ("tick_", Work.TICK),  # tick_nohz_handler, tick_sched_timer
    ("posix_timer_fn", Work.POSIX_TIMER),  # kernel/time/posix-timers.c
    ("alarm_handle_timer", Work.POSIX_TIMER),
    ("it_real_fn", Work.POSIX_TIMER),  # kernel/time/itimer.c, setitimer(2)
    ("hrtimer_wakeup", Work.WAKEUP),  # kernel/time/hrtimer.c: a task that slept for a time
    ("timerfd_", Work.WAKEUP),
)

# Bare reschedule IPIs: by the function that sent it (its return address is the event's callsite) or one on its stack.
_SENDERS: Final = (
    (("posixtimer_send_sigqueue", "send_sigqueue"), Work.POSIX_TIMER),  # kernel/signal.c; its callers are POSIX timers
    (("__send_signal_locked", "signal_wake_up_state", "kick_process", "complete_signal"), Work.SIGNAL),
    (("dl_task_timer",), Work.DEADLINE),
    (("rcu_implicit_dynticks_qs", "rcu_watching_snap_recheck", "resched_cpu"), Work.RCU),
    (
        ("try_to_wake_up", "wake_up_new_task", "wakeup_preempt", "check_preempt_curr", "ttwu_queue_wakelist"),
        Work.WAKEUP,
    ),
    (("move_queued_task",), Work.WAKEUP),  # a task brought here by affinity: woken or moved, it is made to run here
    # Another CPU's tick balanced the load. A CPU that falls idle balances too: that is no tick, and no table has it.
    (("sched_balance_domains", "rebalance_domains"), Work.TICK),
)
# Function-call IPIs of kernels that do not say which function ran: by one of the callers on the sender's stack.
_CALLERS: Final = (
    (("membarrier_", "sync_runqueues_membarrier_state", "__do_sys_membarrier"), Work.MEMBARRIER),
    (("text_poke_sync", "text_poke_bp_batch", "text_poke_finish", "smp_text_poke_batch_finish"), Work.TEXT_PATCH),
    (("bpf_prog_pack_alloc",), Work.BPF_LOAD),
    (("native_flush_tlb_multi", "flush_tlb_", "arch_tlbbatch_flush", "on_each_cpu_tlb"), Work.TLB_FLUSH),
    (("rcu_", "sync_rcu_exp_", "synchronize_rcu_expedited"), Work.RCU),
    (("perf_", "event_function_call", "__perf_"), Work.PERF),
    (("ttwu_queue_wakelist", "__ttwu_queue_wakelist", "try_to_wake_up"), Work.WAKEUP),
    (("kick_ilb", "nohz_balancer_kick"), Work.TICK),
)
# include/linux/interrupt.h: HI, TIMER, NET_TX, NET_RX, BLOCK, IRQ_POLL, TASKLET, SCHED, HRTIMER, RCU
_SOFTIRQS: Final = {
    1: Work.TICK,
    2: Work.NETWORK,
    3: Work.NETWORK,
    4: Work.BLOCK_IO,
    7: Work.TICK,
    9: Work.RCU,
}
_NAMES: Final = 1 << 10  # of functions, few of which are asked for again and again
# Softirqs by which a device's interrupt tells what it was for, the first first.
RAISED: Final = (frozenset({4}), frozenset({2, 3}))
SOFTIRQ_NAMES: Final = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU")


def _plain(name: str) -> str:
    """Return a function's name without what the compiler put after it."""
    return name.partition(".")[0]


@lru_cache(_NAMES)
def work_of_function(name: str) -> Work:
    """Return what a function is for, `unknown` where no table has it.

    A compiler's copies (`.isra.0`, `.constprop.0`) are for what the function itself is for.

    >>> work_of_function("do_sync_core.constprop.0").value
    'text-patch'
    >>> work_of_function("ipi_sync_core").value, work_of_function("rcu_exp_handler").value, work_of_function("f").value
    ('membarrier', 'rcu', 'unknown')
    """
    name = _plain(name)
    exact = FUNCTIONS.get(name)
    if exact is not None:
        return exact
    return next((work for prefix, work in _PREFIXES if name.startswith(prefix)), Work.UNKNOWN)


def work_of_call(function: str, stack: tuple[str, ...]) -> Work:
    """Return what a function that another CPU asked for is for, by the sender's stack where it serves many.

    >>> work_of_call("nohz_full_kick_func", ("tick_nohz_dep_set_cpu", "dl_task_timer")).value
    'deadline'
    >>> work_of_call("nohz_full_kick_func", ()).value, work_of_call("ipi_mb", ("dl_task_timer",)).value
    ('tick', 'membarrier')
    """
    told = work_of_sender("", stack) if _plain(function) in _FOR_MANY else Work.UNKNOWN
    return told if told is not Work.UNKNOWN else work_of_function(function)


def is_schedulers(function: str) -> bool:
    """Whether a timer is the scheduler's own, so that who armed it is a bystander."""
    return _plain(function) in _SCHEDULERS


@lru_cache(_NAMES)
def work_of_sender(callsite: str, stack: tuple[str, ...]) -> Work:
    """Return why a reschedule IPI was sent, by its callsite or, where that does not tell, by the sender's stack."""
    for names, work in _SENDERS:
        if _plain(callsite) in names:
            return work
    for names, work in _SENDERS:
        if any(_plain(frame) in names for frame in stack):
            return work
    return Work.UNKNOWN


def work_of_caller(stack: tuple[str, ...]) -> Work:
    """Return what a cross-CPU call was for by the functions that made it, innermost first."""
    return next((work for frame in stack for names, work in _CALLERS if frame.startswith(names)), Work.UNKNOWN)


def work_of_softirq(vector: int) -> Work:
    """Return what a softirq is for."""
    return _SOFTIRQS.get(vector, Work.UNKNOWN)


def work_of_raised(vectors: set[int]) -> Work:
    """Return what a device's interrupt is for, by the softirqs that it raised."""
    return next((_SOFTIRQS[min(those)] for those in RAISED if vectors & those), Work.UNKNOWN)
