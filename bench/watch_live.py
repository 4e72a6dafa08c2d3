"""Watching this machine: what it does to the watched CPU, what an event costs, and what kill -9 leaves behind.

Interrupts of the watched CPU are counted by /proc/interrupts over the watched phase alone, watched and not watched in
turn, with a spinner on it. The cost of an event is that of a system call which makes two (sys_enter, sys_exit), beside
trace-cmd recording the same events. What a recorder itself takes for them is the CPU time of its processes with those
calls above that without, files written. Kills come at any moment of a run, enabling and tidying up among them.

Needs root, tracefs and two CPUs.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._peers import ROOT, Row, need, report

from nostale.outside.tracefs import Instance, instance
from nostale.watch.needs import EXTRAS, NEEDS

WATCHED, PAIRS, PHASE_S = 1, 10, 2.0
KINDS = ("RES", "CAL", "IWI", "LOC")
KILLS, CALLS, CALL_ROUNDS = 50, 300_000, 7
WATCH = """
import sys
from nostale.watch import watch_live
watch_live({seconds}, [{cpu}], ready=lambda: print("on", flush=True))
"""
# Tells what it took while it recorded, and what until the file was written.
RECORD = """
import resource, sys
from pathlib import Path
from nostale.watch import save, watch_live
def spent():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
told = []
def ready():
    told.append(spent())
    print("on", flush=True)
def over():
    if Path(sys.argv[1]).exists():
        told.append(spent())
    return len(told) > 1
trace = watch_live(600, [{cpu}], ready=ready, until=over)
save(trace, Path(sys.argv[2]))
print(told[1] - told[0], spent() - told[0])
"""
# What is counted is read by the recorder itself, just after the phase begins and just before it ends.
COUNTED = """
import json, sys, time
from pathlib import Path
def counts():
    lines = (line.split() for line in Path("/proc/interrupts").read_text().splitlines())
    return {{line[0][:-1]: int(line[{cpu} + 1]) for line in lines if line[0][:-1] in {kinds}}}
told = []
def ready():
    told.append((time.monotonic(), counts()))
def over():
    if time.monotonic() - told[0][0] < {seconds}:
        return False
    told.append((time.monotonic(), counts()))
    return True
if sys.argv[1] == "watched":
    from nostale.watch import watch_live
    watch_live(60, [{cpu}], ready=ready, until=over)
else:
    import os
    os.sched_setaffinity(0, os.sched_getaffinity(0) - {{{cpu}}})
    ready()
    while not over():
        time.sleep(0.2)
print(json.dumps({{name: told[1][1][name] - told[0][1][name] for name in told[0][1]}}))
"""


def main() -> None:
    need("trace-cmd", "gcc", "taskset")
    if len(os.sched_getaffinity(0)) < 2 or os.geteuid() != 0:
        sys.exit("needs root and two CPUs")
    report("watch_live", [*interrupts(), *cost(), *recorders(), *kills()])


def interrupts() -> list[Row]:
    """Interrupts of the watched CPU in a phase, medians; the ratio is that of the spreads' middles."""
    code = COUNTED.format(cpu=WATCHED, kinds=KINDS, seconds=PHASE_S)
    told: dict[str, list[dict[str, int]]] = {"watched": [], "alone": []}
    with subprocess.Popen(["taskset", "-c", str(WATCHED), sys.executable, "-c", "while True: pass"]) as spinner:
        for _ in range(PAIRS):
            for how, results in told.items():
                done = subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True)
                results.append(json.loads(done.stdout))
        spinner.kill()
    rows = []
    for kind in KINDS:
        watched, alone = ([one.get(kind, 0) for one in told[how]] for how in ("watched", "alone"))
        spread = f"{min(watched)}-{max(watched)}, alone {min(alone)}-{max(alone)}"
        ours, peer = statistics.median(watched), statistics.median(alone)
        rows.append(Row(f"{kind} in {PHASE_S:g} s", spread, ours, peer, "not watched", "count", ratio(peer, ours)))
    return rows


