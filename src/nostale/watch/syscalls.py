"""Names of system calls by number, from the small table beside this file."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path


@functools.cache
def syscall_numbers(machine: str) -> Mapping[str, int]:
    """Return name to number, the inverse of `syscall_names`."""
    return {name: number for number, name in syscall_names(machine).items()}


@functools.cache
def syscall_names(machine: str) -> Mapping[int, str]:
    """Return number to name for `machine` as uname says it; empty for one without a table.

    >>> syscall_names("x86_64")[324], syscall_names("m68k")
    ('membarrier', {})
    """
    if machine != "x86_64":
        return {}
    table = Path(__file__).with_name("syscalls_x86_64.txt").read_text(encoding="utf-8")
    rows = (line.split() for line in table.splitlines() if not line.startswith("#"))
    return {int(number): name for number, name in rows}
