"""Which interruptions are told, how long each took, and what is nobody's."""

import pytest

from nostale.contract import Kind, Vanishes, Work
from nostale.watch import analyse
from nostale.watch.script import parse

COMMS = {7: "sender", 8: "victim", 9: "other", 20: "kworker/1:0", 21: "migration/1"}


def breaks(text, cpu=1, **options):
    return tuple(analyse(parse(text, comms=COMMS), None if cpu is None else [cpu], **options).breaks)


IPI = """
0 100 7 sys_enter id=10
0 110 7 csd_queue_cpu cpu=1 func=flush_tlb_func csd=0x10
0 111 7 kernel_stack trace_event_raw_event_csd_queue_cpu smp_call_function_many_cond do_mprotect_pkey
1 120 8 call_function_single_entry
1 125 8 csd_function_entry func=flush_tlb_func csd=0x10
1 135 8 csd_function_exit func=flush_tlb_func csd=0x10
1 140 8 call_function_single_exit
0 150 7 sys_exit id=10
"""


def test_a_function_call_ipi_is_told_with_sender_syscall_and_stack():
    (one,) = breaks(IPI)
    assert (one.kind, one.start_ns, one.duration_ns, one.task, one.pid) == (Kind.IPI_CALL, 120, 20, "victim", 8)
    assert (one.cause.kind, one.cause.cpu, one.cause.task, one.cause.pid) == (Work.TLB_FLUSH, 0, "sender", 7)
    assert (one.cause.function, one.cause.syscall) == ("flush_tlb_func", "mprotect")
    assert one.cause.stack == ("smp_call_function_many_cond", "do_mprotect_pkey")
    assert "mlockall" in one.remedy


def test_two_functions_under_one_ipi_are_told_apart_and_share_its_time():
    second = "0 112 7 csd_queue_cpu cpu=1 func=ipi_mb csd=0x20\n1 130 8 csd_function_entry func=ipi_mb csd=0x20\n"
    text = IPI.replace("1 135", second + "1 135")
    assert [(one.cause.kind, one.start_ns, one.duration_ns) for one in breaks(text)] == [
        (Work.TLB_FLUSH, 120, 10),
        (Work.MEMBARRIER, 130, 10),
    ]


def test_one_csd_queued_twice_before_it_runs_is_joined_first_in_first_out():
    one, two = breaks("""
        0 100 7 csd_queue_cpu cpu=1 func=f csd=0x10
        0 105 9 csd_queue_cpu cpu=1 func=f csd=0x10
        1 120 8 call_function_single_entry
        1 121 8 csd_function_entry func=f csd=0x10
        1 122 8 csd_function_entry func=f csd=0x10
        1 130 8 call_function_single_exit
    """)
    assert [one.cause.pid, two.cause.pid] == [7, 9]


def test_a_csd_without_its_own_entry_does_not_shift_the_next_join():
    (one,) = breaks("""
        0 100 9 csd_queue_cpu cpu=1 func=g csd=0x10
        0 105 7 csd_queue_cpu cpu=1 func=f csd=0x10
        1 120 8 call_function_single_entry
        1 121 8 csd_function_entry func=f csd=0x10
        1 130 8 call_function_single_exit
    """)
    assert one.cause.pid == 7


def test_a_function_without_a_queue_event_has_no_sender():
    (one,) = breaks(
        """
        1 120 8 call_function_single_entry
        1 121 8 csd_function_entry func=flush_tlb_func csd=1
        1 130 8 call_function_single_exit
    """
    )
    assert (one.cause.kind, one.cause.pid) == (Work.TLB_FLUSH, None)
    assert one.cause.looked_at == "no csd_queue_cpu of this csd and CPU: the sender is not known"


def test_an_ipi_that_shows_no_function_is_unknown_with_what_was_looked_at():
    of_others = "0 90 7 csd_queue_cpu cpu=2 func=ipi_mb csd=1\n2 95 9 csd_function_entry func=ipi_mb csd=1\n"
    (one,) = breaks(of_others + "1 120 8 call_function_single_entry\n1 130 8 call_function_single_exit")
    assert one.cause.kind is Work.UNKNOWN
    assert one.cause.looked_at.startswith("no csd_function_entry within it")


@pytest.mark.parametrize(
    ("entry", "would_tell"),
    [
        ("call_function_single", "the trace has no csd_function_entry and no csd_queue_cpu events, which would tell"),
        ("reschedule", "the trace has no ipi_send_cpu events, which would tell"),
        ("irq_work", "the trace has no ipi_send_cpu events, which would tell"),
    ],
)
def test_where_the_kernel_lacks_the_event_that_would_tell_the_break_says_which(entry, would_tell):
    (one,) = breaks(f"1 120 8 {entry}_entry\n1 130 8 {entry}_exit")
    assert (one.cause.kind, one.cause.looked_at) == (Work.UNKNOWN, would_tell)


