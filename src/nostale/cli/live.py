"""Watching this machine: a flight recorder, gap samples, and a table on a terminal while it goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nostale.cli.common import note_to_user
from nostale.contract import BadInput, Interruption, Total

if TYPE_CHECKING:
    from nostale.watch import Gap, Rolling, Trace

_UNITS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_SECONDS, _FOREVER_S = 10.0, 86_400.0
_DEFAULT_RECORD = Path("nostale-break.dat")


@dataclass(frozen=True, slots=True)
class Live:
    """How this machine is watched.

    Args:
        seconds: how long, None for 10 s, or without end until there is such a break.
        until_ns: stop at the first break of so many nanoseconds, and keep what led to it.
        record: where the recording is saved; None nowhere.
        sample_gaps: let a task of ours spin on the watched CPUs and note the gaps that it sees.
        memory: record DMA mappings and IOMMUs, too.
    """

    seconds: float | None = None
    until_ns: int | None = None
    record: Path | None = None
    sample_gaps: bool = False
    memory: bool = False


@dataclass(slots=True)
class _Watcher:
    """Looks at the last seconds of a recording while it goes on."""

    rolling: Rolling
    until_ns: int | None
    show: Callable[[Sequence[Total]], None]
    found: list[Interruption] = field(default_factory=list)

    def at(self, window: Trace) -> bool:
        fresh = self.rolling.feed(window)
        self.show(self.rolling.totals())
        if self.until_ns is not None:
            self.found += [one for one in fresh if (one.duration_ns or 0) >= self.until_ns]
        return bool(self.found)


def record_live(live: Live, cpus: tuple[int, ...] | None, pid: int | None) -> tuple[Trace, tuple[Gap, ...] | None]:
    """Record this machine; return the recording, and the gap samples where there are some.

    Raises:
        NotPermitted, NotHere: tracing is not to be had.
        BadInput: gap samples without a CPU.
    """
    from nostale.watch import Look, Rolling, sampling, save, watch_live

    if live.sample_gaps and not cpus:
        raise BadInput("--sample-gaps", "needs to know where to spin", remedy="name CPUs with --cpu")
    seconds = live.seconds or (_SECONDS if live.until_ns is None else _FOREVER_S)
    sampled = sampling(cpus or ()) if live.sample_gaps else nullcontext(None)
    with sampled as gaps, _view(cpus) as (tell, show):
        watcher = _Watcher(Rolling(cpus, pid), live.until_ns, show)
        wants_look = live.until_ns is not None or sys.stderr.isatty()
        look = Look(watcher.at, flight=live.until_ns is not None) if wants_look else None
        trace = watch_live(seconds, cpus, look=look, memory=live.memory, progress=tell)
        samples = None if gaps is None else gaps()
    if live.until_ns is not None:
        trace.origin = replace(trace.origin, notes=(*trace.origin.notes, _ended(watcher, live.until_ns)))
    record = live.record or (_DEFAULT_RECORD if watcher.found else None)
    if record is not None:
        save(trace, record)
        note_to_user(f"the recording is in {record}")
    return trace, samples


def _ended(watcher: _Watcher, until_ns: int) -> str:
    if not watcher.found:
        return f"there was no break of {until_ns / 1e3:g} us"
    first = watcher.found[0]
    took = (first.duration_ns or 0) / 1e3
    return f"stopped at a break of {took:,.1f} us: {first.cause.kind} on CPU {first.cpu} at {first.start_ns} ns"


@contextmanager
def _view(cpus: tuple[int, ...] | None) -> Iterator[tuple[Callable[[str], None], Callable[[Sequence[Total]], None]]]:
    """Show a table on a terminal; no thread draws it, which would not keep off the watched CPUs as this one does."""
    if not sys.stderr.isatty():
        yield lambda text: None, lambda summed: None
        return
    from rich.console import Console
    from rich.live import Live as Drawn

    from nostale.report.live import live_table

    where = "this machine" if cpus is None else f"CPU {', '.join(map(str, cpus))}"
    said = [f"watching {where}"]
    with Drawn(console=Console(stderr=True), auto_refresh=False, transient=True) as drawn:

        def tell(text: str) -> None:
            said[0] = f"watching {where}: {text}"

        def show(summed: Sequence[Total]) -> None:
            drawn.update(live_table(summed, said[0]), refresh=True)

        yield tell, show


def duration_ns(text: str) -> int:
    """Read a length of time such as `10us`.

    >>> duration_ns("10us"), duration_ns("1.5ms")
    (10000, 1500000)

    Raises:
        click.UsageError: it is not one.
    """
    number = text.rstrip("nmus")
    unit = _UNITS.get(text[len(number) :])
    try:
        length = round(float(number) * (unit or 0))
    except (ValueError, OverflowError):
        length = 0
    if not 0 < length < 1 << 62:
        raise click.UsageError(f"--until-break {text}: not a length of time such as 10us, 2ms or 1s")
    return length
