"""ftrace's text: what it says becomes the same table, what it does not say is noted, what it lost stays unknown."""

import pytest

from nostale.contract import BadInput, Work
from nostale.watch import analyse, read_trace

HEAD = "# tracer: nop\n#\n# entries-in-buffer/entries-written: 9/{}   #P:2\n#\n"
SENT = """\
    sender-7 [000] d..1.   100.000100: sys_enter: NR 10 (7f0000000000, 1000, 1, 0, 0, 0)
    sender-7 [000] d..1.   100.000110: csd_queue_cpu: cpu=1 callsite=f+0x20 func=flush_tlb_func csd=00000000e914f098
    sender-7 [000] d..1.   100.000110: <stack trace>
 => smp_call_function_many_cond
 => do_mprotect_pkey
"""
RAN = """\
          victim-8       [001] d.h1.   100.000120: call_function_single_entry: vector=251
          victim-8       [001] d.h1.   100.000125: csd_function_entry: func=flush_tlb_func, csd=00000000e914f098
          victim-8       [001] d.h1.   100.000130: csd_function_exit: func=flush_tlb_func, csd=00000000e914f098
          victim-8       [001] d.h1.   100.000140: call_function_single_exit: vector=251
"""  # fmt: skip


def read(tmp_path, text):
    (tmp_path / "trace.txt").write_text(text)
    return read_trace(tmp_path / "trace.txt")


def only_break(trace):
    (found,) = [one for one in analyse(trace, [1]).breaks if one.pid == 8]
    return found


def test_a_call_is_followed_to_its_sender_and_stack(tmp_path):
    found = only_break(read(tmp_path, HEAD.format(9) + SENT + RAN))
    cause = found.cause
    assert (found.start_ns, found.duration_ns) == (100_000_120_000, 20_000)
    assert (cause.kind, cause.cpu, cause.pid, cause.syscall) == (Work.TLB_FLUSH, 0, 7, "mprotect")
    assert cause.stack == ("smp_call_function_many_cond", "do_mprotect_pkey")


def test_what_text_cannot_tell_is_noted(tmp_path):
    notes = analyse(read(tmp_path, HEAD.format(9) + SENT + RAN)).notes
    assert any("to the microsecond" in one for one in notes)
    assert any("clock is 'unknown'" in one for one in notes)
    assert any("which events were recorded" in one for one in notes)


LOSSES = {
    "trace_pipe": "CPU:1 [LOST 12 EVENTS]\n",
    "trace-cmd": "CPU:1 [12 EVENTS DROPPED]\n",
    "no count": "CPU:1 [LOST EVENTS]\n",
    "the other CPU's": "CPU:0 [LOST 3 EVENTS]\n",
    "a line of other fields": "          victim-8       [001] d.h1.   100.000118: csd_queue_cpu: whatever\n",
}


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_a_join_across_a_loss_is_not_made(tmp_path, loss):
    after = "          sender-7 [000] d..1.   100.000150: sys_exit: NR 10 = 0\n"
    trace = read(tmp_path, HEAD.format(9) + SENT + LOSSES[loss] + RAN + after)
    assert trace.lost
    assert only_break(trace).cause.pid is None


def test_a_buffer_that_started_later_has_a_gap_before(tmp_path):
    trace = read(tmp_path, HEAD.format(99) + SENT + "##### CPU 1 buffer started ####\n" + RAN)
    assert {(one.cpu, one.before_ns) for one in trace.lost} == {(0, 100_000_100_000), (1, 100_000_120_000)}
    assert any("90 events before the first of this text were overwritten" in one for one in trace.origin.notes)