def test_an_irq_work_sent_as_a_csd_is_told_although_it_has_no_entry():
    (one,) = breaks(
        """
        0 100 7 csd_queue_cpu cpu=1 func=rb_wake_up_waiters csd=1
        1 120 8 call_function_single_entry
        1 130 8 call_function_single_exit
    """
    )
    assert (one.cause.kind, one.cause.pid) == (Work.TRACING, 7)


def test_a_function_of_no_table_is_unknown_but_named():
    (one,) = breaks(IPI.replace("flush_tlb_func", "do_odd_thing"))
    assert (one.cause.kind, one.cause.function, one.cause.pid) == (Work.UNKNOWN, "do_odd_thing", 7)


def test_what_interrupts_an_interrupt_is_counted_in_the_inner_one_only():
    text = """
        1 100 8 softirq_entry vec=9
        1 110 8 local_timer_entry
        1 111 8 hrtimer_expire_entry hrtimer=1 function=tick_nohz_handler
        1 118 8 hrtimer_expire_exit hrtimer=1
        1 120 8 local_timer_exit
        1 150 8 softirq_exit vec=9
    """
    told = [(one.kind, one.cause.kind, one.duration_ns) for one in breaks(text)]
    assert told == [(Kind.SOFTIRQ, Work.RCU, 40), (Kind.TIMER_TICK, Work.TICK, 10)]


def test_an_interrupt_in_a_system_call_is_told_and_not_doubled():
    own, irq = breaks(
        """
        1 100 8 sys_enter id=39
        1 110 8 reschedule_entry
        1 130 8 reschedule_exit
        1 150 8 sys_exit id=39
    """
    )
    assert (own.cause.kind, own.cause.syscall, own.duration_ns) == (Work.SELF, "getpid", 30)
    assert (irq.kind, irq.duration_ns) == (Kind.IPI_RESCHEDULE, 20)


def test_the_idle_task_and_kernel_threads_are_nobodys():
    idle = IPI.replace(" 8 ", " 0 ")
    assert breaks(idle) == ()
    assert breaks(IPI.replace(" 8 ", " 20 ")) == ()


def test_a_signal_is_told_by_the_callsite_of_its_ipi():
    (one,) = breaks("""
        0 100 7 sys_enter id=234
        0 110 7 ipi_send_cpu cpu=1 callsite=__send_signal_locked callback=0
        1 120 8 reschedule_entry
        1 125 8 reschedule_exit
    """)
    assert (one.cause.kind, one.cause.syscall, one.cause.pid) == (Work.SIGNAL, "tgkill", 7)


def test_one_reschedule_ipi_answers_all_that_were_sent():
    told = breaks("""
        0 100 7 ipi_send_cpu cpu=1 callsite=__send_signal_locked callback=0
        0 101 7 ipi_send_cpu cpu=1 callsite=wakeup_preempt callback=0
        1 120 8 reschedule_entry
        1 125 8 reschedule_exit
    """)
    assert [(one.cause.kind, one.duration_ns) for one in told] == [(Work.SIGNAL, 0), (Work.WAKEUP, 5)]


def test_a_posix_timer_that_fires_elsewhere_names_who_armed_it():
    (one,) = breaks("""
        0 100 7 sys_enter id=223
        0 101 7 hrtimer_start hrtimer=5 function=posix_timer_fn
        0 102 7 sys_exit id=223
        0 200 9 local_timer_entry
        0 201 9 hrtimer_expire_entry hrtimer=5 function=posix_timer_fn
        0 205 9 ipi_send_cpu cpu=1 callsite=posixtimer_send_sigqueue callback=0
        0 206 9 hrtimer_expire_exit hrtimer=5
        1 210 8 reschedule_entry
        1 215 8 reschedule_exit
    """)
    assert (one.cause.kind, one.cause.cpu, one.cause.pid, one.cause.syscall) == (
        Work.POSIX_TIMER,
        0,
        7,
        "timer_settime",
    )


def test_a_bystander_of_an_interrupt_is_not_blamed():
    (one,) = breaks("""
        0 90 9 sys_enter id=0
        0 100 9 local_timer_entry
        0 105 9 ipi_send_cpu cpu=1 callsite=wakeup_preempt callback=0
        0 110 9 local_timer_exit
        1 120 8 reschedule_entry
        1 125 8 reschedule_exit
    """)
    assert (one.cause.kind, one.cause.cpu, one.cause.pid, one.cause.syscall) == (Work.WAKEUP, 0, None, None)


WORK = """
0 100 7 sys_enter id=1
0 105 7 workqueue_queue_work work=3 function=refresh_vm_stats
0 106 7 sched_waking pid=20
1 120 8 sched_switch prev_pid=8 prev_state=0 next_pid=20
1 125 20 workqueue_execute_start work=3 function=refresh_vm_stats
1 160 20 sched_switch prev_pid=20 prev_state=128 next_pid=8
"""


