"""The three scanners of ring-buffer pages say the same, and damaged pages are told."""

from collections import Counter
from struct import pack

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nostale.contract import BadInput
from nostale.watch.compiled import library
from nostale.watch.ring import Geometry, read_pages, scan, scan_slowly
from nostale.watch.scanner import ENTER, EXIT, FAULT, KEEP, Fates, by_type, fold, merge
from nostale.watch.script import HEADER_PAGE, PAGE_BYTES, parse
from nostale.watch.trace import gather

GEOMETRY = Geometry.of(HEADER_PAGE, PAGE_BYTES, "test")


def record(kind, delta, rest=b""):
    return pack("<I", kind | delta << 5) + rest


def page(stamp, data, flags=0):
    return (pack("<QQ", stamp, len(data) | flags) + data).ljust(PAGE_BYTES, b"\0")


def all_three(raw):
    raw = np.frombuffer(raw, np.uint8)
    pages = read_pages(raw, GEOMETRY, "test")
    fast, slow = (one(raw, pages, GEOMETRY, "test") for one in (scan, scan_slowly))
    for column in ("page", "ts", "offset", "size"):
        assert getattr(fast, column).tolist() == getattr(slow, column).tolist()
    # The compiled one also looks into events: those too short for a type and a thread id it refuses.
    if fast.size.size and int(fast.size.min()) < 8:
        with pytest.raises(BadInput, match="too short for its header"):
            compiled({0: raw.tobytes()})
    elif fast.ts.size and not 0 <= int(fast.ts.min()) <= int(fast.ts.max()) < 1 << 62:
        with pytest.raises(BadInput, match="centuries away"):
            compiled({0: raw.tobytes()})
    else:
        found = compiled({0: raw.tobytes()})
        assert sorted(found.ts.tolist()) == sorted(fast.ts.tolist())
        assert int(found.counts.sum()) == len(fast.ts)
        if not found.backwards:
            assert found.size.tolist() == fast.size.tolist()
            at = zip(fast.offset.tolist(), (4 * found.word.astype(np.int64)).tolist(), found.size.tolist())
            assert all(raw[a : a + n].tobytes() == found.heap[b : b + n].tobytes() for a, b, n in at)
    return fast


def compiled(streams, fates=None, kept=None, stays=()):
    lib = library(worth_compiling=True)
    if lib is None:
        pytest.skip("no C compiler")
    every = np.full(1 << 16, KEEP, np.uint8)
    for number, fate in (fates or {}).items():
        every[number] = fate
    whole = np.array([np.zeros(1 << 16), np.full(1 << 16, (1 << 31) - 1)], np.int32)
    kept = whole if kept is None else kept
    what = Fates(every, 8, np.array(stays, np.uint8))
    return merge(lib, {cpu: [raw] for cpu, raw in streams.items()}, GEOMETRY, (0, 4), what, kept, "test")


@given(st.binary(min_size=8, max_size=64), st.sampled_from([1, 2, 4, 8]), st.booleans(), st.data())
def test_numbers_are_taken_from_wherever_they_lie(raw, size, signed, data):
    at = data.draw(st.lists(st.integers(0, len(raw) - size)))
    found = gather(np.frombuffer(raw, np.uint8), np.array(at, np.int64), size, signed=signed)
    assert found.tolist() == [int.from_bytes(raw[one : one + size], "little", signed=signed) for one in at]
    assert found.dtype == (np.int64 if signed else np.uint64)


@settings(deadline=None)
@pytest.mark.parametrize("compiled", [True, False])
@given(types=st.lists(st.integers(0, 5) | st.just((1 << 16) - 1)))
def test_rows_are_ordered_by_type_as_a_stable_sort_does(types, compiled):
    order, starts = by_type(np.array(types, np.uint16), library(worth_compiling=True) if compiled else None)
    assert order.tolist() == sorted(range(len(types)), key=lambda row: types[row])
    for one in types:
        low, high = starts[one : one + 2]
        assert {types[row] for row in order[low:high].tolist()} == {one}
        assert high - low == types.count(one)


