"""Windows of a recording that goes on: every interruption is told once, in the window in which it ended."""

from nostale.contract import Work
from nostale.watch import Rolling, analyse
from nostale.watch.script import parse

TICK = "1 {0} 8 local_timer_entry\n1 {0} 8 hrtimer_expire_entry function=tick_nohz_handler\n1 {1} 8 local_timer_exit"
LINES = "\n".join(
    [
        *(TICK.format(at, at + 90) for at in range(1000, 20_000, 1000)),
        "0 20400 7 ipi_send_cpu cpu=1 callsite=__send_signal_locked",
        "1 20500 8 reschedule_entry",
        "1 22500 8 reschedule_exit",
        "1 23000 8 sys_enter id=39",
        "1 23100 8 sys_exit id=39",
    ]
).splitlines()


def window(low, high):
    return parse("\n".join(line for line in LINES if low <= int(line.split()[1]) < high))


def test_overlapping_windows_tell_what_the_whole_recording_does_each_once():
    rolling, told = Rolling([1]), []
    for end in range(1500, 26_500, 1000):
        told += rolling.feed(window(end - 5000, end))
    whole = analyse(window(0, 30_000), [1], own=False).breaks
    assert [(one.start_ns, one.kind) for one in told] == [(one.start_ns, one.kind) for one in whole]
    assert len(whole) == 20


def test_a_break_is_told_in_the_window_in_which_it_ended_and_with_its_cause():
    rolling = Rolling([1])
    assert rolling.feed(window(20_000, 22_000)) == ()
    (one,) = rolling.feed(window(20_000, 23_000))
    assert (one.cause.kind, one.duration_ns) == (Work.SIGNAL, 2000)


def test_sums_grow_over_windows():
    rolling = Rolling([1])
    rolling.feed(window(0, 5000))
    rolling.feed(window(4000, 24_000))
    assert [(one.cause, one.count, one.total_ns, one.worst_ns) for one in rolling.totals()] == [
        (Work.SIGNAL, 1, 2000, 2000),
        (Work.TICK, 19, 19 * 90, 90),
    ]


def test_a_window_without_events_tells_nothing():
    assert Rolling([1]).feed(window(0, 1)) == ()
