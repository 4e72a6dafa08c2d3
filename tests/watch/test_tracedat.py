"""trace.dat: what is written is read back, and a damaged file is told as such, whatever the damage."""

import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nostale.contract import BadInput
from nostale.watch import analyse, needed, read_trace, save
from nostale.watch.build import build
from nostale.watch.file import open_file
from nostale.watch.script import parse
from nostale.watch.tracedat import open_dat

DEMO = Path(__file__).parents[2] / "src/nostale/systems/isolation/demo/recording.dat"
SMALL = """
0 100 7 sys_enter id=10
0 110 7 csd_queue_cpu cpu=1 func=flush_tlb_func csd=0x10
0 111 7 kernel_stack smp_call_function_many_cond do_mprotect_pkey
1 120 8 call_function_single_entry
1 125 8 csd_function_entry func=flush_tlb_func csd=0x10
1 140 8 call_function_single_exit
0 150 7 sys_exit id=10
"""


def test_what_is_saved_is_read_back(tmp_path):
    trace = parse(SMALL, comms={7: "sender", 8: "victim"})
    save(trace, tmp_path / "a.dat")
    again = read_trace(tmp_path / "a.dat")
    assert again.ts.tolist() == trace.ts.tolist()
    assert analyse(again, [1]).breaks == analyse(trace, [1]).breaks
    assert again.origin.clock == "mono"


def test_lost_events_survive_saving(tmp_path):
    trace = parse("0 10 1 sys_exit\n0 20 lost 7\n0 30 1 sys_exit")
    save(trace, tmp_path / "a.dat")
    assert read_trace(tmp_path / "a.dat").lost == trace.lost


def test_a_cut_file_is_told_with_cause_and_remedy(tmp_path):
    cut = tmp_path / "cut.dat"
    cut.write_bytes(DEMO.read_bytes()[:9000])
    with pytest.raises(BadInput, match=r"cut short at byte 9000.*interrupted copy.*record or copy it again"):
        read_trace(cut)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is not a trace.dat file"),
        (b"\x7fELF" + bytes(100), "is not a trace.dat file"),
        (b"\x17\x08\x44tracing5\0" + bytes(100), "version 5, neither 6 nor 7.*trace-cmd convert"),
        (b"\x17\x08\x44tracing7\0\x01\x08" + bytes(100), "big-endian or 32-bit"),
    ],
)
def test_another_format_is_told(tmp_path, data, words):
    (tmp_path / "x.dat").write_bytes(data)
    with pytest.raises(BadInput, match=words):
        read_trace(tmp_path / "x.dat")


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(BadInput, match=r"none\.dat: cannot be read: No such file"):
        read_trace(tmp_path / "none.dat")


def test_a_file_that_declares_a_huge_size_is_refused_before_it_is_believed(tmp_path):
    data = bytearray(DEMO.read_bytes())
    first = data.index(b"\x28\xb5\x2f\xfd")  # the first zstd frame; its declared size stands before it
    data[first - 4 : first] = b"\xff\xff\xff\x7f"
    (tmp_path / "x.dat").write_bytes(data)
    with pytest.raises(BadInput, match="times its own size"):
        read_trace(tmp_path / "x.dat")


def test_zlib_says_the_same(tmp_path, monkeypatch):
    """The trace-cmd of today's Debian has zstd only: what it would write with zlib is made of what we write."""
    trace = parse(SMALL)
    monkeypatch.setattr("nostale.outside.zstd.compress", zlib.compress)
    save(trace, tmp_path / "x.dat")
    data = (tmp_path / "x.dat").read_bytes()
    (tmp_path / "x.dat").write_bytes(data.replace(b"zstd\x001.5\0", b"zlib\x001.2\0", 1))
    assert analyse(read_trace(tmp_path / "x.dat")).breaks == analyse(trace).breaks


@pytest.mark.parametrize("own", [True, False])
def test_events_that_nobody_needs_change_nothing(own):
    """Read with only what is needed, and calls folded: the answer is that of the whole table."""
    whole = analyse(read_trace(DEMO), own=own)
    small = read_trace(DEMO, needed(), fold_but=None if own else ())
    assert len(small) < len(read_trace(DEMO))
    least = analyse(small, own=own)
    assert (least.breaks, least.coverage) == (whole.breaks, whole.coverage)


def test_events_that_were_left_out_are_not_taken_for_none():
    with pytest.raises(ValueError, match="sys_enter events were not kept"):
        read_trace(DEMO, {"sys_exit": None}).rows("sys_enter")


def test_without_a_compiler_the_table_is_the_same(monkeypatch):
    compiled = read_trace(DEMO)
    monkeypatch.setattr("nostale.watch.build.library", lambda **_: None)
    plain = read_trace(DEMO)
    for column in ("ts", "cpu", "pid", "type", "size"):
        assert getattr(plain, column).tolist() == getattr(compiled, column).tolist()
    for name in ("sched_switch", "csd_queue_cpu"):
        rows = plain.rows(name)
        for one in ("next_pid",) if name == "sched_switch" else ("func", "csd"):
            assert plain.field(rows, name, one).tolist() == compiled.field(rows, name, one).tolist()
    assert (plain.lost, plain.table.total) == (compiled.lost, compiled.table.total)


def answers_or_says_why(data, path):
    path.write_bytes(data)
    try:
        analyse(read_trace(path))
    except BadInput as problem:
        assert str(path) in str(problem)


QUICK = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(st.data())
def test_a_truncated_file_never_surprises(tmp_path, data):
    whole = DEMO.read_bytes()
    answers_or_says_why(whole[: data.draw(st.integers(0, len(whole)))], tmp_path / "x.dat")


@QUICK
@given(st.data())
def test_a_file_with_flipped_bits_never_surprises(tmp_path, data):
    whole = bytearray(DEMO.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    answers_or_says_why(bytes(whole), tmp_path / "x.dat")


@QUICK
@given(st.data())
def test_flipped_bits_inside_the_pages_never_surprise(data):
    """Past the compression, whose check would catch most flips: the event bytes themselves."""
    with open_file(DEMO) as file:
        one = open_dat(file)
        streams = {cpu: bytearray(b"".join(pages)) for cpu, pages in one.streams.items()}
    raw = data.draw(st.sampled_from(list(streams.values())))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    pages = {cpu: [bytes(raw)] for cpu, raw in streams.items()}
    try:
        analyse(build(replace(one.origin, name="flipped"), one.formats, pages, one.page_bytes))
    except BadInput as problem:
        assert "flipped" in str(problem)
