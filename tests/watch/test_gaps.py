"""Gaps that a task saw: what the kernel did nothing in is unseen, and only that."""

import json

import pytest

from nostale.contract import BadInput, Kind, Work
from nostale.watch import Gap, analyse, read_gaps, read_trace
from nostale.watch.gaps import _ENTRIES
from nostale.watch.script import parse

# Every entry event is described, far from the gaps.
ALL = "\n".join(f"0 {10 + at} 7 {event}" for at, event in enumerate(_ENTRIES))
BUSY = """
1 100 8 sys_enter id=1
1 110 8 sys_exit id=1
1 200 8 local_timer_entry
1 210 8 local_timer_exit
1 300 8 sys_enter id=1
"""


def unseen(*gaps, text=ALL + BUSY, **options):
    answer = analyse(parse(text, comms={8: "victim"}), [1], gaps=[Gap(1, 8, *gap) for gap in gaps], **options)
    return answer, [one for one in answer.breaks if one.kind is Kind.UNSEEN]


def test_a_gap_without_any_event_is_the_hosts():
    answer, (one,) = unseen((150, 170), (195, 215), (150, 200), (210, 215))
    assert (one.start_ns, one.duration_ns, one.task, one.cause.kind) == (150, 20, "victim", Work.HOST)
    assert one.cause.looked_at.startswith("no event of this CPU within it")
    assert (answer.coverage["gap_samples"], answer.coverage["host_gaps"]) == (4, 1)


def test_a_gap_with_an_event_of_another_cpu_only_is_still_the_hosts():
    _, told = unseen((150, 170), text=ALL + "\n0 160 7 reschedule_entry" + BUSY)
    assert [one.cause.kind for one in told] == [Work.HOST]


def test_a_gap_outside_of_the_recording_is_counted_and_not_told():
    answer, told = unseen((50, 60), (290, 310))
    assert (told, answer.coverage["gap_samples_outside"]) == ([], 2)


def test_a_silent_gap_proves_nothing_where_entries_were_not_recorded_or_lost():
    _, (one,) = unseen((150, 170), text=BUSY)
    assert one.cause.kind is Work.UNKNOWN
    assert "there are no reschedule_entry" in one.cause.looked_at
    _, (one,) = unseen((150, 170), text=ALL + BUSY.replace("1 200", "1 190 lost 3\n1 200"))
    assert (one.cause.kind, one.cause.looked_at) == (Work.UNKNOWN, "events were lost here")


def test_without_samples_the_answer_says_that_nobody_looked():
    assert "not looked for" in analyse(parse(BUSY), [1]).coverage["host_gaps"]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"cpu": 1}', '{"cpu": 1, "gaps": [[2, 1]]}', '{"cpu": 1, "gaps": [[1]]}', "[" * 100_000]
)
def test_a_file_of_another_form_is_refused(text):
    with pytest.raises(BadInput, match="write"):
        read_gaps(text, "x.json")


@pytest.mark.shared
@pytest.mark.parametrize("name", ["none", "mprotect", "signal", "text_poke"])
def test_a_recordings_unseen_gaps_are_those_that_a_slow_look_finds(shared, name):
    trace = read_trace(shared / f"data/watch/{name}.dat")
    text = (shared / f"data/watch/{name}.json").read_text()
    found = {one.start_ns for one in analyse(trace, [1], gaps=read_gaps(text, name)).breaks if one.kind is Kind.UNSEEN}
    times = [ts for ts, cpu in zip(trace.ts.tolist(), trace.cpu.tolist()) if cpu == 1]
    slow = {
        start
        for start, end in json.loads(text)["gaps"]
        if times[0] <= start and end <= times[-1] and not any(start <= ts <= end for ts in times)
    }
    assert found == slow
    assert slow