def cost() -> list[Row]:
    """ns a traced event, above what the call costs untraced."""
    with tempfile.TemporaryDirectory(prefix="nostale-bench-") as directory:
        calls = Path(directory, "calls")
        subprocess.run(["gcc", "-O1", "-o", calls, ROOT / "bench" / "calls.c"], check=True)
        ways = {"off": called, "nostale": under_nostale, "bare instance, read by nobody": under_bare_instance}
        if under_trace_cmd(calls) is None:
            print("trace-cmd record may not trace here: it is not compared with", file=sys.stderr)
        else:
            ways["trace-cmd record"] = under_trace_cmd
        results: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(CALL_ROUNDS):
            for name, way in ways.items():
                results[name].append(way(calls))
    each = {name: (statistics.median(took) - statistics.median(results["off"])) / 2 for name, took in results.items()}
    ours = each.pop("nostale")
    each.pop("off")
    return [
        Row("cost of an event", "getppid", round(ours, 1), round(peer, 1), name, "ns", ratio(peer, ours))
        for name, peer in each.items()
    ]


def called(calls: Path) -> float:
    return float(subprocess.run([calls, str(WATCHED), str(CALLS)], capture_output=True, text=True, check=True).stdout)


def under_nostale(calls: Path) -> float:
    with subprocess.Popen(
        [sys.executable, "-c", WATCH.format(seconds=60, cpu=WATCHED)], stdout=subprocess.PIPE, text=True
    ) as watch:
        assert watch.stdout is not None and watch.stdout.readline() == "on\n"
        took = called(calls)
        watch.terminate()
    return took


def under_bare_instance(calls: Path) -> float:
    """The same events without a filter and without a reader: less than any recorder can cost."""
    with instance() as ours:
        ours.write("trace_clock", "mono")
        for system, event in had(ours):
            ours.write(f"events/{system}/{event}/enable", "1")
        return called(calls)


