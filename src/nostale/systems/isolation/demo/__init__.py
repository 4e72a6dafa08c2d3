"""A recording of the project's own, for machines that may not be traced.

It shows a thread spinning on CPU 1 of a small virtual machine (Linux 6.18, x86-64) while a thread on CPU 0 provokes it
by membarrier, mprotect, a signal, kernel text patches and a wake-up; `recording.json` says when. Both are made anew by
`python tests/watch/recorder.py src/nostale/systems/isolation/demo/recording.dat`.
"""

from __future__ import annotations

from pathlib import Path

WATCHED_CPU = 1


def recording() -> Path:
    """Return where the recording is."""
    return Path(__file__).with_name("recording.dat")
