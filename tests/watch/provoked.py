"""What a break must say that an operation of provoke.py made, and when it may have struck."""

from nostale.contract import Kind, Work

# Operation to work, functions that ran or stand on the sender's stack, system call.
NAMED = {
    "membarrier": (Work.MEMBARRIER, "ipi_sync_core", "membarrier"),
    "membarrier-private": (Work.MEMBARRIER, "ipi_mb < membarrier_private_expedited", "membarrier"),
    "membarrier-rseq": (Work.MEMBARRIER, "ipi_rseq", "membarrier"),
    "membarrier-global": (Work.MEMBARRIER, "ipi_mb < membarrier_global_expedited", "membarrier"),
    "mprotect": (Work.TLB_FLUSH, "flush_tlb_func", "mprotect"),
    "text": (Work.TEXT_PATCH, "do_sync_core", "write"),
    "signal": (Work.SIGNAL, "kick_process", "tgkill"),
    "timer": (Work.POSIX_TIMER, None, "timer_settime"),
    "wakeup": (Work.WAKEUP, None, "write"),
    "workqueue": (Work.WORKQUEUE, "refresh_vm_stats", "write"),
    "fault": (Work.SELF, None, None),
}


def names(one, name, truth, named=NAMED):
    """Whether a break names the operation `name` as its cause, and who made it."""
    work, what, syscall = named[name]
    had = {each.partition(".")[0] for each in (one.cause.function or "", *one.cause.stack)}
    return (
        one.cause.kind is work
        and (what is None or set(what.split(" < ")) <= had)
        and one.cause.syscall == syscall
        and one.cause.pid == (truth["toucher_tid"] if name == "fault" else truth["actor_tid"])
        and (one.kind is Kind.PAGE_FAULT or name != "fault")
    )


def reached(one, op, name, late_ns=30_000):
    """Whether a break lies in an operation's window; what needs the CPU first may be let on it by the tick only."""
    late_ns = 5_000_000 if name in ("wakeup", "workqueue", "fault") else late_ns
    return op[0] - 30_000 <= one.start_ns <= op[1] + late_ns
