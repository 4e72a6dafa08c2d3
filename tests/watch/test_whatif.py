"""What measures would have spared, argued per break; the nearest break that they would not have spared beside it."""

from nostale.contract import Vanishes
from nostale.watch import analyse
from nostale.watch.script import parse

YES, NO, UNKNOWN = Vanishes.YES, Vanishes.NO, Vanishes.UNKNOWN
COMMS = {7: "sender", 8: "victim", 9: "other"}


def told(text, measure, at=-1):
    breaks = [one for one in analyse(parse(text, comms=COMMS), [1], own=False, what_if=True).breaks]
    (one,) = [each for each in breaks[at].what_if if each.measure == measure]
    return one.vanishes, one.why


SWITCHES = """
0 1 7 sys_enter id=1
0 2 7 sys_exit id=1
0 3 7 sched_waking pid=99 target_cpu=0
0 4 7 sched_migrate_task pid=99 dest_cpu=0
1 10 0 sched_switch prev_pid=0 next_pid=8
"""
TICK = (
    SWITCHES
    + """
1 100 8 local_timer_entry
1 101 8 hrtimer_expire_entry hrtimer=1 function=tick_nohz_handler
1 109 8 local_timer_exit
"""
)


def test_a_tick_vanishes_under_nohz_full_where_its_task_is_alone():
    vanishes, why = told(TICK, "nohz_full")
    assert (vanishes, why.split(" (")[0]) == (YES, "no other task was runnable on this CPU")


def test_a_tick_stays_where_another_task_waits():
    waiting = TICK.replace("1 100", "0 50 7 sched_waking pid=9 target_cpu=1\n1 100")
    assert told(waiting, "nohz_full") == (NO, "another task was runnable on this CPU: other-9")
    preempted = SWITCHES.replace("prev_pid=0", "prev_pid=9") + TICK.removeprefix(SWITCHES)
    assert told(preempted, "nohz_full")[0] is NO
    asleep = SWITCHES.replace("prev_pid=0", "prev_pid=9 prev_state=1") + TICK.removeprefix(SWITCHES)
    assert told(asleep, "nohz_full")[0] is YES


def test_a_waiter_that_got_another_cpu_waits_no_more():
    moved = TICK.replace(
        "1 100", "0 50 7 sched_waking pid=9 target_cpu=1\n0 60 7 sched_switch prev_pid=7 next_pid=9\n1 100"
    )
    assert told(moved, "nohz_full")[0] is YES
    woken_elsewhere = TICK.replace(
        "1 100",
        "0 50 7 sched_waking pid=9 target_cpu=1\n0 51 7 sched_migrate_task pid=9 orig_cpu=1 dest_cpu=0\n1 100",
    )
    assert told(woken_elsewhere, "nohz_full")[0] is YES


def test_a_task_that_is_woken_while_it_runs_does_not_wait():
    assert told(TICK.replace("1 100", "0 50 7 sched_waking pid=8 target_cpu=1\n1 100"), "nohz_full")[0] is YES


def test_a_tick_that_is_needed_stays():
    needed = (
        SWITCHES
        + """
1 20 8 local_timer_entry
1 29 8 local_timer_exit
1 30 8 tick_stop success=0 dependency=1
"""
        + TICK.removeprefix(SWITCHES)
    )
    assert told(needed, "nohz_full") == (NO, "it was not stopped: a POSIX CPU timer runs (POSIX_TIMER)")


def test_without_the_schedulers_events_nobody_knows_about_ticks():
    assert told(TICK.removeprefix(SWITCHES), "nohz_full")[0] is UNKNOWN


SOFTIRQ = TICK + "1 112 8 softirq_entry vec=9\n1 140 8 softirq_exit vec=9\n"


def test_rcu_softirqs_vanish_with_the_tick_that_raised_them_and_by_offloading_if_they_ran_callbacks():
    assert told(SOFTIRQ, "nohz_full")[0] is YES
    assert told(SOFTIRQ.replace("1 112", "1 90112").replace("1 140", "1 90140"), "nohz_full")[0] is NO
    assert told(SOFTIRQ, "rcu_nocbs")[0] is UNKNOWN
    ran = SOFTIRQ.replace("1 140", "1 120 8 rcu_batch_start\n1 140")
    assert told(ran, "rcu_nocbs") == (YES, "it ran callbacks")
    elsewhere = SOFTIRQ.replace("1 140", "0 120 7 rcu_batch_start\n1 140")
    assert told(elsewhere, "rcu_nocbs")[0] is NO


DEVICE = """
1 100 8 irq_handler_entry irq=5 name=eth0
1 105 8 softirq_raise vec={vec}
1 110 8 irq_handler_exit
1 112 8 softirq_entry vec={vec}
1 140 8 softirq_exit vec={vec}
"""


def test_device_interrupts_move_by_affinity_but_managed_ones_are_not_known():
    assert told(DEVICE.format(vec=3), "irq-affinity", 0)[0] is YES
    assert told(DEVICE.format(vec=3), "irq-affinity", 1)[0] is YES
    assert told(DEVICE.format(vec=4), "irq-affinity", 0)[0] is UNKNOWN
    assert told(TICK, "irq-affinity")[0] is NO


IPI = (
    SWITCHES
    + """
{before}
0 110 7 csd_queue_cpu cpu=1 func={function} csd=0x10
1 120 8 call_function_single_entry
1 125 8 csd_function_entry func={function} csd=0x10
1 140 8 call_function_single_exit
"""
)


def deferred(function, measure, before=""):
    return told(IPI.format(function=function, before=before), measure)


def test_a_text_patch_can_wait_for_a_task_in_user_mode_and_not_for_one_in_the_kernel():
    vanishes, why = deferred("do_sync_core", "defer-text-patch")
    assert (vanishes, why.split(":")[0]) == (YES, "the task was in user mode")
    assert deferred("do_sync_core", "defer-text-patch", "1 90 8 sys_enter id=39") == (
        NO,
        "the task was in the kernel, in getpid",
    )
    assert deferred("do_sync_core", "defer-text-patch", "1 90 8 softirq_entry vec=1")[0] is NO
    assert deferred("do_sync_core", "defer-text-patch", "1 90 8 page_fault_user")[0] is UNKNOWN
    assert deferred("do_sync_core", "defer-kernel-tlb")[0] is NO


def test_only_kernel_mappings_can_wait():
    assert deferred("do_kernel_range_flush", "defer-kernel-tlb")[0] is YES
    assert deferred("flush_tlb_func", "defer-kernel-tlb") == (
        NO,
        "flush_tlb_func flushes mappings of user memory, which the task uses",
    )


def test_a_nohz_full_cpu_in_user_mode_is_not_asked_by_an_expedited_grace_period():
    assert deferred("rcu_exp_handler", "nohz_full")[0] is YES
    assert deferred("rcu_exp_handler", "nohz_full", "1 90 8 sys_enter id=39")[0] is NO
    assert deferred("rcu_exp_handler", "rcu_nocbs")[0] is NO