def under_trace_cmd(calls: Path) -> float | None:
    name = f"bench-{os.getpid()}"
    command = [*trace_cmd(calls.with_name("trace.dat"), name), "-F", str(calls), str(WATCHED), str(CALLS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if (instances() / name).is_dir():  # it is refused after it made one
        (instances() / name).rmdir()
    found = re.search(r"^\d+\.\d\d$", done.stdout, re.M)
    return float(found[0]) if found and not done.returncode else None


def trace_cmd(output: Path, name: str) -> list[str]:
    with instance() as ours:
        events = [word for system, event in had(ours) for word in ("-e", f"{system}:{event}")]
    return ["trace-cmd", "record", "-q", "-B", name, "-C", "mono", *events, "-o", str(output)]


def recorders() -> list[Row]:
    """CPU time that the recorder took, above what it takes where nothing happens; medians, us a traced event."""
    with tempfile.TemporaryDirectory(prefix="nostale-bench-") as directory:
        calls = Path(directory, "calls")
        subprocess.run(["gcc", "-O1", "-o", calls, ROOT / "bench" / "calls.c"], check=True)
        if under_trace_cmd(calls) is None:
            return []  # said by cost()
        taken: dict[str, list[float]] = {"recording": [], "with the file": [], "trace-cmd": []}
        for _ in range(CALL_ROUNDS):
            quiet, busy = nostale_takes(calls, 1), nostale_takes(calls, CALLS)
            taken["recording"].append(busy[0] - quiet[0])
            taken["with the file"].append(busy[1] - quiet[1])
            taken["trace-cmd"].append(trace_cmd_takes(calls, CALLS) - trace_cmd_takes(calls, 1))
    each = {what: statistics.median(took) * 1e6 / (2 * CALLS) for what, took in taken.items()}
    peer = each.pop("trace-cmd")
    return [
        Row("recorder's CPU time", what, round(ours, 2), round(peer, 2), "trace-cmd record", "us", ratio(peer, ours))
        for what, ours in each.items()
    ]


def nostale_takes(calls: Path, count: int) -> tuple[float, float]:
    """CPU seconds of our recorder since it began: while it records, and until the file is written."""
    stop = calls.with_name("stop")
    stop.unlink(missing_ok=True)
    command = [sys.executable, "-c", RECORD.format(cpu=WATCHED), stop, calls.with_name("ours.dat")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None and watch.stdout.readline() == "on\n"
        subprocess.run([calls, str(WATCHED), str(count)], stdout=subprocess.DEVNULL, check=True)
        stop.touch()
        recording, written = watch.stdout.readline().split()
    return float(recording), float(written)


def trace_cmd_takes(calls: Path, count: int) -> float:
    """CPU seconds of trace-cmd and the processes that it started."""
    name = f"bench-{os.getpid()}"
    command = trace_cmd(calls.with_name("theirs.dat"), name)
    record = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    last = instances() / name / "events" / command[-3].replace(":", "/") / "enable"
    while not (last.exists() and last.read_text() == "1\n"):
        time.sleep(0.1)
    time.sleep(2)  # it tells nobody when it records
    subprocess.run([calls, str(WATCHED), str(count)], stdout=subprocess.DEVNULL, check=True)
    record.send_signal(signal.SIGINT)
    _, _, used = os.wait4(record.pid, 0)
    return used.ru_utime + used.ru_stime


def had(ours: Instance) -> list[tuple[str, str]]:
    """Return what this kernel has of the events that are recorded live, as system and event."""
    wanted = [*((event, need[0]) for event, need in NEEDS.items()), *EXTRAS.items()]
    return [(system, event) for event, system in wanted if ours.event_format(system, event)]


def kills() -> list[Row]:
    """What 50 runs that were killed at any moment left, once one more has started."""
    draw = random.Random(1)
    pids, leaving = [], 0
    before = machine()
    for _ in range(KILLS):
        watch = subprocess.Popen(
            [sys.executable, "-c", WATCH.format(seconds=0.3, cpu=WATCHED)], stdout=subprocess.DEVNULL
        )
        time.sleep(draw.uniform(0.1, 1.2))
        watch.kill()
        watch.wait()
        pids.append(watch.pid)
        leaving += bool(left([watch.pid]))
    subprocess.run([sys.executable, "-c", WATCH.format(seconds=0.1, cpu=WATCHED)], check=True, capture_output=True)
    found = left(pids)
    if not leaving:
        sys.exit("no kill left anything: the runs were not killed while they watched")
    if machine() != before:
        sys.exit(f"the machine's own tracing is not as before: {before} -> {machine()}")
    word = f"{KILLS} kills, {leaving} left something"
    return [Row("left after the next start", word, len(found), 0, "promised", "things", ratio(0, len(found)))]


def left(pids: list[int]) -> list[str]:
    """Return instances, mounts and directories of runs with these ids; starts nothing, which would tidy up."""
    names = [path.name for path in instances().iterdir()]
    names += [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    names += [path.name for path in Path(tempfile.gettempdir()).iterdir()]
    whose = {name: re.search(r"nostale-(?:tracefs-)?(\d+)-", name) for name in names}
    return [name for name, found in whose.items() if found and int(found[1]) in pids]


def instances() -> Path:
    """Return where tracing instances are, of a tracefs that is mounted for all."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    root = next((one[1] for one in mounts if one[2] == "tracefs"), None)
    if root is None:
        sys.exit("tracefs is not mounted: mount -t tracefs nodev /sys/kernel/tracing")
    return Path(root, "instances")


def machine() -> tuple[str, ...]:
    """Return the machine's own tracing_on, and the events that are on."""
    return tuple((instances().parent / name).read_text() for name in ("tracing_on", "set_event"))


def ratio(peer: float, ours: float) -> float:
    return 1.0 if peer == ours else round(peer / ours, 2) if ours else float("inf")


if __name__ == "__main__":
    main()
