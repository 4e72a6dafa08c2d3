"""Reads a recording of whatever format: told by its first bytes, never by its name. Each format's reader is imported
when there is such a recording.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from nostale.watch.file import PERF, TRACING, open_file
from nostale.watch.trace import Trace, Wanted

_START = 4096


def read_trace(
    path: Path,
    wanted: Wanted | None = None,
    *,
    fold_but: Collection[str] | None = None,
    kallsyms: Path | None = None,
) -> Trace:
    """Read a recording.

    Args:
        wanted: the events to keep, see `needed`; None keeps all.
        fold_but: count system calls in which nothing happened instead of keeping them, but those of these names, see
            `build`; None keeps all.
        kallsyms: a copy of the recorded machine's /proc/kallsyms, for a recording without symbols.

    Raises:
        BadInput: no such file, a format that is not read, cut or damaged.
    """
    with open_file(path) as file:
        start = file.read(0, min(_START, file.size))
    if start.startswith(PERF):
        from nostale.watch.perfdata import read_perf

        return read_perf(path, wanted, fold_but=fold_but, kallsyms=kallsyms)
    if not start.startswith(TRACING):
        from nostale.watch.ftrace import looks_like_text, read_text

        if looks_like_text(start):
            return read_text(path, wanted)
    from nostale.watch.tracedat import read_dat

    return read_dat(path, wanted, fold_but=fold_but)
