"""watch beside trace-cmd report and perf script on recordings of millions of events: CPU, memory, the short run.

Ours is the whole way from the command line to the table: read, merge, joins, stacks, breaks and the contracts, with the
tasks' own system calls and page faults counted but not listed; once more with them, and with all of that as JSON. The
peers print the events as text and no more. What is compiled once a machine is compiled before; the very first run is by
itself.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._peers import Row, Spent, in_turn, median, need, report, run, shared

SHORT_S = 0.7  # promised for 1 MB, from start to table


def main() -> None:
    need("trace-cmd", "perf", "unzstd", "gcc")
    data = shared() / "data" / "watch"
    with tempfile.TemporaryDirectory(prefix="nostale-bench-") as directory:
        where = Path(directory)
        perf = where / "medium.perf.data"
        subprocess.run(["unzstd", "-q", str(data / "medium.perf.data.zst"), "-o", str(perf)], check=True)
        rows = compared(data / "medium.dat", "trace-cmd report", ("trace-cmd", "report", "-i"), where)
        rows += compared(perf, "perf script", ("perf", "script", "-i"), where)
        rows += short(data / "signal.dat", where)
    report("watch", rows)


def compared(trace: Path, name: str, peer: tuple[str, ...], where: Path) -> list[Row]:
    """CPU, wall clock and peak memory of both."""
    kept = cache(where, "warm")
    watch(trace, where, kept, "--no-own")  # compiles the scan, writes the bytecode
    ways: dict[str, Callable[[], Spent]] = {
        "the whole analysis": lambda: watch(trace, where, kept, "--no-own"),
        "with the tasks' own entries": lambda: watch(trace, where, kept),
        "with these, as JSON": lambda: watch(trace, where, kept, "--format", "json"),
    }
    results = in_turn({**ways, "peer": lambda: printed(peer, trace, where)})
    them, rows = results.pop("peer"), []
    for way, us in results.items():
        for one in us:
            events = re.search(r'events"?: ([\d,]+)[;,]', one.output)
            if events is None or int(events[1].replace(",", "")) < 100_000:
                sys.exit(f"{trace.name}: not the whole trace was looked at\n{one.output[-500:]}")
        rows += [
            row(f"{way}, CPU", trace.name, median(us, "cpu_s"), median(them, "cpu_s"), name, "s"),
            row(f"{way}, wall clock", trace.name, median(us, "wall_s"), median(them, "wall_s"), name, "s"),
            row(f"{way}, memory", trace.name, mib(us), mib(them), name, "MiB"),
        ]
    return rows


def short(trace: Path, where: Path) -> list[Row]:
    """A recording of 1 MB: wall clock from start to table, compiled before and on a machine that never ran it."""
    kept = cache(where, "short")
    ways: dict[str, Callable[[], Spent]] = {
        "1 MB to the table": lambda: watch(trace, where, kept, "--no-own"),
        "1 MB to the table, the first run ever": lambda: watch(trace, where, cache(where, None), "--no-own"),
    }
    results = in_turn(ways)
    return [
        row(way, trace.name, median(spent, "wall_s"), SHORT_S, "promised at most", "s")
        for way, spent in results.items()
    ]


def cache(where: Path, name: str | None) -> Path:
    """A cache directory of that name, or a fresh one."""
    if name is None:
        return Path(tempfile.mkdtemp(dir=where))
    (where / name).mkdir(exist_ok=True)
    return where / name


def watch(trace: Path, where: Path, kept: Path, *options: str) -> Spent:
    # Exit 1 and 3 are verdicts on the trace.
    command = 'set -e; "$@" -o out.txt 2>/dev/null || test $? != 2; tail -n 300 out.txt'
    nostale = Path(sys.executable).parent / "nostale"
    return run(
        "sh", "-c", command, "sh", nostale, "watch", trace, *options, where=where, env={"XDG_CACHE_HOME": str(kept)}
    )


def printed(peer: tuple[str, ...], trace: Path, where: Path) -> Spent:
    return run("sh", "-c", '"$@" > out.txt 2>/dev/null', "sh", *peer, trace, where=where)


def mib(spent: list[Spent]) -> float:
    return median(spent, "peak_bytes") / (1 << 20)


def row(promise: str, work: str, ours: float, peer: float, peer_name: str, unit: str) -> Row:
    return Row(promise, work, round(ours, 4), round(peer, 4), peer_name, unit, round(peer / ours, 2))


if __name__ == "__main__":
    main()
