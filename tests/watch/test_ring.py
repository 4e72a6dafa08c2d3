"""The two scanners of ring-buffer pages say the same, and damaged pages are told."""

from struct import pack

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostale.contract import BadInput
from nostale.watch.ring import Geometry, read_pages, scan, scan_slowly
from nostale.watch.script import HEADER_PAGE, PAGE_BYTES, parse

GEOMETRY = Geometry.of(HEADER_PAGE, PAGE_BYTES, "test")


def record(kind, delta, rest=b""):
    return pack("<I", kind | delta << 5) + rest


def page(stamp, data, flags=0):
    return (pack("<QQ", stamp, len(data) | flags) + data).ljust(PAGE_BYTES, b"\0")


def both(raw):
    raw = np.frombuffer(raw, np.uint8)
    pages = read_pages(raw, GEOMETRY, "test")
    fast, slow = (one(raw, pages, GEOMETRY, "test") for one in (scan, scan_slowly))
    for column in ("page", "ts", "offset", "size"):
        assert getattr(fast, column).tolist() == getattr(slow, column).tolist()
    return fast


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


@given(PAGES)
def test_both_scanners_find_the_same_events(pages):
    both(b"".join(page(stamp, b"".join(records)) for stamp, records in pages))


def test_a_time_extension_reaches_past_27_bits():
    found = both(page(5, record(30, 3, pack("<I", 2)) + record(2, 4, bytes(8))))
    assert found.ts.tolist() == [5 + 3 + (2 << 27) + 4]


def test_an_absolute_stamp_keeps_the_top_bits_and_never_goes_back():
    top = 1 << 59
    found = both(page(top + 100, record(31, 7, pack("<I", 0)) + record(2, 0, bytes(8))))
    assert found.ts.tolist() == [2 * top + 7]


def test_padding_without_a_delta_ends_the_page():
    found = both(page(5, record(2, 1, bytes(8)) + record(29, 0) + b"\xff" * 40))
    assert found.ts.tolist() == [6]


def test_a_long_event_has_its_length_in_a_second_word():
    found = both(page(0, record(0, 1, pack("<I", 204) + bytes(200)) + record(1, 1, bytes(4))))
    assert found.size.tolist() == [200, 4]


@pytest.mark.parametrize(
    "data", [record(28, 1, bytes(8)), record(0, 1, pack("<I", 4000)), record(0, 1, pack("<I", 2)), record(30, 1)]
)
def test_an_event_past_the_end_of_its_page_is_bad_input(data):
    raw = np.frombuffer(page(0, data), np.uint8)
    for one in (scan, scan_slowly):
        with pytest.raises(BadInput, match="runs past the page's end"):
            one(raw, read_pages(raw, GEOMETRY, "test"), GEOMETRY, "test")


def test_a_page_that_claims_more_than_it_holds_is_bad_input():
    with pytest.raises(BadInput, match="claims"):
        read_pages(np.frombuffer(pack("<QQ", 0, 4084).ljust(PAGE_BYTES, b"\0"), np.uint8), GEOMETRY, "test")


def test_lost_events_are_counted_between_their_neighbours():
    (lost,) = parse("0 10 1 sys_exit\n0 20 lost 7\n0 30 1 sys_exit").lost
    assert (lost.cpu, lost.after_ns, lost.before_ns, lost.count) == (0, 10, 30, 7)
    (lost,) = parse("0 10 1 sys_exit\n0 20 lost\n0 30 1 sys_exit").lost
    assert lost.count is None


def test_cpus_are_merged_in_time_order():
    trace = parse("1 30 1 sys_exit\n0 10 1 sys_exit\n0 40 1 sys_exit\n1 50 1 sys_exit")
    assert (trace.ts.tolist(), trace.cpu.tolist()) == ([10, 30, 40, 50], [0, 1, 0, 1])