def test_a_kworker_that_takes_the_cpu_is_told_by_its_work_and_who_queued_it():
    (one,) = breaks(WORK)
    assert (one.kind, one.duration_ns, one.pid) == (Kind.CONTEXT_SWITCH, 40, 8)
    assert (one.cause.kind, one.cause.function, one.cause.pid, one.cause.syscall) == (
        Work.WORKQUEUE,
        "refresh_vm_stats",
        7,
        "write",
    )


def test_a_task_that_was_woken_and_took_the_cpu_is_told_by_its_waker():
    (one,) = breaks(
        """
        0 100 7 sched_waking pid=9
        1 120 8 sched_switch prev_pid=8 next_pid=9
        1 150 9 sched_switch prev_pid=9 prev_state=1 next_pid=8
    """
    )
    assert (one.cause.kind, one.cause.pid, one.cause.function) == (Work.WAKEUP, 7, "other")


WAKEUP = """
    1 100 8 sched_wakeup pid=9
    1 110 8 sched_switch prev_pid=8 next_pid=9
    1 150 9 sched_switch prev_pid=9 prev_state=1 next_pid=8
"""


def test_where_wakeups_alone_are_recorded_a_wakeup_is_told_of_which_the_waker_is_not_known():
    """Since v4.3 a sched_wakeup is emitted where the task wakes, not by its waker; most recordings have no other."""
    (one,) = breaks(WAKEUP)
    assert (one.cause.kind, one.cause.cpu, one.cause.pid, one.cause.function) == (Work.WAKEUP, None, None, "other")
    assert one.cause.looked_at == "the trace has no sched_waking events, which would tell"
    (one,) = breaks(WAKEUP.replace("wakeup pid=9", "wakeup pid=7"))
    assert (one.cause.kind, one.cause.looked_at) == (
        Work.UNKNOWN,
        "no sched_wakeup of other, and no kernel entry just before",
    )


def test_where_the_trace_has_sched_waking_a_sched_wakeup_tells_nothing():
    (one,) = breaks(WAKEUP + "0 200 7 sched_waking pid=30")
    assert (one.cause.kind, one.cause.looked_at[:24]) == (Work.UNKNOWN, "no sched_waking of other")


def test_the_stopper_is_told_by_its_name_where_its_waker_is_not_known():
    (one,) = breaks(WAKEUP.replace("=9", "=21").replace("150 9", "150 21"))
    assert (one.cause.kind, one.cause.pid) == (Work.CPU_STOP, None)
    assert one.cause.looked_at == "the trace has no sched_waking events, which would tell"


def test_a_kernel_thread_is_not_said_to_have_acted_for_who_it_woke_beside():
    """The emitter of a sched_wakeup is no link of a chain."""
    (one,) = breaks(
        """
        0 90 7 sched_wakeup pid=21
        0 95 7 sched_switch prev_pid=7 prev_state=1 next_pid=21
        0 100 21 csd_queue_cpu cpu=1 func=do_sync_core csd=0x10
        1 120 8 call_function_single_entry
        1 125 8 csd_function_entry func=do_sync_core csd=0x10
        1 140 8 call_function_single_exit
    """
    )
    assert (one.cause.kind, one.cause.pid, one.cause.chain) == (Work.TEXT_PATCH, 21, ())


def test_a_waker_from_before_the_taker_last_ran_is_not_blamed():
    (one,) = breaks("""
        0 10 7 sched_waking pid=9
        1 50 0 sched_switch prev_pid=0 next_pid=9
        1 110 9 sched_switch prev_pid=9 prev_state=1 next_pid=8
        1 120 8 sched_switch prev_pid=8 next_pid=9
        1 150 9 sched_switch prev_pid=9 prev_state=1 next_pid=8
    """)
    assert (one.cause.kind, one.cause.pid) == (Work.UNKNOWN, None)
    assert one.cause.looked_at.startswith("no sched_waking of other")


def test_a_task_woken_while_it_goes_to_sleep_was_woken_all_the_same():
    (one,) = breaks("""
        1 50 0 sched_switch prev_pid=0 next_pid=9
        0 100 7 sched_waking pid=9
        1 110 9 sched_switch prev_pid=9 prev_state=1 next_pid=8
        1 120 8 sched_switch prev_pid=8 next_pid=9
        1 150 9 sched_switch prev_pid=9 prev_state=1 next_pid=8
    """)
    assert (one.cause.kind, one.cause.pid) == (Work.WAKEUP, 7)