def test_of_an_event_the_bytes_that_are_needed_are_kept():
    raw = page(0, record(4, 1, pack("<HHiII", 1, 0, 7, 8, 9)) + record(4, 1, pack("<HHiII", 2, 0, 7, 10, 11)))
    kept = np.array([np.zeros(1 << 16), np.full(1 << 16, 99)], np.int32)
    kept[:, 1] = 8, 12
    found = compiled({0: raw}, kept=kept)
    assert found.size.tolist() == [16, 16]
    heap = found.heap.tobytes()
    assert [heap[4 * word + 8 : 4 * word + 12] for word in found.word.tolist()] == [pack("<I", 8), pack("<I", 10)]
    assert len(heap) == 8 + 4 + 16  # what lies before the first, so that no word is negative


DELTA = st.integers(0, (1 << 27) - 1)
RECORDS = st.one_of(
    st.builds(lambda kind, delta: record(kind, delta, bytes(4 * kind)), st.integers(1, 28), DELTA),
    st.builds(lambda n, delta: record(0, delta, pack("<I", 4 * n + 4) + bytes(4 * n)), st.integers(0, 60), DELTA),
    st.builds(
        lambda n, delta: record(29, delta + 1, pack("<I", 4 * n) + bytes(4 * n - 4)),
        st.integers(1, 9),
        st.integers(0, 99),
    ),
    st.builds(lambda delta, high: record(30, delta, pack("<I", high)), DELTA, st.integers(0, 1 << 20)),
    st.builds(lambda delta, high: record(31, delta, pack("<I", high)), DELTA, st.integers(0, (1 << 32) - 1)),
)
PAGES = st.lists(st.tuples(st.integers(0, 1 << 60), st.lists(RECORDS, max_size=12)), min_size=1, max_size=4)


@settings(deadline=None)  # the first may compile
@given(PAGES)
def test_all_scanners_find_the_same_events(pages):
    all_three(b"".join(page(stamp, b"".join(records)) for stamp, records in pages))


def test_a_time_extension_reaches_past_27_bits():
    found = all_three(page(5, record(30, 3, pack("<I", 2)) + record(2, 4, bytes(8))))
    assert found.ts.tolist() == [5 + 3 + (2 << 27) + 4]


def test_an_absolute_stamp_keeps_the_top_bits_and_never_goes_back():
    top = 1 << 59
    found = all_three(page(top + 100, record(31, 7, pack("<I", 0)) + record(2, 0, bytes(8))))
    assert found.ts.tolist() == [2 * top + 7]


def test_padding_without_a_delta_ends_the_page():
    found = all_three(page(5, record(2, 1, bytes(8)) + record(29, 0) + b"\xff" * 40))
    assert found.ts.tolist() == [6]


def test_a_long_event_has_its_length_in_a_second_word():
    found = all_three(page(0, record(0, 1, pack("<I", 204) + bytes(200)) + record(1, 1, bytes(4))))
    assert found.size.tolist() == [200, 4]


@pytest.mark.parametrize(
    "data", [record(28, 1, bytes(8)), record(0, 1, pack("<I", 4000)), record(0, 1, pack("<I", 2)), record(30, 1)]
)
def test_an_event_past_the_end_of_its_page_is_bad_input(data):
    raw = np.frombuffer(page(0, data), np.uint8)
    for one in (scan, scan_slowly):
        with pytest.raises(BadInput, match="runs past the page's end"):
            one(raw, read_pages(raw, GEOMETRY, "test"), GEOMETRY, "test")
    with pytest.raises(BadInput, match="runs past the page's end"):
        compiled({0: raw.tobytes()})