@pytest.mark.parametrize(
    "line",
    [
        "  prev_comm=a b prev_pid=8 prev_prio=120 prev_state=R+ ==> next_comm=c:1 [0] d next_pid=9 next_prio=120",
        "  a b:8 [120] R+ ==> c:1 [0] d:9 [120]",
    ],
)
def test_both_forms_of_a_switch_are_read(tmp_path, line):
    trace = read(tmp_path, f"victim-8 [001] d..2. 1.000001: sched_switch:{line}\n")
    rows = trace.rows("sched_switch")
    told = [int(trace.field(rows, "sched_switch", one)[0]) for one in ("prev_pid", "next_pid", "prev_state")]
    assert told == [8, 9, 256]
    assert trace.text(0, "sched_switch", "next_comm") == "c:1 [0] d"


def test_a_number_that_is_none_is_a_loss(tmp_path):
    switch = "prev_comm=a prev_pid=8 prev_prio=1 prev_state={} ==> next_comm=b next_pid=9 next_prio=1\n"
    line = "victim-8 [001] d..2. 1.00000{}: sched_switch: " + switch
    trace = read(tmp_path, line.format(1, "S") + line.format(2, "?"))
    assert (len(trace), len(trace.lost)) == (1, 1)


@pytest.mark.parametrize("text", ["", "hello\n", "# tracer: nop\n#\n"])
def test_what_is_no_text_of_ftrace_is_told(tmp_path, text):
    with pytest.raises(BadInput, match=r"has no event|is not a trace\.dat"):
        read(tmp_path, text)


def test_an_endless_line_is_told(tmp_path):
    with pytest.raises(BadInput, match="a line of over"):
        read(tmp_path, "# tracer: nop\n" + "x" * 100_000)


RAW = """\
version = 6
          sender-7     [000]    40.588343: sys_enter:             id=10 args=ARRAY[01, 00, 00, 00, 00, 00, 00, 00]
          sender-7     [000]    40.588344: workqueue_queue_work:  work=0xffff892b function=f workqueue=e req_cpu=8192 cpu=1
          victim-8     [001]    40.588345: tick_stop:             success=0 dependency=4
          victim-8     [001]    40.588346: sched_switch:          prev_comm=victim prev_pid=8 prev_prio=120 prev_state=256 next_comm=kworker/1:1 next_pid=20 next_prio=120
     kworker/1:1-20    [001]    40.588347: workqueue_execute_start:  work=0xffff892b function=f
     kworker/1:1-20    [001]    40.588348: workqueue_execute_end:  work=0xffff892b function=f
     kworker/1:1-20    [001]    40.588349: sched_switch:          prev_comm=kworker/1:1 prev_pid=20 prev_prio=120 prev_state=1 next_comm=victim next_pid=8 next_prio=120
          sender-7     [000]    40.588350: sys_exit:              id=10 ret=-12
"""  # noqa: E501


def test_raw_fields_as_trace_cmd_prints_them_on_request_tell_the_same(tmp_path):
    trace = read(tmp_path, RAW)
    found = only_break(trace)
    assert (found.cause.kind, found.cause.pid, found.cause.syscall) == (Work.WORKQUEUE, 7, "syscall 10")
    assert (found.cause.function, found.duration_ns) == ("f", 3_000)
    (stop,), (left,) = trace.rows("tick_stop").tolist(), trace.rows("sys_exit").tolist()
    assert (trace.number(stop, "tick_stop", "dependency"), trace.number(left, "sys_exit", "ret")) == (4, -12)
    assert trace.lost == ()


@pytest.mark.parametrize("woken", ["comm=other pid=9 prio=120 target_cpu=001", "other:9 [120] CPU:001"])
def test_a_wakeup_is_read(tmp_path, woken):
    text = f"""{HEAD}\
          victim-8       [001] d.h1.   100.000120: sched_wakeup: {woken}
          victim-8       [001] d..2.   100.000130: sched_switch: victim:8 [120] R ==> other:9 [120]
           other-9       [001] d..2.   100.000140: sched_switch: other:9 [120] S ==> victim:8 [120]
"""  # fmt: skip
    found = only_break(read(tmp_path, text))
    assert (found.cause.kind, found.cause.function, found.duration_ns) == (Work.WAKEUP, "other", 10_000)
