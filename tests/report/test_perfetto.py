"""Interruptions as trace events: valid by the format, properly nested, arrows from sender to interruption."""

import json
from collections import defaultdict

import pytest

from nostale.report import to_perfetto
from nostale.watch import analyse, read_trace
from nostale.watch.script import parse

NUMBER = (int, float)
NEEDS = {
    "X": {"name": str, "cat": str, "ts": NUMBER, "dur": NUMBER, "pid": int, "tid": int, "args": dict},
    "i": {"name": str, "cat": str, "ts": NUMBER, "pid": int, "tid": int, "s": str},
    "M": {"name": str, "pid": int, "args": dict},
    "s": {"name": str, "cat": str, "id": int, "ts": NUMBER, "pid": int, "tid": int},
    "f": {"name": str, "cat": str, "id": int, "ts": NUMBER, "pid": int, "tid": int, "bp": str},
}
TRACE = """
0 100 7 sys_enter id=10
0 110 7 csd_queue_cpu cpu=1 func=flush_tlb_func csd=0x10
1 118 8 softirq_entry vec=9
1 120 8 call_function_single_entry
1 125 8 csd_function_entry func=flush_tlb_func csd=0x10
1 140 8 call_function_single_exit
1 150 8 softirq_exit vec=9
1 200 8 page_fault_user address=1
"""


def events_of(answer):
    return json.loads(to_perfetto(answer))["traceEvents"]


def check(events):
    """What the format asks of every event, and a viewer of slices and arrows."""
    for one in events:
        for key, kind in NEEDS[one["ph"]].items():
            assert isinstance(one[key], kind), (key, one)
        assert one.get("dur", 0) >= 0
    slices = defaultdict(list)
    for one in events:
        if one["ph"] == "X":
            slices[one["pid"], one["tid"]].append((round(one["ts"] * 1e3), round((one["ts"] + one["dur"]) * 1e3)))
    for track in slices.values():
        assert nested(track), track
    starts, ends = ({one["id"] for one in events if one["ph"] == phase} for phase in "sf")
    assert starts == ends
    for one in events:
        if one["ph"] in "sf":  # an arrow needs a slice at either end
            at = round(one["ts"] * 1e3)
            assert any(low <= at <= high for low, high in slices[one["pid"], one["tid"]])
    named = {(one["pid"], one["tid"]) for one in events if one["name"] == "thread_name"}
    assert {(one["pid"], one["tid"]) for one in events if one["ph"] != "M"} <= named


def nested(track):
    open_ends = []
    for start, end in sorted(track, key=lambda one: (one[0], -one[1])):
        while open_ends and open_ends[-1] <= start:
            open_ends.pop()
        if open_ends and end > open_ends[-1]:
            return False
        open_ends.append(end)
    return True


def test_a_break_is_a_slice_with_its_cause_and_an_arrow_from_its_sender():
    events = events_of(analyse(parse(TRACE, comms={7: "sender", 8: "victim"}), [1]))
    check(events)
    (call,) = [one for one in events if one["name"] == "tlb-flush flush_tlb_func"]
    assert (call["pid"], call["tid"], call["ts"], call["dur"]) == (1, 8, 0.12, 0.02)
    assert call["args"]["sent by"] == "sender-7"
    (arrow,) = [one for one in events if one["ph"] == "s"]
    assert (arrow["pid"], arrow["tid"], arrow["ts"]) == (0, (1 << 22) + 7, 0.11)


def test_what_is_nested_lies_within_what_it_is_nested_in_and_an_unknown_end_is_an_instant():
    events = events_of(analyse(parse(TRACE), [1]))
    outer, inner = (next(one for one in events if one.get("cat") == kind) for kind in ("softirq", "ipi-call"))
    assert outer["ts"] < inner["ts"] and inner["ts"] + inner["dur"] < outer["ts"] + outer["dur"]
    assert [one["ph"] for one in events if one.get("cat") == "page-fault"] == ["i"]


@pytest.mark.shared
@pytest.mark.parametrize("name", ["text_poke", "exec_cpu1", "syscall"])
def test_every_recording_gives_a_valid_file(shared, name):
    check(events_of(analyse(read_trace(shared / f"data/watch/{name}.dat"), [1])))


def test_the_check_refuses_what_is_not_nested():
    assert nested([(0, 10), (2, 5), (5, 10)])
    assert not nested([(0, 10), (5, 12)])
