"""What more can be told of a cause: what a text patch was for, and why the tick was not stopped."""

from __future__ import annotations

from typing import Final

from nostale.watch.joins import Joins

# What patches text, by the outermost of these functions on the sender's stack; above it stands who asked for it.
_PATCHERS: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (("__static_call_update",), "a static call"),  # kernel/static_call_inline.c
    (("static_key_", "__static_key_", "static_branch_", "jump_label_"), "a static key"),  # kernel/jump_label.c
    (("arm_kprobe", "disarm_kprobe", "__disarm_kprobe", "register_kprobe", "optimize_kprobe", "kprobe_optimizer",
      "do_optimize_kprobes"), "a kprobe"),  # kernel/kprobes.c
    (("bpf_trampoline_", "bpf_arch_text_poke", "bpf_dispatcher_"), "a BPF program"),  # kernel/bpf/trampoline.c
    (("ftrace_run_update_code", "ftrace_modify_all_code", "arch_ftrace_update_code", "ftrace_replace_code",
      "ftrace_startup", "ftrace_shutdown"), "ftrace call sites"),  # kernel/trace/ftrace.c
    (("klp_",), "a live patch"),  # kernel/livepatch/
    (("module_finalize", "load_module"), "a module"),  # kernel/module/main.c
)  # fmt: skip
# Frames between a system call and the kernel's own code say nothing about who asked.
_PLUMBING: Final = (
    "vfs_write", "ksys_write", "do_syscall_64", "entry_", "__x64_sys_", "__se_sys_", "__do_sys_", "x64_sys_call",
    "el0", "invoke_syscall", "do_el0_svc", "kthread", "ret_from_fork", "worker_thread", "process_one_work",
)  # fmt: skip
_OWNERS: Final = 3

# include/trace/events/timer.h, TICK_DEP_MASK_*
_TICK_NEEDS: Final = (
    "a POSIX CPU timer runs (POSIX_TIMER)",
    "a perf event needs it (PERF_EVENTS)",
    "more than one task is runnable (SCHED)",
    "the clock is unstable (CLOCK_UNSTABLE)",
    "RCU waits for this CPU (RCU)",
    "an expedited RCU grace period waits for this CPU (RCU_EXP)",
)


def patched(stack: tuple[str, ...]) -> str:
    """Return what a text patch was for and who asked for it, as far as the sender's stack tells.

    >>> patched(("smp_text_poke_batch_finish", "__static_call_update", "tracepoint_add_func", "do_syscall_64"))
    'a static call, for tracepoint_add_func'
    """
    if not stack:
        return "what was patched is not told: no stack of the sender"
    for names, what in _PATCHERS:
        places = [at for at, frame in enumerate(stack) if frame.startswith(names)]
        if places:
            above = [frame for frame in stack[max(places) + 1 :] if not frame.startswith(_PLUMBING)]
            return what + (f", for {' < '.join(above[:_OWNERS])}" if above else "")
    return "what was patched is not told: the sender's stack has nothing that patches"


def why_ticking(row: int, cpu: int, joins: Joins) -> str:
    """Return why the tick at `row` of `cpu` had not been stopped; "" where no event tells.

    Source:
        kernel/time/tick-sched.c, check_tick_dependency(): a CPU in nohz_full says at each try what the tick is needed
        for, on the way out of the interrupt before. kernel/sched/core.c, hrtick(): no such tick.
    """
    if joins.symbol(row, "hrtimer_expire_entry", "function") == "hrtick":
        return "it was not stopped: hrtick, by which the scheduler ends a task's slice where others wait"
    if not joins.trace.has("tick_stop"):
        return ""
    refused = joins.before(cpu, row, ("tick_stop",))
    tick = joins.before(cpu, row, ("local_timer_entry",))
    previous = joins.before(cpu, tick, ("local_timer_entry",)) if tick is not None else None
    if refused is None or (previous is not None and refused < previous):
        times = joins.trace.ts
        if previous is None or joins.trace.lost_between(cpu, int(times[previous]), int(times[row])):
            return ""  # what was tried is not in the trace
        return (
            "nothing tried to stop it: nohz_full= does not name this CPU, or nothing changed here since the tick before"
        )
    if joins.number(refused, "tick_stop", "success"):
        return ""
    mask = joins.number(refused, "tick_stop", "dependency")
    needs = [text for bit, text in enumerate(_TICK_NEEDS) if mask >> bit & 1]
    return "it was not stopped: " + ("; ".join(needs) or f"dependency {mask:#x}")


def meanwhile(row: int, cpu: int, joins: Joins) -> str:
    """Return who was in a system call on another CPU than `cpu` at `row`, "" where nobody was.

    For what another CPU sent and no event tells who did: it may have been one of these, or somebody in an interrupt.
    """
    calls = []
    for other in joins.trace.cpus:
        last = joins.before(other, row, ("sched_switch", "sys_enter", "sys_exit")) if other != cpu else None
        if last is None:
            continue
        switched = joins.event(last) == "sched_switch"
        pid = joins.number(last, "sched_switch", "next_pid") if switched else int(joins.trace.pid[last])
        call = joins.syscall(pid, row)
        if call is not None:
            calls.append(f"{joins.comm(pid) or '?'}-{pid} was in {call} on CPU {other}")
    return f"meanwhile {', '.join(calls)}" if calls else ""
