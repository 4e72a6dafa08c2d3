"""What happened lately, while a recording goes on: each interruption told once, and sums of them by cause."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from nostale.contract import Interruption, Total, Work
from nostale.watch.analyse import analyse
from nostale.watch.trace import Trace

Key = tuple[int, int, str, str | None]


@dataclass(slots=True)
class Rolling:
    """Interruptions as windows of a recording come by, each overlapping the one before.

    Args:
        cpus: the watched CPUs, None for all.
        pid: one thread only.
    """

    cpus: Sequence[int] | None = None
    pid: int | None = None
    _seen: set[Key] = field(default_factory=set)
    _sums: dict[Work, list[int]] = field(default_factory=dict)  # count, sum, longest

    def feed(self, window: Trace) -> tuple[Interruption, ...]:
        """Return the interruptions of a window that ended in it and were not told before.

        The tasks' own kernel entries are left out: nobody broke in.
        """
        if not len(window):
            return ()
        told = analyse(window, self.cpus, pid=self.pid, own=False).breaks or ()
        breaks = [one for one in told if one.duration_ns is not None]
        fresh = tuple(one for one in breaks if _key(one) not in self._seen)
        self._seen = {_key(one) for one in breaks}
        self._add(fresh)
        return fresh

    def totals(self) -> tuple[Total, ...]:
        """Return the sums so far, the cause that cost most first."""
        made = [Total(work, count, total, worst, 0, ()) for work, (count, total, worst) in self._sums.items()]
        return tuple(sorted(made, key=lambda one: (-one.total_ns, one.cause)))

    def _add(self, breaks: Iterable[Interruption]) -> None:
        for one in breaks:
            sums = self._sums.setdefault(one.cause.kind, [0, 0, 0])
            length = one.duration_ns or 0
            sums[0] += 1
            sums[1] += length
            sums[2] = max(sums[2], length)


def _key(one: Interruption) -> Key:
    return (one.cpu, one.start_ns, str(one.kind), one.cause.function)