def test_a_taker_that_waited_its_turn_is_told_by_the_tick_that_gave_it():
    told = breaks("""
        0 10 7 sched_waking pid=1
        1 50 9 sched_switch prev_pid=9 prev_state=0 next_pid=8
        1 100 8 local_timer_entry
        1 101 8 hrtimer_expire_entry hrtimer=1 function=tick_nohz_handler
        1 109 8 local_timer_exit
        1 110 8 sched_switch prev_pid=8 prev_state=0 next_pid=9
        1 150 9 sched_switch prev_pid=9 prev_state=1 next_pid=8
    """)
    assert [(one.kind, one.cause.kind, one.cause.function) for one in told if one.pid == 8] == [
        (Kind.TIMER_TICK, Work.TICK, "tick_nohz_handler"),
        (Kind.CONTEXT_SWITCH, Work.TICK, "other"),
    ]


def test_a_task_that_goes_to_sleep_is_not_interrupted():
    assert (
        breaks(
            """
        1 120 8 sched_switch prev_pid=8 prev_state=1 next_pid=9
        1 150 9 sched_switch prev_pid=9 prev_state=1 next_pid=8
    """
        )
        == ()
    )


MOVED = """
1 10 8 local_timer_entry
1 11 8 hrtimer_expire_entry hrtimer=1 function=tick_nohz_handler
1 12 8 hrtimer_expire_exit hrtimer=1
1 13 8 local_timer_exit
1 20 9 hrtimer_start hrtimer=5 function=hrtick expires=100
1 90 8 hrtimer_start hrtimer=5 function=hrtick expires=400
1 101 8 local_timer_entry
1 103 8 local_timer_exit
"""


def test_a_timer_interrupt_in_which_nothing_expires_is_told_by_the_timer_that_was_due_and_was_moved():
    _, one = breaks(MOVED)
    assert (one.kind, one.cause.kind, one.cause.function) == (Kind.TIMER, Work.TICK, "hrtick")
    assert one.cause.detail.startswith("nothing expired: the timer it was set for had been set anew or cancelled")


@pytest.mark.parametrize(
    "other",
    [
        MOVED.replace("expires=100", "expires=102"),  # not due yet
        MOVED.replace("expires=100", "expires=9"),  # due at the interrupt before
        MOVED.replace("1 90", "1 89 8 hrtimer_start hrtimer=6 function=hrtimer_wakeup expires=99\n1 90"),  # which one?
        MOVED.replace("1 90", "1 30 8 hrtimer_expire_entry hrtimer=5 function=hrtick\n1 90"),  # it had its turn
        MOVED.replace("1 20", "0 20"),  # set on another CPU
    ],
)
def test_a_timer_interrupt_that_no_timer_accounts_for_stays_unknown(other):
    one = breaks(other)[-1]
    assert (one.start_ns, one.cause.kind, one.cause.looked_at) == (
        101,
        Work.UNKNOWN,
        "no hrtimer_expire_entry within it",
    )


def test_the_end_of_a_time_slice_is_a_tick_that_nohz_full_does_not_spare():
    (one,) = breaks(
        """
        1 20 9 hrtimer_start hrtimer=5 function=hrtick expires=100
        1 101 8 local_timer_entry
        1 102 8 hrtimer_expire_entry hrtimer=5 function=hrtick
        1 103 8 hrtimer_expire_exit hrtimer=5
        1 104 8 local_timer_exit
    """,
        what_if=True,
    )
    assert (one.kind, one.cause.kind, one.cause.function) == (Kind.TIMER_TICK, Work.TICK, "hrtick")
    (spared,) = [told for told in one.what_if if told.measure == "nohz_full"]
    assert (spared.vanishes, spared.why) == (Vanishes.NO, one.cause.detail)


def test_the_watchdog_of_soft_lockups_is_told():
    (one,) = breaks(
        """
        1 101 8 local_timer_entry
        1 102 8 hrtimer_expire_entry hrtimer=5 function=watchdog_timer_fn
        1 103 8 hrtimer_expire_exit hrtimer=5
        1 104 8 local_timer_exit
    """
    )
    assert (one.kind, one.cause.kind) == (Kind.TIMER, Work.WATCHDOG)
    assert "watchdog_cpumask" in one.remedy


def test_the_stopper_is_told_as_cpu_stop():
    (one,) = breaks(
        """
        0 100 7 sched_waking pid=21
        1 120 8 sched_switch prev_pid=8 next_pid=21
        1 150 21 sched_switch prev_pid=21 prev_state=1 next_pid=8
    """
    )
    assert (one.cause.kind, one.cause.pid) == (Work.CPU_STOP, 7)


def test_a_device_interrupt_is_told_by_the_softirq_that_it_raised():
    (one,) = breaks(
        """
        1 100 8 irq_handler_entry irq=36 name=virtio1
        1 105 8 softirq_raise vec=4
        1 110 8 irq_handler_exit
    """
    )
    assert (one.kind, one.cause.kind, one.cause.function) == (Kind.DEVICE_IRQ, Work.BLOCK_IO, "virtio1")
    (one,) = breaks("1 100 8 irq_handler_entry irq=36 name=virtio1\n1 110 8 irq_handler_exit")
    assert one.cause.kind is Work.UNKNOWN


