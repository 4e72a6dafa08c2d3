"""Every interruption of some stretches, as columns: what is told alike is asked once.

A recording has a million interruptions and a thousand causes: of those whose keys are the same one is told, and the
others with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nostale.contract import Alike, Breaks, Cause, Interruption, Kind, Sum
from nostale.contract.breaks import NONE as NO_TIME
from nostale.watch.causes import told
from nostale.watch.columns import Columns
from nostale.watch.group import grouped
from nostale.watch.joins import Joins
from nostale.watch.keys import SENT, TURN, Items, Keys, items_of
from nostale.watch.related import NONE
from nostale.watch.remedies import remedy
from nostale.watch.ring import Ints
from nostale.watch.stretches import CODE, Stretches
from nostale.watch.threads import last_of_each

_AT_ONCE: Final = 1 << 17  # stretches: so that the memory for keys does not grow with the recording
_KEPT: Final = ("cpu", "pid", "start", "end", "nested", "at_most")  # of a stretch, for what ran in it


def breaks_of(stretches: Stretches, chosen: Ints, joins: Joins, others: Iterable[Interruption] = ()) -> Breaks:
    """Return one interruption for each thing that ran in the stretches at `chosen`; their durations add up to theirs.

    Args:
        others: interruptions from elsewhere that belong among them.

    Cost: O(n log n), n things that ran.
    """
    return _Teller(stretches, joins).breaks(chosen, tuple(others))


@dataclass(slots=True, eq=False)
class _Teller:
    """Tells what ran in stretches.

    Attributes:
        alike: kinds and causes met so far, each with its number.
        known: by key of things that ran, that number and whether the time is known at which it was sent.
    """

    stretches: Stretches
    joins: Joins
    columns: Columns = field(init=False)
    alike: dict[tuple[Kind, Cause], int] = field(default_factory=dict)
    known: dict[bytes, tuple[int, bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.columns = Columns(self.joins)

    def breaks(self, chosen: Ints, others: Sequence[Interruption]) -> Breaks:
        pieces = [self._told(some) for some in np.array_split(chosen, 1 + len(chosen) // _AT_ONCE)]
        elsewhere = Breaks.of(others)
        if others:
            pieces.append({name: np.array(getattr(elsewhere, name), np.int64) for name in pieces[0]})
            pieces[-1]["which"] += len(self.alike)
        columns = {name: np.concatenate([piece.pop(name) for piece in pieces]) for name in list(pieces[0])}
        many = len(self.alike) + len(elsewhere.alike)
        summed = _sums(columns["which"], columns["duration_ns"], many)
        tasks = {pid: self.joins.comm(pid) or "" for pid in last_of_each(columns["pid"])[0].tolist()}
        order = np.lexsort((columns["cpu"], columns["start_ns"]))
        return Breaks(
            (*(Alike(kind, cause, *remedy(kind, cause.kind)) for kind, cause in self.alike), *elsewhere.alike),
            {**tasks, **elsewhere.tasks},
            **{name: _plain(columns.pop(name)[order]) for name in list(columns)},
            summed=summed,
        )

    def _told(self, chosen: Ints) -> dict[str, NDArray[Any]]:
        """Tell what ran in some stretches, as columns that `Breaks` has."""
        wanted = np.zeros(len(self.stretches), bool)
        wanted[chosen] = True
        keys = self._keys(chosen, wanted)
        items = keys.items
        by_itself = np.zeros(len(self.stretches), bool)
        by_itself[items.of[keys.unlike]] = True  # all that ran in it
        kept = wanted[items.of] & ~by_itself[items.of]
        items, sender, rows = items.among(kept), keys.sender[kept], np.flatnonzero(kept)
        group, first = grouped(keys.key, rows)
        which, sent = self._representatives(items, first, keys.key[rows[first]])
        del keys
        sent_ns = np.where(sent[group], self.columns.times(sender), NO_TIME)
        made = self.stretches.made
        begins_later = (items.number > 0) & ~np.isin(made["kind"][items.of], [CODE[kind] for kind in SENT])
        start = np.where(begins_later, self.columns.times(items.row), made["start"][items.of])
        others = self._by_themselves(np.flatnonzero(by_itself & wanted))
        return self._columns(_Part.of_all([_Part(items.of, which[group], start, sent_ns), others]))

    def _keys(self, chosen: Ints, wanted: NDArray[np.bool_]) -> Keys:
        """Return the keys of what ran in the chosen stretches, and in those that gave a task its turn."""
        made = self.stretches.made
        switches = chosen[made["kind"][chosen] == CODE[Kind.CONTEXT_SWITCH]]
        unwoken = switches[self.columns.woken(made["row"][switches]) == NONE]
        via = made["via"][unwoken]
        besides = np.zeros_like(wanted)
        besides[via[via >= 0]] = True
        items = items_of(self.stretches, np.flatnonzero(wanted | besides), self.columns)
        return Keys(items, self.stretches, self.columns)

    def _representatives(
        self, items: Items, first: NDArray[np.int32], keys: NDArray[np.int64]
    ) -> tuple[Ints, NDArray[np.bool_]]:
        """Tell the first of each group: its entry in `alike`, and whether its sender's time is known.

        Args:
            keys: of each group its key.
        """
        which, sent = np.zeros(len(first), np.int64), np.zeros(len(first), bool)
        places = zip(items.of[first].tolist(), items.number[first].tolist())
        for group, ((at, number), key) in enumerate(zip(places, keys)):
            known = self.known.get(key.tobytes())
            if known is None:
                _, kind, cause = told(self.stretches.span(at), self.joins)[number]
                known = self._alike(kind, cause), cause.sent_ns is not None
                if key[0] < TURN:  # whose keys number what else is looked at
                    self.known[key.tobytes()] = known
            which[group], sent[group] = known
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

    def _columns(self, part: _Part) -> dict[str, NDArray[Any]]:
        items = Items(part.of, part.which)
        made = {name: self.stretches.made[name][part.of] for name in _KEPT}
        end = np.where(items.last, made["end"], np.append(part.start[1:], 0))
        length = np.where(items.many, end - part.start, made["end"] - made["start"] - made["nested"])
        return {
            "which": part.which.astype(np.int32),
            "cpu": made["cpu"],
            "pid": made["pid"],
            "start_ns": part.start,
            "duration_ns": np.where(made["end"] == NO_TIME, NO_TIME, np.maximum(0, length)),
            "end_ns": end,
            "at_most_ns": np.where(items.many, NO_TIME, made["at_most"]),
            "sent_ns": part.sent,
        }


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


def _sums(which: Ints, lengths: NDArray[np.int64], many: int) -> tuple[Sum, ...]:
    """Do what `sums` does, of columns."""
    known = lengths != NO_TIME
    count, open_ = np.bincount(which, minlength=many), np.bincount(which[~known], minlength=many)
    total, worst = np.zeros(many, np.int64), np.full(many, -1)
    np.add.at(total, which[known], lengths[known])
    np.maximum.at(worst, which[known], lengths[known])
    each = zip(count.tolist(), total.tolist(), worst.tolist(), open_.tolist())
    return tuple(Sum(n, sum_, None if high < 0 else high, not_known) for n, sum_, high, not_known in each)


def _plain(column: NDArray[Any]) -> memoryview:
    """Return a column whose elements are Python's numbers."""
    return np.ascontiguousarray(column).data
