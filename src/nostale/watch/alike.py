"""Every interruption of some stretches, as columns: what is told alike is asked once.

A recording has a million interruptions and a thousand causes. For each thing that ran in a stretch a key is taken, a
column at a time, that holds whatever `causes.told` looks at; one of each key is told, and the others with it. Where a
key would not say it all, the stretch is told by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ctypes import c_int64, c_void_p
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nostale.contract import Alike, Breaks, Cause, Interruption, Kind, Work
from nostale.contract.breaks import NONE as NO_TIME
from nostale.watch.causes import YIELDS, told
from nostale.watch.columns import Columns
from nostale.watch.compiled import library
from nostale.watch.joins import Joins
from nostale.watch.related import NONE
from nostale.watch.remedies import remedy
from nostale.watch.ring import Ints
from nostale.watch.stretches import CODE, Stretches
from nostale.watch.works import work_of_function

_WIDTH: Final = 9  # numbers in a key: three of the kind, six of a sender
_PARTS: Final = {  # what tells a stretch of that kind, where there is any
    Kind.TIMER: "hrtimer_expire_entry",
    Kind.IPI_CALL: "csd_function_entry",
    Kind.CONTEXT_SWITCH: "workqueue_execute_start",
}
_SENT: Final = (Kind.IPI_RESCHEDULE, Kind.IRQ_WORK)  # told by each that was sent
_SENDS: Final = ("ipi_send_cpu", "ipi_send_cpumask")


def breaks_of(stretches: Stretches, chosen: Ints, joins: Joins, others: Iterable[Interruption] = ()) -> Breaks:
    """Return one interruption for each thing that ran in the stretches at `chosen`; their durations add up to theirs.

    Args:
        others: interruptions from elsewhere that belong among them.

    Cost: O(n log n), n things that ran.
    """
    return _Told(stretches, joins).breaks(chosen, tuple(others))


@dataclass(slots=True, eq=False)
class _Items:
    """Things that ran, `(n,)` each: their stretches, the rows that tell them (-1 where the stretch itself does)."""

    of: Ints
    row: Ints
    number: Ints = field(init=False)  # in their stretch
    many: NDArray[np.bool_] = field(init=False)  # whether there are others in it
    last: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        starts = np.flatnonzero(np.append(True, self.of[1:] != self.of[:-1])) if self.of.size else self.of
        counts = np.diff(np.append(starts, len(self.of)))
        self.number = np.arange(len(self.of)) - np.repeat(starts, counts)
        self.many = np.repeat(counts, counts) > 1
        self.last = np.append(self.of[1:] != self.of[:-1], True) if self.of.size else self.of.astype(bool)


@dataclass(slots=True, eq=False)
class _Told:
    stretches: Stretches
    joins: Joins
    columns: Columns = field(init=False)
    alike: dict[tuple[Kind, Cause], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.columns = Columns(self.joins)

    def breaks(self, chosen: Ints, others: Sequence[Interruption]) -> Breaks:
        made = self.stretches.made
        items, alone = self._items(chosen)
        keys = np.zeros((len(items.of), _WIDTH), np.int64)
        alone |= self._fill(items, keys)
        by_itself = np.zeros(len(made), bool)
        by_itself[items.of[alone]] = True  # all of a stretch
        kept = ~by_itself[items.of]
        items, keys = _Items(items.of[kept], items.row[kept]), keys[kept]
        group, first = grouped(keys)
        which, sent = self._representatives(items, first)
        sent_ns = np.where(sent[group], self.columns.times(self._senders(items)), NO_TIME)
        own = made[items.of]
        begins_later = (items.number > 0) & ~np.isin(own["kind"], [CODE[kind] for kind in _SENT])
        start = np.where(begins_later, self.columns.times(items.row), own["start"])
        parts = [_Part(items.of, which[group], start, sent_ns), self._by_themselves(np.flatnonzero(by_itself))]
        return self._joined(_Part.of_all(parts), others)

    def _items(self, chosen: Ints) -> tuple[_Items, NDArray[np.bool_]]:
        """Return what ran in the stretches, and which of it is no more than its stretch told by itself."""
        stretches, trace = self.stretches, self.joins.trace
        made, kinds = stretches.made, stretches.made["kind"]
        wanted = np.zeros(len(made), bool)
        wanted[chosen] = True
        told = wanted[stretches.part_of]
        of, rows = [], []
        for kind, event in _PARTS.items():
            if not trace.has(event):
                continue
            mine = told & (kinds[stretches.part_of] == CODE[kind])
            mine[mine] = trace.type[stretches.part[mine]] == trace.formats.by_name[event].id
            if kind is Kind.IPI_CALL:
                mine[mine] = self.columns.field(stretches.part[mine], event, "csd") != 0
            of.append(stretches.part_of[mine].astype(np.int64))
            rows.append(stretches.part[mine].astype(np.int64))
        for kind in _SENT:
            sent = [(at, row) for at in chosen[kinds[chosen] == CODE[kind]].tolist() for row in self._sent(at)]
            of.append(np.array([at for at, _ in sent], np.int64))
            rows.append(np.array([row for _, row in sent], np.int64))
        have = np.zeros(len(made), bool)
        for one in of:
            have[one] = True
        bare = chosen[~have[chosen]]
        of.append(bare)
        rows.append(np.full(len(bare), NONE, np.int64))
        all_of, all_rows = np.concatenate(of), np.concatenate(rows)
        order = np.argsort(all_of, kind="stable")
        items = _Items(all_of[order], all_rows[order])
        return items, (items.row == NONE) & (made["kind"][items.of] == CODE[Kind.IPI_CALL])

    def _sent(self, at: int) -> tuple[int, ...]:
        return self.joins.sent(int(self.stretches.made["row"][at]))

    def _senders(self, items: _Items) -> Ints:
        """Return the row of who sent each thing, -1 where nobody did or that is not known."""
        made, columns = self.stretches.made[items.of], self.columns
        sender = np.full(len(items.of), NONE, np.int64)
        told = items.row != NONE
        for kind in _SENT:
            mine = told & (made["kind"] == CODE[kind])
            sender[mine] = items.row[mine]
        mine = told & (made["kind"] == CODE[Kind.IPI_CALL])
        sender[mine] = columns.csd(items.row[mine])
        mine = made["kind"] == CODE[Kind.CONTEXT_SWITCH]
        sender[mine & told] = columns.queued(items.row[mine & told])
        sender[mine & ~told] = columns.waker(made["row"][mine & ~told])
        return sender

    def _fill(self, items: _Items, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Write the key of each thing; return which of them no key tells."""
        made, columns, trace = self.stretches.made[items.of], self.columns, self.joins.trace
        alone = np.zeros(len(items.of), bool)
        keys[:, 0] = made["kind"] + (items.row == NONE) * len(CODE)
        told = items.row != NONE

        def of_kind(kind: Kind) -> NDArray[np.bool_]:
            mine: NDArray[np.bool_] = made["kind"] == CODE[kind]
            return mine

        def fill(mine: NDArray[np.bool_], *numbers: NDArray[Any], sender: Ints | None = None) -> None:
            for at, column in enumerate(numbers, 1):
                keys[mine, at] = column
            if sender is not None:
                keys[mine, 3:], unlike = columns.sender(sender)
                alone[mine] |= unlike

        mine = told & of_kind(Kind.IPI_CALL)
        fill(mine, columns.field(items.row[mine], "csd_function_entry", "func"), sender=columns.csd(items.row[mine]))
        for kind, name in zip(_SENT, ("callsite", "callback")):
            for event in _SENDS:
                mine = told & of_kind(kind)
                mine[mine] = columns.is_a(items.row[mine], event)
                fill(mine, columns.field(items.row[mine], event, name), sender=items.row[mine])
            alone |= ~told & of_kind(kind)
        mine = told & of_kind(Kind.TIMER)
        self._timers(items.row, mine, keys, alone)
        mine = told & of_kind(Kind.CONTEXT_SWITCH)
        rows = items.row[mine]
        function = columns.field(rows, "workqueue_execute_start", "function")
        fill(mine, function, sender=columns.queued(rows))
        mine = ~told & of_kind(Kind.CONTEXT_SWITCH)
        rows, waker = made["row"][mine], columns.waker(made["row"][mine])
        fill(mine, made["next_pid"][mine], sender=waker)
        alone[mine] |= (waker == NONE) | (trace.pid[rows] != made["pid"][mine]) | columns.in_call(rows, YIELDS)
        mine = of_kind(Kind.SOFTIRQ)
        fill(mine, columns.field(made["row"][mine], "softirq_entry", "vec"))
        mine = of_kind(Kind.NMI)
        fill(mine, columns.field(made["row"][mine], "nmi_handler", "handler"))
        mine = of_kind(Kind.SYSCALL)
        own = made[mine]
        fill(mine, columns.field(own["row"], "sys_enter", "id"), own["pid"].astype(np.int64) << 16 | own["cpu"])
        mine = of_kind(Kind.PAGE_FAULT)
        own = made[mine]
        fill(mine, own["pid"], own["cpu"])
        alone |= of_kind(Kind.DEVICE_IRQ)
        alone |= ~told & of_kind(Kind.TIMER)
        return alone

    def _timers(self, rows: Ints, mine: NDArray[np.bool_], keys: NDArray[np.int64], alone: NDArray[np.bool_]) -> None:
        """Write the keys of timers that expired: function, and who armed it."""
        columns, name = self.columns, self.joins.trace.origin.symbols.name
        rows = rows[mine]
        functions, which = np.unique(columns.field(rows, "hrtimer_expire_entry", "function"), return_inverse=True)
        works = [work_of_function(name(int(one) & ((1 << 64) - 1)) if one else "") for one in functions]
        ticks = np.array([work is Work.TICK for work in works], bool)[which] if works else mine[:0]
        keys[mine, 1] = functions[which].astype(np.int64) if works else 0
        alone[mine] |= ticks & self.joins.trace.has("tick_stop")
        armed = np.where(ticks, NONE, columns.armed(rows))
        keys[mine, 3:] = columns.armer(armed)

    def _representatives(self, items: _Items, first: NDArray[np.int32]) -> tuple[Ints, NDArray[np.bool_]]:
        """Tell the first of each group: its entry in `alike`, and whether its sender's time is known."""
        which, sent = np.zeros(len(first), np.int64), np.zeros(len(first), bool)
        for group, (at, number) in enumerate(zip(items.of[first].tolist(), items.number[first].tolist())):
            _, kind, cause = told(self.stretches.span(at), self.joins)[number]
            which[group], sent[group] = self._alike(kind, cause), cause.sent_ns is not None
        return which, sent

    def _by_themselves(self, chosen: Ints) -> _Part:
        """Tell stretches one by one."""
        rows = [
            (at, self._alike(kind, cause), start, NO_TIME if cause.sent_ns is None else cause.sent_ns)
            for at in chosen.tolist()
            for start, kind, cause in told(self.stretches.span(at), self.joins)
        ]
        return _Part(*np.array(rows, np.int64).reshape(-1, 4).T)

    def _alike(self, kind: Kind, cause: Cause) -> int:
        return self.alike.setdefault((kind, cause.at(None)), len(self.alike))

    def _joined(self, part: _Part, others: Sequence[Interruption]) -> Breaks:
        items, made = _Items(part.of, part.which), self.stretches.made[part.of]
        known = made["end"] != NO_TIME
        next_start = np.append(part.start[1:], 0)
        end = np.where(items.last, made["end"], next_start)
        length = np.where(items.many, end - part.start, made["end"] - made["start"] - made["nested"])
        elsewhere = Breaks.of(others)
        first = len(self.alike)
        columns = {
            "which": part.which,
            "cpu": made["cpu"],
            "pid": made["pid"],
            "start_ns": part.start,
            "duration_ns": np.where(known, np.maximum(0, length), NO_TIME),
            "end_ns": end,
            "at_most_ns": np.where(items.many, NO_TIME, made["at_most"]),
            "sent_ns": part.sent,
        }
        if others:
            more = {name: np.array(getattr(elsewhere, name), np.int64) for name in columns}
            more["which"] += first
            columns = {name: np.concatenate([column, more[name]]) for name, column in columns.items()}
        order = np.lexsort((columns["cpu"], columns["start_ns"]))
        told_alike = [Alike(kind, cause, *remedy(kind, cause.kind)) for kind, cause in self.alike]
        tasks = {pid: self.joins.comm(pid) or "" for pid in np.unique(made["pid"]).tolist()}
        return Breaks(
            (*told_alike, *elsewhere.alike),
            {**elsewhere.tasks, **tasks},
            **{name: _plain(column[order]) for name, column in columns.items()},
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Things that were told, `(n,) int64` each: stretch, entry in `alike`, start, and when it was sent."""

    of: Ints
    which: Ints
    start: Ints
    sent: Ints

    @classmethod
    def of_all(cls, parts: Sequence[_Part]) -> _Part:
        """Return them in order of their stretches."""
        of, which, start, sent = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("of", "which", "start", "sent")
        )
        order = np.argsort(of, kind="stable")
        return cls(of[order], which[order], start[order], sent[order])


def _plain(column: NDArray[Any]) -> memoryview:
    """Return a column whose elements are Python's numbers."""
    return np.ascontiguousarray(column).data


def grouped(keys: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return for each of `(n, width)` keys the number of its group, and the first of each group.

    >>> [one.tolist() for one in grouped(np.array([[7, 1], [8, 1], [7, 1]]))]
    [[0, 1, 0], [0, 1]]
    """
    lib = library(worth_compiling=False)
    if lib is None:
        return _grouped_slowly(keys)
    keys = np.ascontiguousarray(keys)
    group, first = np.empty(len(keys), np.int32), np.empty(len(keys), np.int32)
    table = np.zeros(2 << len(keys).bit_length(), np.int32)
    lib.nostale_group.restype = c_int64
    groups = lib.nostale_group(
        c_void_p(keys.ctypes.data),
        c_int64(len(keys)),
        c_int64(keys.shape[1]),
        c_void_p(table.ctypes.data),
        c_int64(len(table)),
        c_void_p(group.ctypes.data),
        c_void_p(first.ctypes.data),
    )
    return group, first[:groups]


def _grouped_slowly(keys: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    known: dict[tuple[int, ...], int] = {}
    group = np.array([known.setdefault(tuple(key), len(known)) for key in keys.tolist()], np.int32)
    first = np.zeros(len(known), np.int32)
    first[group[::-1]] = np.arange(len(keys) - 1, -1, -1)
    return group, first