def test_a_page_fault_is_the_tasks_own_and_has_no_known_end():
    (one,) = breaks("1 100 8 page_fault_user address=1")
    assert (one.kind, one.cause.kind, one.duration_ns) == (Kind.PAGE_FAULT, Work.SELF, None)


def test_own_entries_can_be_left_out_and_are_counted_all_the_same():
    answer = analyse(parse("1 100 8 page_fault_user address=1"), [1], own=False)
    assert (len(answer.breaks), answer.coverage["breaks_own"]) == (0, 1)


def test_a_break_whose_exit_was_lost_has_no_known_end():
    (one,) = breaks("1 100 8 reschedule_entry\n1 200 lost 3\n1 210 8 page_fault_user address=1", own=False)
    assert (one.kind, one.duration_ns) == (Kind.IPI_RESCHEDULE, None)


def test_a_join_across_lost_events_is_not_made():
    lost = IPI.replace("1 120", "1 119 lost 2\n1 120")
    lost = "1 90 8 page_fault_user address=1\n" + lost
    (one,) = breaks(lost, own=False)
    assert (one.cause.kind, one.cause.pid) == (Work.TLB_FLUSH, None)


def test_a_reschedule_ipi_whose_sender_was_lost_is_unknown_and_says_so():
    (one,) = breaks(
        """
        0 90 7 sys_enter id=1
        0 118 lost 5
        1 120 8 reschedule_entry
        1 125 8 reschedule_exit
        0 130 7 sys_exit id=1
    """
    )
    assert one.cause.kind is Work.UNKNOWN
    assert one.cause.looked_at.startswith("events were lost here")


def test_coverage_and_notes_say_what_was_looked_at():
    answer = analyse(parse(IPI + "1 160 lost 3\n1 170 8 page_fault_user address=1"), None)
    assert (answer.coverage["events"], answer.coverage["events_lost"], answer.coverage["span_ns"]) == (9, 3, 70)
    assert answer.coverage["cpus_watched"] == ["0", "1"]
    assert "no CPU was named: tasks on every recorded CPU are watched" in answer.notes
    assert "no sched_switch events: who ran is not known" in answer.notes


def test_a_trace_without_ipi_events_still_tells_the_functions_they_ran():
    bare = "\n".join(line for line in IPI.splitlines() if "call_function_single" not in line)
    (one,) = breaks(bare)
    assert (one.cause.kind, one.cause.pid, one.start_ns, one.duration_ns) == (Work.TLB_FLUSH, 7, 125, 10)


def test_a_send_that_came_too_late_for_one_entry_is_answered_by_the_next():
    told = breaks("""
        0 100 7 ipi_send_cpu cpu=1 callsite=__send_signal_locked callback=0
        0 119 9 ipi_send_cpu cpu=1 callsite=wakeup_preempt callback=0
        1 120 8 reschedule_entry
        1 125 8 reschedule_exit
        1 126 8 reschedule_entry
        1 130 8 reschedule_exit
    """)
    assert [(one.start_ns, one.cause.kind, one.duration_ns) for one in told] == [
        (120, Work.SIGNAL, 5),
        (126, Work.WAKEUP, 4),
    ]


def test_hidden_kernel_symbols_are_noted():
    trace = parse("1 120 8 page_fault_user address=1")
    assert any("kernel symbols are hidden" in note for note in analyse(trace, [1]).notes)


def test_without_system_call_events_the_senders_stack_names_its_call():
    text = "\n".join(line for line in IPI.splitlines() if "sys_e" not in line)
    (one,) = breaks(text.replace("do_mprotect_pkey", "do_mprotect_pkey __x64_sys_mprotect"))
    assert one.cause.syscall == "mprotect"


def balanced(frame):
    (one,) = breaks(f"""
        0 100 7 ipi_send_cpu cpu=1 callsite=update_curr callback=0
        0 101 7 kernel_stack __resched_curr update_curr detach_task sched_balance_rq {frame}
        1 120 8 reschedule_entry
        1 125 8 reschedule_exit
    """)
    return one.cause


def test_balancing_is_the_ticks_only_where_the_tick_does_it():
    assert balanced("sched_balance_domains").kind is Work.TICK
    idle = balanced("sched_balance_newidle")
    assert idle.kind is Work.UNKNOWN
    assert idle.looked_at == "ipi_send_cpu from update_curr: neither it nor its stack is in a table"


def test_a_task_is_followed_over_the_cpus_it_runs_on():
    told = breaks(
        """
        0 100 8 local_timer_entry
        0 110 8 local_timer_exit
        0 120 9 sched_waking pid=9
        0 130 8 sched_switch prev_pid=8 prev_state=0 next_pid=9
        1 150 0 sched_switch prev_pid=0 next_pid=8
        1 160 8 local_timer_entry
        1 175 8 local_timer_exit
        1 180 9 local_timer_entry
    """,
        cpu=None,
        pid=8,
    )
    assert [(one.cpu, one.kind, one.duration_ns) for one in told] == [
        (0, Kind.TIMER, 10),
        (0, Kind.CONTEXT_SWITCH, 20),
        (1, Kind.TIMER, 15),
    ]