def test_a_page_that_claims_more_than_it_holds_is_bad_input():
    with pytest.raises(BadInput, match="claims"):
        read_pages(np.frombuffer(pack("<QQ", 0, 4084).ljust(PAGE_BYTES, b"\0"), np.uint8), GEOMETRY, "test")
    with pytest.raises(BadInput, match="claims 4084 of 4080"):
        compiled({0: pack("<QQ", 0, 4084).ljust(PAGE_BYTES, b"\0")})


def test_lost_events_are_counted_between_their_neighbours():
    (lost,) = parse("0 10 1 sys_exit\n0 20 lost 7\n0 30 1 sys_exit").lost
    assert (lost.cpu, lost.after_ns, lost.before_ns, lost.count) == (0, 10, 30, 7)
    (lost,) = parse("0 10 1 sys_exit\n0 20 lost\n0 30 1 sys_exit").lost
    assert lost.count is None


def test_cpus_are_merged_in_time_order():
    trace = parse("1 30 1 sys_exit\n0 10 1 sys_exit\n0 40 1 sys_exit\n1 50 1 sys_exit")
    assert (trace.ts.tolist(), trace.cpu.tolist()) == ([10, 30, 40, 50], [0, 1, 0, 1])


EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(0, 3)), max_size=30)


@settings(deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=4), st.integers(1, 40))
def test_the_compiled_merge_is_a_stable_sort(cpus, per_page):
    """Events of a few types and threads, many at the same time, cut into pages that are fed one by one."""
    streams, rows = {}, []
    for cpu, events in enumerate(cpus):
        pages, ts = [], 100
        for first in range(0, len(events), per_page):
            data, start = b"", ts
            for type_, pid, delta in events[first : first + per_page]:
                ts += delta
                data += record(2, delta, pack("<HHi", type_, 0, pid))
                rows.append((ts, cpu, pid, type_))
            pages.append(page(start, data))
        streams[cpu] = b"".join(pages)
    found = compiled(streams)
    told = list(zip(found.ts.tolist(), found.cpu.tolist(), found.pid.tolist(), found.type.tolist()))
    assert told == sorted(rows, key=lambda row: row[:2])


CALLS = {1: ENTER, 2: EXIT, 3: FAULT}


def pages_of(events):
    """One page of each CPU from (CPU, type, thread, number), 1 ns apart: types 1 to 3 enter a call, leave it, fault."""
    data, last = {}, {}
    for ts, (cpu, type_, pid, number) in enumerate(events):
        made = record(4, ts - last.get(cpu, 0), pack("<HHiq", type_, 0, pid, number))
        data[cpu], last[cpu] = data.get(cpu, b"") + made, ts
    return {cpu: page(0, raw) for cpu, raw in data.items()}


def calls(*events):
    """One CPU from (type, thread)."""
    return compiled(pages_of([(0, type_, pid, 0) for type_, pid in events]), CALLS)


def folded_one_by_one(events, stays):
    """Return which of (CPU, type, thread, number) are kept, and how many of each CPU and thread are counted."""
    kept, counted, in_call, left_out = [], Counter(), set(), set()

    def following(at):
        return next((at + 1 + n for n, one in enumerate(events[at + 1 :]) if one[0] == events[at][0]), None)

    def ends(at):
        """Return where the call that begins at `at` ends, None where none does or it is not to be folded."""
        after = None if at is None else following(at)
        if after is None or (events[at][1], events[after][1]) != (1, 2) or events[at][2] != events[after][2]:
            return None
        return None if events[at][3] < len(stays) and stays[events[at][3]] else after

    for at, (cpu, type_, pid, _) in enumerate(events):
        last = ends(at) if type_ == 1 else at if type_ == 3 else None
        then = None if last is None else following(last)
        if at in left_out:
            continue
        if then is not None and (events[then][1] == 3 or ends(then)) and (type_ == 3 or pid not in in_call):
            counted[cpu, pid] += 1
            left_out.add(last)
            continue
        (in_call.add if type_ == 1 else in_call.discard if type_ == 2 else lambda _: None)(pid)
        kept.append(at)
    return kept, dict(counted)


