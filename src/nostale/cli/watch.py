"""nostale watch: who interrupted a CPU and why, in a recording or live."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nostale.cli.common import output_options, progress, render
from nostale.contract import Answer, BadInput
from nostale.systems.catalogue import SYSTEMS

if TYPE_CHECKING:
    from nostale.watch import TraceMonitor

LIVE = "live"
_SECONDS = 10.0
_MOST_CPUS = 1 << 13


@click.command()
@click.argument("trace", default=LIVE, metavar="[TRACE|live]")
@click.option("--cpu", "cpus", metavar="LIST", help="Watch these CPUs, such as 1 or 2-5,8. Default: all.")
@click.option("--pid", type=click.IntRange(1), help="Only interruptions of this thread.")
@click.option(
    "--seconds", type=click.FloatRange(0.1, 86400), default=_SECONDS, show_default=True, help="Watch live this long."
)
@click.option("--own/--no-own", default=True, help="List the tasks' own system calls and page faults too.")
@output_options
def watch(
    trace: str, cpus: str | None, pid: int | None, seconds: float, own: bool, form: str, output: Path | None, color: str
) -> int:
    """Name every interruption of the watched CPUs with its cause, in a trace.dat recording or on this machine.

    \b
    nostale watch trace.dat --cpu 1            a recording by trace-cmd (clock mono)
    nostale watch live --cpu 1 --seconds 5     this machine; needs root and tracefs
    """
    listed = None if cpus is None else cpu_list(cpus)
    if trace == LIVE:
        answer = watch_live(seconds, listed, pid=pid, own=own)
    else:
        answer = watch_recording(Path(trace), listed, pid=pid, own=own)
    return render(answer, form, output, color)


def watch_recording(
    path: Path, cpus: tuple[int, ...] | None = None, *, pid: int | None = None, own: bool = True
) -> Answer:
    """Analyse a recording."""
    from nostale.watch import analyse, needed, read_trace

    monitors = _monitors()
    with progress(f"watch {path}") as tell:
        trace = read_trace(path, needed(monitors), fold_calls=not own)
        return analyse(trace, cpus, monitors, pid=pid, own=own, progress=tell)


def watch_live(
    seconds: float, cpus: tuple[int, ...] | None = None, *, pid: int | None = None, own: bool = True
) -> Answer:
    """Watch this machine.

    Raises:
        NotPermitted, NotHere: tracing is not to be had.
    """
    from nostale.watch import analyse
    from nostale.watch import watch_live as record

    with progress("watching this machine") as tell:
        return analyse(record(seconds, cpus, progress=tell), cpus, _monitors(), pid=pid, own=own, progress=tell)


def _monitors() -> list[TraceMonitor]:
    return [monitor for system in SYSTEMS for monitor in system.monitors()]


def cpu_list(text: str) -> tuple[int, ...]:
    """Read a list of CPUs as the kernel writes them.

    >>> cpu_list("1,4-6")
    (1, 4, 5, 6)

    Raises:
        BadInput: it is not such a list.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise BadInput(f"--cpu {text}", f"{part!r} is not a CPU or a range of them", remedy="such as --cpu 1,4-6")
        low, high = int(first), int(last or first)
        if high < low or high >= _MOST_CPUS:
            raise BadInput(f"--cpu {text}", f"{part!r} is no range of CPUs", remedy="such as --cpu 1,4-6")
        found.update(range(low, high + 1))
    return tuple(sorted(found))