MIGRATED = """
0 100 8 sys_enter id=39
0 110 8 sched_switch prev_pid=8 prev_state=1 next_pid=0
1 150 0 sched_switch prev_pid=0 next_pid=8
1 160 8 reschedule_entry
1 165 8 reschedule_exit
1 180 8 sys_exit id=39
1 200 8 sys_enter id=110
1 210 8 sched_switch prev_pid=8 prev_state=1 next_pid=0
0 220 0 sched_switch prev_pid=0 next_pid=8
0 230 8 sys_exit id=110
"""


def test_a_system_call_that_ends_on_another_cpu_has_its_own_end():
    told = analyse(parse(MIGRATED, comms=COMMS), pid=8).breaks
    assert [(one.cause.syscall, one.duration_ns) for one in told if one.kind is Kind.SYSCALL] == [
        ("getpid", 80 - 40 - 5),
        ("getppid", 30 - 10),
    ]


def test_a_system_call_that_ends_on_a_cpu_nobody_watches_has_no_end():
    (one, *_) = breaks(MIGRATED, cpu=0)
    assert (one.cause.syscall, one.duration_ns) == ("getpid", None)


def test_a_system_call_that_ends_outside_of_the_watched_cpus_has_no_end():
    told = analyse(parse(MIGRATED.replace("1 1", "2 1") + "1 240 9 sys_enter id=39", comms=COMMS), [0, 1], pid=8).breaks
    assert [one.duration_ns for one in told if one.cause.syscall == "getpid"] == [None]


def test_a_page_fault_is_bounded_by_what_only_user_mode_does():
    told = breaks("""
        1 100 8 page_fault_user address=1
        1 105 8 local_timer_entry
        1 106 8 local_timer_exit
        1 130 8 page_fault_user address=2
        1 150 8 sys_enter id=39
        1 151 8 sys_exit id=39
    """)
    assert [(one.kind, one.duration_ns, one.at_most_ns) for one in told] == [
        (Kind.PAGE_FAULT, None, 30),
        (Kind.TIMER, 1, None),
        (Kind.PAGE_FAULT, None, 20),
        (Kind.SYSCALL, 1, None),
    ]


def test_a_page_fault_ends_where_the_kernel_says_that_user_mode_is_entered():
    fault, irq = breaks(
        """
        1 100 8 page_fault_user address=1
        1 105 8 local_timer_entry
        1 107 8 local_timer_exit
        1 120 8 user_enter
        1 150 8 sys_enter id=39
    """
    )[:2]
    assert (fault.duration_ns, fault.at_most_ns, irq.duration_ns) == (18, None, 2)


def without_csd(text):
    return "\n".join(line for line in text.splitlines() if " csd_" not in line)


def test_without_csd_events_an_ipi_to_several_cpus_is_told_by_its_mask_and_stack():
    text = without_csd(IPI).replace(
        "0 111", "0 110 7 ipi_send_cpumask cpumask=0x6 callback=generic_smp_call_function_single_interrupt\n0 111"
    )
    text = text.replace("do_mprotect_pkey", "native_flush_tlb_multi do_mprotect_pkey").replace("_single_e", "_e")
    (one,) = breaks(text)
    assert (one.cause.kind, one.cause.pid, one.cause.syscall, one.cause.function) == (
        Work.TLB_FLUSH,
        7,
        "mprotect",
        None,
    )
    (one,) = breaks(text.replace("cpumask=0x6", "cpumask=0x4"))
    assert one.cause.kind is Work.UNKNOWN


def test_without_csd_events_an_ipi_whose_callback_is_the_function_is_told_by_it():
    (one,) = breaks(without_csd(IPI).replace("0 111", "0 110 7 ipi_send_cpu cpu=1 callback=ipi_mb\n0 111"))
    assert (one.cause.kind, one.cause.function, one.cause.pid) == (Work.MEMBARRIER, "ipi_mb", 7)


CHAIN = """
0 90 7 sys_enter id=324
0 100 7 sched_waking pid=22
0 110 7 sched_switch prev_pid=7 prev_state=1 next_pid=22
0 120 22 csd_queue_cpu cpu=1 func=rcu_exp_handler csd=1
1 130 8 call_function_single_entry
1 131 8 csd_function_entry func=rcu_exp_handler csd=1
1 140 8 call_function_single_exit
"""