ENTRIES = st.tuples(st.integers(0, 1), st.sampled_from([1, 1, 2, 2, 3, 9]), st.integers(7, 8), st.integers(0, 3))
STAYS = st.sampled_from([(), (1,), (0, 0, 1)])
ENTERS_AND_LEAVES = st.tuples(st.integers(0, 1), st.integers(7, 8), st.integers(0, 3)).map(
    lambda one: [(one[0], 1, *one[1:]), (one[0], 2, *one[1:])]
)


@settings(deadline=None)
@given(
    st.lists(ENTERS_AND_LEAVES | ENTRIES.map(lambda one: [one]), max_size=14), st.sampled_from([(), (1,), (0, 0, 1)])
)
def test_calls_are_folded_as_one_by_one_in_either_format(parts, stays):
    """A trace.dat folds as it is read, a perf.data once it was ordered by time."""
    events = [one for part in parts for one in part]
    kept, counted = folded_one_by_one(events, stays)
    found = compiled(pages_of(events), CALLS, stays=stays)
    assert (found.ts.tolist(), found.folded) == (kept, counted)
    whole = compiled(pages_of(events))
    columns = {name: getattr(whole, name) for name in ("type", "cpu", "pid", "size", "word")}
    fates = np.full(1 << 16, KEEP, np.uint8)
    fates[list(CALLS)] = list(CALLS.values())
    order, folded = fold(
        library(worth_compiling=True),
        np.arange(len(whole.ts)),
        columns,
        whole.heap,
        Fates(fates, 8, np.array(stays, np.uint8)),
    )
    assert (order.tolist(), folded) == (kept, counted)


def test_calls_in_which_nothing_happened_and_faults_are_counted_if_another_follows():
    found = calls((1, 7), (2, 7), (1, 7), (2, 7), (3, 7), (3, 7), (1, 7), (2, 7), (9, 7), (3, 7), (9, 7))
    assert (found.type.tolist(), found.folded) == ([1, 2, 9, 3, 9], {(0, 7): 4})


@pytest.mark.parametrize(
    "events",
    [
        [(1, 7), (9, 7), (2, 7), (3, 7)],  # something happened in it
        [(1, 7), (2, 8), (3, 7)],  # another's end
        [(1, 7), (2, 7), (9, 7)],  # what follows may be a switch
        [(1, 7), (1, 7), (2, 7), (3, 7)],  # one before it has not ended
    ],
)
def test_other_calls_are_kept(events):
    found = calls(*events)
    assert (found.type.tolist(), found.folded) == ([type_ for type_, _ in events], {})


def test_calls_that_are_asked_for_are_kept():
    events = [(0, 1, 7, 2), (0, 2, 7, 2), (0, 1, 7, 3), (0, 2, 7, 3), (0, 3, 7, 0)]
    found = compiled(pages_of(events), CALLS, stays=(0, 0, 1))
    assert (found.type.tolist(), found.folded) == ([1, 2, 3], {(0, 7): 1})


def test_a_call_that_does_not_say_which_it_is_is_kept():
    data = b"".join(record(2, 1, pack("<HHi", type_, 0, 7)) for type_ in (1, 2, 3, 3))
    found = compiled({0: page(0, data)}, CALLS)
    assert (found.type.tolist(), found.folded) == ([1, 2, 3], {(0, 7): 1})


def test_a_call_across_lost_events_is_kept():
    enter, leave, fault = (record(4, 1, pack("<HHiq", type_, 0, 7, 0)) for type_ in (1, 2, 3))
    raw = page(0, enter) + page(9, leave + fault, flags=1 << 31)
    found = compiled({0: raw}, CALLS)
    assert (found.type.tolist(), found.folded) == ([1, 2, 3], {})
    assert [(one.after_ns, one.before_ns) for one in found.lost] == [(1, 10)]
