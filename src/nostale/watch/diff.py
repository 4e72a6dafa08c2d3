"""What changed between two recordings: rates of interruption by cause, and whether chance explains the difference."""

from __future__ import annotations

from math import erfc, exp, lgamma, log, log1p, sqrt
from typing import Final

from nostale.contract import (
    Answer,
    BadInput,
    Change,
    Holds,
    Path,
    Result,
    Step,
    Total,
    Unknown,
    Verdict,
    Violated,
    totals,
)

_CHANCE: Final = 0.001
_EXACT: Final = 2000


def diff(old: Answer, new: Answer) -> Answer:
    """Compare two watch answers by cause, per second of recording; violated where a cause came to strike more often.

    Raises:
        BadInput: one of them has no length.
    """
    old_s, new_s = _seconds(old), _seconds(new)
    changes = tuple(_changes(old, new, old_s, new_s))
    coverage: dict[str, int | str | bool | list[str]] = {
        "over": old.target,
        "old_breaks": len(old.breaks or ()),
        "new_breaks": len(new.breaks or ()),
        "old_span_ns": round(old_s * 1e9),
        "new_span_ns": round(new_s * 1e9),
        "chance": f"below {_CHANCE}",
    }
    result = Result(
        id="isolation.no-more-breaks",
        title=f"no cause interrupts more often than in {old.target}",
        why="what was added since disturbs the watched CPUs",
        requirements=(),
        verdict=_verdict(changes, old, new),
    )
    notes = tuple(dict.fromkeys(old.notes + new.notes))
    return Answer("watch", new.target, coverage, (result,), changes=changes, notes=notes)


def _changes(old: Answer, new: Answer, old_s: float, new_s: float) -> list[Change]:
    before = {one.cause: one for one in _totals(old)}
    after = {one.cause: one for one in _totals(new)}
    made = []
    for cause in {**before, **after}:
        first, second = (table.get(cause, Total(cause, 0, 0, None, 0, ())) for table in (before, after))
        chance = by_chance(first.count, second.count, old_s, new_s)
        made.append(Change(cause, first, second, old_s, new_s, chance, chance < _CHANCE))
    return sorted(made, key=lambda one: (-abs(one.new_per_s - one.old_per_s), one.cause))


def _totals(answer: Answer) -> tuple[Total, ...]:
    return () if answer.breaks is None else totals(answer.breaks)


def by_chance(old: int, new: int, old_s: float, new_s: float) -> float:
    """Return how likely counts that differ at least so much are if both times had one rate, arrivals independent.

    Of all `old + new` each falls into the new time with probability `new_s / (old_s + new_s)`: a two-sided binomial
    test, exact up to 2,000 arrivals and by the normal distribution beyond.

    >>> round(by_chance(10, 10, 1.0, 1.0), 3), by_chance(0, 40, 1.0, 1.0) < 1e-9, by_chance(10, 100, 1.0, 10.0) > 0.9
    (1.0, True, True)
    """
    total, share = old + new, new_s / (old_s + new_s)
    if total == 0:
        return 1.0
    if total > _EXACT:
        spread = sqrt(total * share * (1 - share))
        return erfc(max(0.0, abs(new - total * share) - 0.5) / spread / sqrt(2))
    odds = [exp(_log_choose(total, n) + n * log(share) + (total - n) * log1p(-share)) for n in range(total + 1)]
    return min(1.0, sum(one for one in odds if one <= odds[new] * (1 + 1e-9)))


def _log_choose(total: int, chosen: int) -> float:
    return lgamma(total + 1) - lgamma(chosen + 1) - lgamma(total - chosen + 1)


def _seconds(answer: Answer) -> float:
    span = answer.coverage.get("span_ns", 0)
    if not isinstance(span, int) or span <= 0:
        raise BadInput(answer.target, "has no two events: its rates are not known")
    return span / 1e9


def _verdict(changes: tuple[Change, ...], old: Answer, new: Answer) -> Verdict:
    assumed = ("interruptions come independently of each other: those that come in bursts differ more by chance",)
    more = [one for one in changes if one.sure and one.new_per_s > one.old_per_s]
    if more:
        return Violated(_path(more), assumptions=assumed)
    lost = [
        f"{side.coverage.get('events_lost')} events lost in {side.target}"
        for side in (old, new)
        if side.coverage.get("events_lost")
    ]
    if lost:
        return Unknown("not everything could be seen", tuple(lost), assumptions=assumed)
    return Holds((f"{len(changes)} causes",), assumed)


def _path(more: list[Change]) -> Path:
    return tuple(
        Step(str(one.cause), "rate", f"{one.old_per_s:,.1f} a second before, {one.new_per_s:,.1f} now") for one in more
    )
