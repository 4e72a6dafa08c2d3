"""Reader and writer against trace-cmd: the same events with the same fields, and a file it can read."""

import re
import shutil
import subprocess
from collections import Counter
from itertools import dropwhile
from pathlib import Path

import numpy as np
import pytest

from nostale.watch import analyse, read_trace

DEMO = Path(__file__).parents[2] / "src/nostale/systems/isolation/demo/recording.dat"
LINE = re.compile(
    r"^(?:\S+:)? *(?P<comm>.+)-(?P<pid>\d+) +\[(?P<cpu>\d+)\] +(?P<s>\d+)\.(?P<ns>\d{9}): "
    r"(?P<event>\w+): +(?P<rest>.*)$"
)


def report(path):
    if shutil.which("trace-cmd") is None:
        pytest.skip("trace-cmd is not installed")
    out = subprocess.run(["trace-cmd", "report", "-t", str(path)], capture_output=True, text=True, check=True).stdout
    return [found for line in out.splitlines() if (found := LINE.match(line))]


def rows(lines):
    return [(int(m["s"]) * 10**9 + int(m["ns"]), int(m["cpu"]), int(m["pid"]), m["event"]) for m in lines]


def ours(trace):
    names = {number: one.name for number, one in trace.formats.by_id.items()}
    kinds = [names[one] for one in trace.type.tolist()]
    return list(zip(trace.ts.tolist(), trace.cpu.tolist(), trace.pid.tolist(), kinds))


def same_events(path):
    trace, lines = read_trace(path), report(path)
    assert Counter(rows(lines)) == Counter(ours(trace))
    return trace, lines


def test_trace_cmd_reads_what_we_write():
    same_events(DEMO)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["membarrier_sync_core", "signal"])
def test_events_are_those_of_trace_cmd(shared, name):
    same_events(shared / f"data/watch/{name}.dat")


@pytest.mark.shared
@pytest.mark.parametrize("how", [("--file-version", "6"), ("--compression", "none"), ("--compression", "zstd")])
def test_every_form_of_trace_dat_is_read(shared, tmp_path, how):
    if shutil.which("trace-cmd") is None:
        pytest.skip("trace-cmd is not installed")
    path = shared / "data/watch/timer.dat"
    command = ["trace-cmd", "convert", "-i", str(path), "-o", str(tmp_path / "x.dat"), *how]
    subprocess.run(command, capture_output=True, check=True)
    trace, _ = same_events(tmp_path / "x.dat")
    assert analyse(trace, [1]).breaks == analyse(read_trace(path), [1]).breaks


@pytest.mark.shared
@pytest.mark.parametrize("name", ["mprotect", "bpf_load"])
def test_fields_are_those_of_trace_cmd(shared, name):
    trace, lines = same_events(shared / f"data/watch/{name}.dat")
    at = {row: m["rest"] for row, m in zip(rows(lines), lines)}
    symbol = trace.origin.symbols.name
    queued = trace.rows("csd_queue_cpu")
    assert queued.size
    for row in queued.tolist():
        cpu, callsite, func, csd = (
            int(trace.field(np.array([row]), "csd_queue_cpu", f)[0]) for f in ("cpu", "callsite", "func", "csd")
        )
        said = at[(int(trace.ts[row]), int(trace.cpu[row]), int(trace.pid[row]), "csd_queue_cpu")]
        assert re.fullmatch(
            rf"cpu={cpu} callsite={symbol(callsite)}\+0x[0-9a-f]+ func={symbol(func)} csd={csd:#x}", said
        )
    for row in trace.rows("sched_switch").tolist():
        said = at[(int(trace.ts[row]), int(trace.cpu[row]), int(trace.pid[row]), "sched_switch")]
        prev, to = (trace.text(row, "sched_switch", f) for f in ("prev_comm", "next_comm"))
        to_pid = int(trace.field(np.array([row]), "sched_switch", "next_pid")[0])
        assert said.startswith(f"{prev}:{int(trace.pid[row])} [") and f"==> {to}:{to_pid} [" in said


@pytest.mark.shared
def test_stacks_are_those_of_trace_cmd(shared):
    path = shared / "data/watch/mprotect.dat"
    trace = read_trace(path)
    if shutil.which("trace-cmd") is None:
        pytest.skip("trace-cmd is not installed")
    out = subprocess.run(["trace-cmd", "report", "-t", str(path)], capture_output=True, text=True, check=True).stdout
    said = [tuple(re.findall(r"^=> (\S+) \(", block, re.M)) for block in re.split(r"kernel_stack: .*\n", out)[1:]]
    stacks = trace.rows("kernel_stack")
    assert len(said) == stacks.size
    told = sorted(trace.stack(int(row)) for row in stacks)
    assert told == sorted(tuple(dropwhile(lambda one: one.startswith("trace_event_"), frames)) for frames in said)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["mprotect", "signal", "workqueue", "text_poke"])
def test_the_text_that_trace_cmd_prints_tells_the_same(shared, tmp_path, name):
    """To the nanosecond (-t) the breaks are the same; rounded to the microsecond, as many of each kind and cause."""
    if shutil.which("trace-cmd") is None:
        pytest.skip("trace-cmd is not installed")
    path = shared / f"data/watch/{name}.dat"
    told = analyse(read_trace(path), [1]).breaks
    for option in (["-t"], []):
        command = ["trace-cmd", "report", *option, "-i", str(path)]
        text = subprocess.run(command, capture_output=True, check=True).stdout
        (tmp_path / "x.txt").write_bytes(text)
        trace = read_trace(tmp_path / "x.txt")
        assert not trace.lost
        breaks = analyse(trace, [1]).breaks
        assert Counter(one.cause.kind for one in breaks) == Counter(one.cause.kind for one in told)
        if option:
            assert [shown(one) for one in breaks] == [shown(one) for one in told]


def shown(one):
    cause = one.cause
    return (
        one.cpu,
        one.start_ns,
        one.duration_ns,
        one.kind,
        one.pid,
        cause.kind,
        cause.pid,
        cause.function,
        cause.syscall,
    )
