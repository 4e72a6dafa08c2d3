"""Run commands side by side: CPU seconds, wall clock and peak memory of a process and of those it started."""

from __future__ import annotations

import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Spent:
    """What a command took, and what it printed."""

    cpu_s: float
    wall_s: float
    peak_bytes: int
    output: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a result; `ratio` is the peer's figure over ours."""

    promise: str
    work: str
    ours: float
    peer: float
    peer_name: str
    unit: str
    ratio: float


def run(*command: str | Path | float, where: Path, env: dict[str, str] | None = None) -> Spent:
    """Run a command to its end; one that fails ends the benchmark."""
    started = time.perf_counter()
    done = subprocess.run(
        [_launcher(), where / "spent", *map(str, command)],
        cwd=where,
        env=os.environ | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}")
    user, system, peak_kib = (where / "spent").read_text().split()
    return Spent(float(user) + float(system), wall, int(peak_kib) * 1024, done.stdout)


@functools.cache
def _launcher() -> Path:
    """Compile the small program that starts and measures the others."""
    target = ROOT / "build" / "bench" / "spent"
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["gcc", "-O1", "-o", target, Path(__file__).parent / "spent.c"], check=True)
    return target


def together(*spent: Spent) -> Spent:
    """Add up what one after the other took."""
    return Spent(
        sum(s.cpu_s for s in spent), sum(s.wall_s for s in spent), max(s.peak_bytes for s in spent), spent[-1].output
    )


def in_turn(candidates: dict[str, Callable[[], Spent]], rounds: int = ROUNDS) -> dict[str, list[Spent]]:
    """Run every candidate once, then again, so that a busy moment of the machine meets them all."""
    results: dict[str, list[Spent]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, one in candidates.items():
            results[name].append(one())
    return results


def median(spent: list[Spent], what: str) -> float:
    return statistics.median(getattr(one, what) for one in spent)


def need(*tools: str) -> None:
    """End with status 2 where a peer is not installed."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        print(f"not installed: {', '.join(missing)} (Debian packages of the same names)", file=sys.stderr)
        sys.exit(2)


def shared() -> Path:
    """The shared data, or an end with status 2."""
    place = Path(os.environ.get("NOSTALE_SHARED", ROOT.parent / "shared"))
    if not (place / "data").is_dir():
        print(f"no shared data at {place}: set NOSTALE_SHARED", file=sys.stderr)
        sys.exit(2)
    return place


def report(name: str, rows: list[Row]) -> None:
    """Print a table and write build/bench/NAME.json."""
    widths = [max(len(row.promise) for row in rows), max(len(row.work) for row in rows)]
    for row in rows:
        print(
            f"{row.promise:{widths[0]}}  {row.work:{widths[1]}}  {row.ours:>9.3f} {row.unit:12}"
            f"  {row.peer_name}: {row.peer:.3f}  ratio {row.ratio:.2f}"
        )
    target = ROOT / "build" / "bench" / f"{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps([asdict(row) for row in rows], indent=1, sort_keys=True) + "\n")
