"""Reads a recording of whatever format: told by its first bytes, never by its name."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from nostale.watch import tracedat
from nostale.watch.trace import Trace


def read_trace(path: Path, wanted: Collection[str] | None = None, *, fold_calls: bool = False) -> Trace:
    """Read a recording.

    Args:
        wanted: names of the events to keep; None keeps all.
        fold_calls: count system calls in which nothing happened instead of keeping them, see `build`.

    Raises:
        BadInput: no such file, a format that is not read, cut or damaged.
    """
    return tracedat.read_dat(path, wanted, fold_calls=fold_calls)
