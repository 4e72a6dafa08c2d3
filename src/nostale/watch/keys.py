"""Keys of what ran in stretches, a column at a time: things of the same key are told alike by `causes.told`.

A key holds whatever decides what is told: the kind, the function, and of who sent it what `Columns.sender` returns.
Where that would not be all, the thing has no key, and its stretch must be told by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nostale.contract import Kind, Work
from nostale.watch.causes import YIELDS
from nostale.watch.columns import SENDER, Columns
from nostale.watch.distinct import functions
from nostale.watch.group import grouped
from nostale.watch.related import NONE
from nostale.watch.ring import Ints
from nostale.watch.stretches import CODE, Stretches
from nostale.watch.threads import by_thread
from nostale.watch.works import RAISED, work_of_function

WIDTH: Final = 3 + SENDER  # numbers in a key
# What tells a stretch of that kind, where there is any.
_PARTS: Final = {
    Kind.TIMER: "hrtimer_expire_entry",
    Kind.IPI_CALL: "csd_function_entry",
    Kind.CONTEXT_SWITCH: "workqueue_execute_start",
}
SENT: Final = (Kind.IPI_RESCHEDULE, Kind.IRQ_WORK)  # told by each that was sent
_SENDS: Final = ("ipi_send_cpu", "ipi_send_cpumask")
# Beside the codes of kinds: of a thing that its stretch tells, and of switches for two more reasons.
_BARE, _YIELD, TURN = (turn * len(CODE) for turn in (1, 2, 3))
Mask = NDArray[np.bool_]


@dataclass(slots=True, eq=False)
class Items:
    """Things that ran, `(n,)` each, in order of their stretches and in these of time.

    Args:
        of: the stretch.
        row: what tells it, -1 where the stretch itself does.
    """

    of: Ints
    row: Ints
    number: Ints = field(init=False)  # in its stretch
    many: Mask = field(init=False)  # whether there are others in that
    last: Mask = field(init=False)

    def __post_init__(self) -> None:
        starts = np.flatnonzero(np.append(True, self.of[1:] != self.of[:-1])) if self.of.size else self.of
        counts = np.diff(np.append(starts, len(self.of)))
        self.number = np.arange(len(self.of)) - np.repeat(starts, counts)
        self.many = np.repeat(counts, counts) > 1
        self.last = np.append(self.of[1:] != self.of[:-1], True) if self.of.size else self.of.astype(bool)

    def among(self, chosen: Mask) -> Items:
        """Return some of them, all of a stretch or none."""
        return Items(self.of[chosen], self.row[chosen])


def items_of(stretches: Stretches, chosen: Ints, columns: Columns) -> Items:
    """Return what ran in the stretches at `chosen`: at least one thing in each."""
    made, kinds = stretches.made, stretches.made["kind"]
    wanted = np.zeros(len(made), bool)
    wanted[chosen] = True
    ran, ran_in = wanted[stretches.part_of], kinds[stretches.part_of]
    of, rows = [], []
    for kind, event in _PARTS.items():
        mine = ran & (ran_in == CODE[kind])
        mine[mine] = columns.is_a(stretches.part[mine], event)
        if kind is Kind.IPI_CALL:
            mine[mine] = columns.field(stretches.part[mine], event, "csd") != 0
        of.append(stretches.part_of[mine].astype(np.int64))
        rows.append(stretches.part[mine].astype(np.int64))
    for kind in SENT:
        mine = chosen[kinds[chosen] == CODE[kind]]
        sent = [columns.joins.sent(row) for row in made["row"][mine].tolist()]
        of.append(np.repeat(mine, [len(some) for some in sent]))
        rows.append(np.array([row for some in sent for row in some], np.int64))
    have = np.zeros(len(made), bool)
    for one in of:
        have[one] = True
    bare = chosen[~have[chosen]]
    all_of, all_rows = np.concatenate([*of, bare]), np.concatenate([*rows, np.full(len(bare), NONE)])
    order = np.argsort(all_of, kind="stable")
    return Items(all_of[order], all_rows[order])


@dataclass(slots=True, eq=False)
class Keys:
    """The keys of things that ran.

    Attributes:
        key: `(n, WIDTH) int64`.
        unlike: `(n,)`, things that no key tells.
        sender: `(n,)`, rows of who sent each, -1 where nobody did or that is not known.
        turn: `(n,)`, switches to a task that had waited for its turn: what tells them is what ran in the stretch on
            whose way out they happened.
    """

    items: Items
    stretches: Stretches
    columns: Columns
    key: NDArray[np.int64] = field(init=False)
    unlike: Mask = field(init=False)
    sender: Ints = field(init=False)
    turn: Mask = field(init=False)

    def __post_init__(self) -> None:
        n = len(self.items.of)
        self.key, self.sender = np.zeros((n, WIDTH), np.int64), np.full(n, NONE, np.int64)
        self.unlike, self.turn = np.zeros(n, bool), np.zeros(n, bool)
        told = self.items.row != NONE
        kinds = self.stretches.made["kind"][self.items.of]
        self.key[:, 0] = kinds + np.where(told, 0, _BARE)
        for kind, fill in _FILL.items():
            mine = kinds == CODE[kind]
            for which, by_stretch in ((mine & told, False), (mine & ~told, True)):
                if which.any():
                    fill(self, which, by_stretch)
        self._take_turns()

    def _of(self, mine: Mask | Ints, name: str) -> NDArray[Any]:
        """Return one column of the stretches of some things."""
        column: NDArray[Any] = self.stretches.made[name][self.items.of[mine]]
        return column

    def _take_turns(self) -> None:
        """Give switches of `turn` their keys, once all others have theirs; those without one are `unlike`."""
        turn = np.flatnonzero(self.turn)
        if not turn.size:
            return
        alone = np.full(len(self.stretches), NONE, np.int64)  # of a stretch the one thing that ran in it
        single = np.flatnonzero(~self.items.many & ~self.unlike & ~self.turn)
        alone[self.items.of[single]] = single
        via = alone[self._of(turn, "via")]
        self.unlike[turn] = via == NONE
        turn, via = turn[via != NONE], via[via != NONE]
        groups, _ = grouped(self.key, via)
        self.key[turn] = 0
        self.key[turn, 0], self.key[turn, 1], self.key[turn, 2] = TURN, self._of(turn, "next_pid"), groups
        self.sender[turn] = self.sender[via]

    def _sent(self, mine: Mask, function: NDArray[np.int64], senders: Ints) -> None:
        self.key[mine, 1], self.sender[mine] = function, senders
        self.key[mine, 3:], self.unlike[mine] = self.columns.sender(senders)

    def _call(self, mine: Mask, by_stretch: bool) -> None:
        rows = self.items.row[mine]
        if by_stretch:  # what was sent for it may be more than one
            self.unlike |= mine
        else:
            self._sent(mine, self.columns.field(rows, "csd_function_entry", "func"), self.columns.csd(rows))

    def _reschedule(self, mine: Mask, by_stretch: bool) -> None:
        self._send(mine, by_stretch, "callsite")

    def _irq_work(self, mine: Mask, by_stretch: bool) -> None:
        self._send(mine, by_stretch, "callback")

    def _send(self, mine: Mask, by_stretch: bool, function: str) -> None:
        if by_stretch:
            self.unlike |= mine
            return
        for event in _SENDS:
            these = mine.copy()
            these[mine] = self.columns.is_a(self.items.row[mine], event)
            rows = self.items.row[these]
            self._sent(these, self.columns.field(rows, event, function), rows)

    def _timer(self, mine: Mask, by_stretch: bool) -> None:
        if by_stretch:
            self.unlike |= mine
            return
        columns, rows = self.columns, self.items.row[mine]
        expired = columns.field(rows, "hrtimer_expire_entry", "function")
        ticks = functions(columns.joins.trace, expired).that(lambda name: work_of_function(name) is Work.TICK)
        self.key[mine, 1] = expired
        self.key[mine, 2], unlike = columns.ticking(rows)
        self.key[mine, 2] *= ticks
        self.unlike[mine] = ticks & unlike
        self.key[mine, 3:] = columns.armer(np.where(ticks, NONE, columns.armed(rows)))

    def _device(self, mine: Mask, by_stretch: bool) -> None:
        columns, event = self.columns, "irq_handler_entry"
        self.key[mine, 1] = self._of(mine, "what")
        handled = mine.copy()
        handled[mine] = columns.is_a(self._of(mine, "row"), event)
        rows, cpus, ends = (self._of(handled, name) for name in ("row", "cpu", "end"))
        if rows.size:
            self.key[handled, 2] = columns.text(rows, event, "name")
        for at, vectors in enumerate(RAISED, 3):
            self.key[handled, at] = columns.raised(vectors, cpus, rows, ends)
        if columns.joins.trace.lost:  # then what is not known says whether that was the reason
            self.unlike |= mine & ~handled

    def _softirq(self, mine: Mask, by_stretch: bool) -> None:
        self.key[mine, 1] = self.columns.field(self._of(mine, "row"), "softirq_entry", "vec")

    def _nmi(self, mine: Mask, by_stretch: bool) -> None:
        self.key[mine, 1] = self.columns.field(self._of(mine, "row"), "nmi_handler", "handler")

    def _call_of_its_own(self, mine: Mask, by_stretch: bool) -> None:
        self.key[mine, 1] = self.columns.field(self._of(mine, "row"), "sys_enter", "id")
        self._task(mine)

    def _task(self, mine: Mask, by_stretch: bool = True) -> None:
        self.key[mine, 2] = self._of(mine, "pid").astype(np.int64) << 16 | self._of(mine, "cpu")

    def _switch(self, mine: Mask, by_stretch: bool) -> None:
        columns, rows = self.columns, self._of(mine, "row")
        if not by_stretch:
            started = self.items.row[mine]
            function = columns.field(started, "workqueue_execute_start", "function")
            self._sent(mine, function, columns.queued(started))
            return
        joins = columns.joins
        taker = self._of(mine, "next_pid")
        woken = columns.woken(rows)
        self._sent(mine, taker.astype(np.int64), woken if joins.tells_wakers else np.full_like(woken, NONE))
        stopper = by_thread(taker, lambda pid: (joins.comm(pid) or "").startswith("migration/"))
        turn = (woken == NONE) & ~stopper & (self._of(mine, "via") >= 0) & columns.was_runnable(rows)
        yields = columns.in_call(rows, YIELDS)
        self.turn[mine] = turn & ~yields
        self.unlike[mine] |= joins.trace.pid[rows] != self._of(mine, "pid")
        self.unlike[mine] |= (woken == NONE) & ~stopper & ~turn & ~yields
        self.turn &= ~self.unlike
        gave_up = mine.copy()
        gave_up[mine] = yields & ~self.unlike[mine]
        self.key[gave_up] = 0
        self.key[gave_up, 0] = _YIELD
        self._task(gave_up)
        self.sender[gave_up] = NONE


_FILL: Final[dict[Kind, Callable[[Keys, Mask, bool], None]]] = {
    Kind.IPI_CALL: Keys._call,
    Kind.IPI_RESCHEDULE: Keys._reschedule,
    Kind.IRQ_WORK: Keys._irq_work,
    Kind.TIMER: Keys._timer,
    Kind.DEVICE_IRQ: Keys._device,
    Kind.SOFTIRQ: Keys._softirq,
    Kind.SYSCALL: Keys._call_of_its_own,
    Kind.PAGE_FAULT: Keys._task,
    Kind.NMI: Keys._nmi,
    Kind.CONTEXT_SWITCH: Keys._switch,
}