def test_a_kernel_thread_that_sends_names_the_task_that_it_sends_for():
    (one,) = analyse(parse(CHAIN, comms={**COMMS, 22: "rcu_exp_par_gp_"}), [1]).breaks
    assert (one.cause.kind, one.cause.pid) == (Work.RCU, 22)
    assert (one.cause.behalf.pid, one.cause.behalf.syscall) == (7, "membarrier")
    assert one.cause.behalf.how == "woke rcu_exp_par_gp_"
    (one,) = analyse(parse(CHAIN, comms={**COMMS, 22: "a_user_task"}), [1]).breaks
    assert one.cause.chain == ()


def test_a_chain_goes_through_work_items_and_wakeups_to_a_task():
    (one,) = breaks("""
        0 80 7 sys_enter id=1
        0 90 7 workqueue_queue_work work=3 function=wait_rcu_exp_gp
        0 95 7 sched_waking pid=20
        0 96 7 sched_switch prev_pid=7 prev_state=1 next_pid=20
        0 97 20 workqueue_execute_start work=3 function=wait_rcu_exp_gp
        0 98 20 sched_waking pid=21
        0 99 20 sched_switch prev_pid=20 prev_state=1 next_pid=21
        0 120 21 csd_queue_cpu cpu=1 func=rcu_exp_handler csd=1
        1 130 8 call_function_single_entry
        1 131 8 csd_function_entry func=rcu_exp_handler csd=1
        1 140 8 call_function_single_exit
    """)
    assert [(link.how, link.pid) for link in one.cause.chain] == [
        ("woke migration/1", 20),
        ("queued wait_rcu_exp_gp", 7),
    ]


def test_a_thread_that_waited_for_a_work_item_does_not_act_for_the_kworker_that_did_it():
    """As khugepaged does: it had asked for the item itself."""
    text = """
        0 97 20 workqueue_execute_start work=3 function=ITEM
        0 98 20 sched_waking pid=21
        0 99 20 sched_switch prev_pid=20 prev_state=1 next_pid=21
        0 120 21 csd_queue_cpu cpu=1 func=tlb_remove_table_smp_sync csd=1
        1 130 8 call_function_single_entry
        1 131 8 csd_function_entry func=tlb_remove_table_smp_sync csd=1
        1 140 8 call_function_single_exit
    """
    (one,) = breaks(text.replace("ITEM", "wq_barrier_func"))
    assert (one.cause.kind, one.cause.pid, one.cause.chain) == (Work.PAGE_TABLES, 21, ())
    (one,) = breaks(text.replace("ITEM", "another"))
    assert [link.pid for link in one.cause.chain] == [20]


SERVER = """
0 90 7 hrtimer_start hrtimer=5 function=dl_task_timer expires=100
0 100 9 local_timer_entry
0 101 9 hrtimer_expire_entry hrtimer=5 function=dl_task_timer
0 102 9 csd_queue_cpu cpu=1 func=nohz_full_kick_func csd=1
0 103 9 kernel_stack irq_work_queue_on tick_nohz_dep_set_cpu enqueue_dl_entity dl_task_timer sysvec_apic_timer_interrupt
0 104 9 ipi_send_cpu cpu=1 callsite=resched_curr
0 105 9 kernel_stack resched_curr dl_task_timer sysvec_apic_timer_interrupt
1 120 8 call_function_single_entry
1 121 8 csd_function_entry func=nohz_full_kick_func csd=1
1 130 8 call_function_single_exit
1 140 8 reschedule_entry
1 150 8 reschedule_exit
"""


def test_the_fair_server_of_an_isolated_cpu_is_told_and_not_laid_to_who_ran_when_its_timer_was_set():
    told = breaks(SERVER)
    assert [(one.kind, one.cause.kind, one.cause.cpu, one.cause.pid) for one in told] == [
        (Kind.IPI_CALL, Work.DEADLINE, 0, None),
        (Kind.IPI_RESCHEDULE, Work.DEADLINE, 0, None),
    ]
    assert "fair_server" in told[0].remedy


def test_a_kick_whose_reason_no_stack_tells_is_the_ticks():
    told = breaks("\n".join(line for line in SERVER.splitlines() if "kernel_stack" not in line))
    assert (told[0].cause.kind, told[0].cause.function) == (Work.TICK, "nohz_full_kick_func")


OLDER = """
0 80 7 sys_enter id=324
2 85 9 sys_enter id=1
2 86 9 sys_exit id=1
1 120 8 call_function_single_entry
1 130 8 call_function_single_exit
0 150 7 sys_exit id=324
1 220 8 call_function_single_entry
1 230 8 call_function_single_exit
"""


def test_where_no_event_tells_the_sender_it_is_said_who_was_in_a_system_call_elsewhere():
    first, second = breaks(OLDER)
    assert (first.cause.kind, first.cause.pid) == (Work.UNKNOWN, None)
    assert first.cause.detail == "meanwhile sender-7 was in membarrier on CPU 0"
    assert second.cause.detail == ""


