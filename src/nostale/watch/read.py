"""Reads a recording of whatever format: told by its first bytes, never by its name."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from nostale.watch import ftrace, perfdata, tracedat
from nostale.watch.trace import Trace

_START = 4096


def read_trace(
    path: Path, wanted: Collection[str] | None = None, *, fold_calls: bool = False, kallsyms: Path | None = None
) -> Trace:
    """Read a recording.

    Args:
        wanted: names of the events to keep; None keeps all.
        fold_calls: count system calls in which nothing happened instead of keeping them, see `build`.
        kallsyms: a copy of the recorded machine's /proc/kallsyms, for a recording without symbols.

    Raises:
        BadInput: no such file, a format that is not read, cut or damaged.
    """
    with tracedat.open_file(path) as file:
        start = file.read(0, min(_START, file.size))
    if start.startswith(perfdata.MAGIC):
        return perfdata.read_perf(path, wanted, kallsyms=kallsyms)
    if ftrace.looks_like_text(start):
        return ftrace.read_text(path, wanted)
    return tracedat.read_dat(path, wanted, fold_calls=fold_calls)
