"""Many interruptions: what they have in common held once, their times as columns, each made when it is looked at."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from operator import eq
from typing import Final, overload

from nostale.contract.interruption import Cause, Interruption, Kind, Total, WhatIf, Work

NONE: Final = -(1 << 63)  # what is not known, in a column
_COLUMNS: Final = ("which", "cpu", "pid", "start_ns", "duration_ns", "end_ns", "at_most_ns", "sent_ns")


@dataclass(frozen=True, slots=True)
class Alike:
    """What many interruptions have in common; each argument as `Interruption` has it, the cause without its time."""

    kind: Kind
    cause: Cause
    remedy: str
    source: str = ""
    what_if: tuple[WhatIf, ...] = ()


@dataclass(frozen=True, slots=True)
class Sum:
    """Interruptions that are alike.

    Args:
        count: how many.
        total_ns: of those whose duration is known.
        worst_ns: the longest of those, None where none is known.
        open: how many have no known duration.
    """

    count: int
    total_ns: int
    worst_ns: int | None
    open: int

    def __add__(self, other: Sum) -> Sum:
        known = [one for one in (self.worst_ns, other.worst_ns) if one is not None]
        return Sum(
            self.count + other.count,
            self.total_ns + other.total_ns,
            max(known, default=None),
            self.open + other.open,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Breaks(Sequence[Interruption]):
    """Interruptions in order of start, then of CPU.

    Args:
        alike: what some of them have in common, each once; every one of it is used.
        tasks: thread id to comm.
        which: of each interruption its entry in `alike`.
        cpu, pid, start_ns, duration_ns, end_ns, at_most_ns, sent_ns: of each, `sent_ns` of its cause; NONE where it is
            not known. Columns of one length, of numbers as Python has them.
        summed: the sum of those that are alike, for each entry of `alike`.
    """

    alike: Sequence[Alike]
    tasks: Mapping[int, str]
    which: Sequence[int]
    cpu: Sequence[int]
    pid: Sequence[int]
    start_ns: Sequence[int]
    duration_ns: Sequence[int]
    end_ns: Sequence[int]
    at_most_ns: Sequence[int]
    sent_ns: Sequence[int]
    summed: Sequence[Sum]

    @classmethod
    def of(cls, interruptions: Iterable[Interruption]) -> Breaks:
        """Return the same interruptions as columns."""
        alike: dict[Alike, int] = {}
        tasks: dict[int, str] = {}
        columns = {name: array("q") for name in _COLUMNS}
        for one in interruptions:
            key = Alike(one.kind, one.cause.at(None), one.remedy, one.source, one.what_if)
            which, sent_ns = alike.setdefault(key, len(alike)), one.cause.sent_ns
            values = (which, one.cpu, one.pid, one.start_ns, one.duration_ns, one.end_ns, one.at_most_ns, sent_ns)
            for column, value in zip(columns.values(), values):
                column.append(NONE if value is None else value)
            tasks[columns["pid"][-1]] = one.task
        summed = sums(columns["which"], columns["duration_ns"], len(alike))
        return cls(tuple(alike), tasks, **columns, summed=summed)

    def __len__(self) -> int:
        return len(self.which)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Breaks) and len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]  # as of other long lists

    @overload
    def __getitem__(self, at: int) -> Interruption: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Interruption, ...]: ...
    def __getitem__(self, at: int | slice) -> Interruption | tuple[Interruption, ...]:
        if isinstance(at, slice):
            return tuple(self[one] for one in range(len(self))[at])
        return self.made(*(column[at] for column in self._columns()))

    def __iter__(self) -> Iterator[Interruption]:
        return map(self.made, *self._columns())

    def rows(self) -> Iterator[tuple[int, ...]]:
        """Yield of each interruption which, cpu, pid, start_ns, duration_ns, end_ns, at_most_ns and sent_ns."""
        return zip(*self._columns())

    def _columns(self) -> tuple[Sequence[int], ...]:
        return tuple(getattr(self, name) for name in _COLUMNS)

    def made(
        self,
        which: int,
        cpu: int,
        pid: int,
        start_ns: int,
        duration_ns: int,
        end_ns: int,
        at_most_ns: int,
        sent_ns: int,
    ) -> Interruption:
        """Return the interruption of one row."""
        alike = self.alike[which]
        return Interruption(
            cpu,
            start_ns,
            None if duration_ns == NONE else duration_ns,
            alike.kind,
            alike.cause if sent_ns == NONE else alike.cause.at(sent_ns),
            alike.remedy,
            self.tasks.get(pid, ""),
            None if pid == NONE else pid,
            None if at_most_ns == NONE else at_most_ns,
            alike.source,
            alike.what_if,
            None if end_ns == NONE else end_ns,
        )

    def sums(self) -> tuple[tuple[Alike, Sum], ...]:
        """Return what some have in common, each with their sum."""
        return tuple(zip(self.alike, self.summed))

    def longest(self, most: int) -> tuple[Interruption, ...]:
        """Return the longest, at most so many, the first ones first where they are as long; the rest do not count."""
        lengths = self.duration_ns
        least = max(0, min(nlargest(most, lengths), default=0))
        # One of unknown length counts as one of 0.
        enough = [at for at, length in enumerate(lengths) if length >= least] if least else range(len(lengths))
        return tuple(self[at] for at in sorted(enough, key=lambda at: -max(0, lengths[at]))[:most])


def sums(which: Sequence[int], lengths_ns: Sequence[int], many: int) -> tuple[Sum, ...]:
    """Sum durations up by the group that each is of, of which there are `many`."""
    count, total, worst, unknown = ([0] * many for _ in range(4))
    for group, length in zip(which, lengths_ns):
        count[group] += 1
        if length == NONE:
            unknown[group] += 1
        else:
            total[group] += length
            if length > worst[group]:
                worst[group] = length
    known = zip(count, total, worst, unknown)
    return tuple(Sum(n, sum_, high if n > open_ else None, open_) for n, sum_, high, open_ in known)


def totals(breaks: Breaks) -> tuple[Total, ...]:
    """Sum interruptions up by cause, the one that cost most first, then by count and name."""
    sums: dict[Work, Sum] = {}
    remedies: dict[Work, set[tuple[str, str]]] = {}
    for alike, one in breaks.sums():
        work = alike.cause.kind
        sums[work] = sums[work] + one if work in sums else one
        remedies.setdefault(work, set()).update([(alike.remedy, alike.source)] if alike.remedy else [])
    made = [
        Total(work, one.count, one.total_ns, one.worst_ns, one.open, tuple(sorted(remedies[work])))
        for work, one in sums.items()
    ]
    return tuple(sorted(made, key=lambda one: (-one.total_ns, -one.count, one.cause)))