def test_one_who_left_his_cpu_within_his_call_is_not_said_to_have_been_there():
    left = "0 90 7 sched_switch prev_pid=7 prev_state=1 next_pid=0\n"
    first, _ = breaks(OLDER.replace("1 120", left + "1 120"))
    assert first.cause.detail == ""
    back = left + "0 95 0 sched_switch prev_pid=0 next_pid=7\n"
    first, _ = breaks(OLDER.replace("1 120", back + "1 120"))
    assert first.cause.detail == "meanwhile sender-7 was in membarrier on CPU 0"


def test_a_kworker_past_the_end_of_its_item_acts_for_nobody():
    (one,) = breaks("""
        0 90 7 workqueue_queue_work work=3 function=f
        0 97 20 workqueue_execute_start work=3 function=f
        0 98 20 workqueue_execute_end work=3 function=f
        0 120 20 csd_queue_cpu cpu=1 func=rcu_exp_handler csd=1
        1 130 8 call_function_single_entry
        1 131 8 csd_function_entry func=rcu_exp_handler csd=1
        1 140 8 call_function_single_exit
    """)
    assert one.cause.chain == ()


def patch(stack):
    text = IPI.replace("flush_tlb_func", "do_sync_core").replace("do_mprotect_pkey", stack)
    return breaks(text)[0].cause.detail


def test_a_text_patch_says_what_was_patched_and_for_whom():
    assert (
        patch("smp_text_poke_batch_finish __static_call_update tracepoint_add_func")
        == "a static call, for tracepoint_add_func"
    )
    assert (
        patch("smp_text_poke_batch_finish static_key_enable_cpuslocked static_key_enable nf_register_net_hook")
        == "a static key, for nf_register_net_hook"
    )
    assert patch("text_poke_bp_batch arm_kprobe enable_kprobe") == "a kprobe, for enable_kprobe"
    assert patch("text_poke_bp_batch bpf_arch_text_poke bpf_trampoline_update") == "a BPF program"
    assert (
        patch("text_poke_bp_batch odd") == "what was patched is not told: the sender's stack has nothing that patches"
    )


TICKS = """
1 100 8 local_timer_entry
1 101 8 hrtimer_expire_entry hrtimer=1 function=tick_nohz_handler
1 109 8 local_timer_exit
1 110 8 tick_stop success=0 dependency={mask}
1 200 8 local_timer_entry
1 201 8 hrtimer_expire_entry hrtimer=1 function=tick_nohz_handler
1 209 8 local_timer_exit
"""


def test_a_tick_that_stayed_says_what_it_is_needed_for():
    first, second = breaks(TICKS.format(mask=5))
    assert first.cause.detail == ""  # what was tried before is not in the trace
    assert second.cause.detail == (
        "it was not stopped: a POSIX CPU timer runs (POSIX_TIMER); more than one task is runnable (SCHED)"
    )
    assert breaks(TICKS.replace("tick_stop success=0 dependency={mask}", "user_enter"))[1].cause.detail == ""


def test_a_tick_that_nothing_tried_to_stop_says_so_unless_the_try_may_have_been_lost():
    third = TICKS.format(mask=5)
    third += "1 300 8 local_timer_entry\n1 301 8 hrtimer_expire_entry function=tick_nohz_handler\n"
    assert breaks(third)[2].cause.detail.startswith("nothing tried to stop it")
    assert breaks(third.replace("1 300", "1 250 lost 3\n1 300"))[2].cause.detail == ""


def test_a_remedy_says_where_it_is_described():
    (one,) = breaks(IPI)
    assert one.source == "arch/x86/mm/tlb.c, flush_tlb_mm_range()"


def test_a_task_that_left_a_cpu_again_before_it_is_seen_to_get_one_has_no_known_end():
    one, two = breaks(
        """
        1 100 8 sched_switch prev_pid=8 next_pid=9
        1 150 8 sched_switch prev_pid=8 next_pid=9
        1 170 9 sched_switch prev_pid=9 prev_state=1 next_pid=8
    """
    )
    assert [(each.duration_ns, each.at_most_ns) for each in (one, two)] == [(None, 50), (20, None)]


def test_a_call_in_which_the_task_left_the_cpu_and_is_not_seen_to_come_back_has_a_bound_only():
    text = """
        1 100 8 sys_enter id=202
        1 110 8 sched_switch prev_pid=8 prev_state=1 next_pid=0
        {back}
        1 190 8 sys_exit id=202
        1 200 8 sys_enter id=10
        1 220 8 sys_exit id=10
    """
    assert breaks(text.format(back="")) == breaks(text.format(back="0 50 9 sys_exit id=1"), None)
    unseen, other = breaks(text.format(back=""))
    assert (unseen.duration_ns, unseen.at_most_ns, unseen.end_ns, other.duration_ns) == (None, 90, None, 20)
    seen, other = breaks(text.format(back="1 180 0 sched_switch prev_pid=0 next_pid=8"))
    assert (seen.duration_ns, seen.at_most_ns, seen.end_ns, other.duration_ns) == (20, None, 190, 20)
