"""Whether events were lost between two times: asked of millions of pairs, in recordings with thousands of gaps."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from nostale.watch.ring import Ints, Lost

_NEVER = -(1 << 63)


class Losses:
    """The gaps of a recording.

    Attributes:
        after, reach: of all CPUs' gaps, ordered by the time after which they begin, that time, and the latest time
            before which one of those so far ends: `(n,) int64`, ns.

    Cost: O(n log n) once, then O(log n) a question.
    """

    def __init__(self, lost: Iterable[Lost]) -> None:
        of_cpu: dict[int | None, list[tuple[int, int]]] = defaultdict(list)
        for one in lost:
            of_cpu[one.cpu].append((one.after_ns, one.before_ns))
            of_cpu[None].append((one.after_ns, one.before_ns))
        self._of_cpu = {cpu: _ordered(gaps) for cpu, gaps in of_cpu.items()}
        self.after, self.reach = self._of_cpu.get(None, _ordered([]))

    def between(self, cpu: int | None, start_ns: int, end_ns: int) -> bool:
        """Whether events of `cpu` (None: any) in [start_ns, end_ns] may have been lost.

        >>> losses = Losses([Lost(1, 10, 20, None), Lost(1, 12, 14, None)])
        >>> losses.between(1, 15, 16), losses.between(1, 21, 30), losses.between(0, 15, 16), losses.between(None, 0, 10)
        (True, False, False, True)
        """
        known = self._of_cpu.get(cpu)
        if known is None:
            return False
        after, reach = known
        at = bisect_right(after.data, end_ns)
        return at > 0 and bool(reach[at - 1] >= start_ns)

    def each(self, start_ns: Ints, end_ns: Ints, cpus: NDArray[np.integer] | None = None) -> NDArray[np.bool_]:
        """Say the same of many: `(n,)` each; without `cpus` of any CPU."""
        lost = np.zeros(len(start_ns), bool)
        for cpu, (after, reach) in self._of_cpu.items():
            if (cpu is None) != (cpus is None):
                continue
            mine = slice(None) if cpus is None else cpus == cpu
            at = np.searchsorted(after, end_ns[mine], side="right")
            lost[mine] = np.append(_NEVER, reach)[at] >= start_ns[mine]
        return lost


def _ordered(gaps: list[tuple[int, int]]) -> tuple[Ints, Ints]:
    after, before = np.array(sorted(gaps), np.int64).reshape(-1, 2).T
    return np.ascontiguousarray(after), np.maximum.accumulate(before)
