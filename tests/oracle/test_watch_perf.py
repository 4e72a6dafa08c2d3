"""perf.data against perf script: the same events at the same times, however they are compressed or lost."""

import re
import shutil
import subprocess
from collections import Counter
from itertools import pairwise

import pytest

from nostale.outside.zstd import stream
from nostale.watch import analyse, perfdata, read_trace
from nostale.watch.joins import Joins

LINE = re.compile(r"^ *(?P<tid>-?\d+) +\[(?P<cpu>\d+)\] +(?P<s>\d+)\.(?P<ns>\d{9}): +(?P<event>[\w]+:[\w]+): ")
EVENTS = ("sched:sched_switch", "sched:sched_waking", "raw_syscalls:sys_enter", "csd:csd_queue_cpu")


def script(path):
    if shutil.which("perf") is None:
        pytest.skip("perf is not installed (Debian package linux-perf)")
    command = ["perf", "script", "--ns", "-F", "tid,cpu,time,event", "-i", str(path)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = [LINE.match(line) for line in out.splitlines()]
    assert all(found)
    return [(int(m["s"]) * 10**9 + int(m["ns"]), int(m["cpu"]), m["event"].split(":")[1], int(m["tid"])) for m in found]


def ours(trace):
    names = {number: one.name for number, one in trace.formats.by_id.items()}
    kinds = [names[one] for one in trace.type.tolist()]
    rows = zip(trace.ts.tolist(), trace.cpu.tolist(), kinds, trace.pid.tolist())
    return [row for row in rows if row[2] != "kernel_stack"]


def same_events(path, trace):
    said, told = script(path), ours(trace)
    assert Counter(one[:3] for one in told) == Counter(one[:3] for one in said)
    # Of a thread that is just dying perf has no id any more: the event itself still has.
    assert not Counter(one for one in said if one[3] != -1) - Counter(told)


def same_without_a_compiler(path, trace, monkeypatch):
    monkeypatch.setattr(perfdata, "library", lambda **_: None)
    slow = read_trace(path)
    for column in ("ts", "cpu", "pid", "type", "size", "word", "raw"):
        assert (getattr(slow, column) == getattr(trace, column)).all(), column
    assert (slow.lost, slow.table.total) == (trace.lost, trace.table.total)


def record(tmp_path, *options, events=EVENTS, load=("sleep", "0.1")):
    if shutil.which("perf") is None:
        pytest.skip("perf is not installed (Debian package linux-perf)")
    path = tmp_path / "perf.data"
    named = [word for event in events for word in ("-e", event)]
    done = subprocess.run(
        ["perf", "record", "-q", "-a", "-k", "mono", "-o", str(path), *options, *named, "--", *load],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"perf may not record here: {done.stderr.strip().splitlines()[-1:]}")
    return path


@pytest.mark.live
@pytest.mark.parametrize("options", [(), ("-z",), ("-g",)])
def test_events_are_those_of_perf_script(tmp_path, monkeypatch, options):
    path = record(tmp_path, *options)
    trace = read_trace(path)
    same_events(path, trace)
    assert trace.origin.clock == "mono"
    same_without_a_compiler(path, trace, monkeypatch)
    if "-g" in options:
        joins = Joins(trace)
        assert any("try_to_wake_up" in joins.stack(row) for row in trace.rows("sched_waking").tolist())
    if "-z" in options:
        seen = []
        monkeypatch.setattr(perfdata.zstd, "stream", lambda where: seen.append(where) or stream(where))
        read_trace(path)
        assert seen, "nothing was compressed"


@pytest.mark.live
def test_lost_records_are_gaps(tmp_path):
    """A ring of one page and a flood of system calls: perf says how many it lost, and so do we."""
    flood = ("sh", "-c", "dd if=/dev/zero of=/dev/null bs=1 count=200000 2>/dev/null")
    path = record(tmp_path, "-m", "1", events=("raw_syscalls:sys_enter", "raw_syscalls:sys_exit"), load=flood)
    dump = subprocess.run(["perf", "script", "-D", "-i", str(path)], capture_output=True, text=True, check=False).stdout
    # In time order, as perf tells them; in the file those of each CPU stand together.
    told = re.findall(r"^(\d+) (\d+) 0x.*PERF_RECORD_LOST: .*lost:(\d+)", dump, re.M)
    placed = sorted((int(cpu), int(ts), int(count)) for cpu, ts, count in told)
    if not placed:
        pytest.skip("nothing was lost")
    trace = read_trace(path)
    same_events(path, trace)
    assert sorted((one.cpu, one.before_ns, one.count) for one in trace.lost if one.before_ns < 1 << 61) == placed
    names = {one[:2] for one in ours(trace)}
    for gap in trace.lost:
        assert gap.after_ns <= gap.before_ns
        assert gap.after_ns < 0 or (gap.after_ns, gap.cpu) in names
    assert analyse(trace).coverage["events_lost"] >= sum(count for _, _, count in placed)


@pytest.mark.shared
def test_the_shared_recording_is_read_as_perf_script_reads_it(shared, tmp_path, monkeypatch):
    if shutil.which("unzstd") is None:
        pytest.skip("unzstd is not installed")
    path = tmp_path / "medium.perf.data"
    packed = shared / "data/watch/medium.perf.data.zst"
    subprocess.run(["unzstd", "-q", str(packed), "-o", str(path)], check=True)
    trace = read_trace(path)
    same_events(path, trace)
    assert all(first <= second for first, second in pairwise(trace.ts[:10000].tolist()))
    same_without_a_compiler(path, trace, monkeypatch)
