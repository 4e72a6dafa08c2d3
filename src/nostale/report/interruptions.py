"""Interruptions of watched CPUs as text: by cause, by sender, the longest ones, and the remedy of each cause."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from heapq import nsmallest

from nostale.contract import Cause, Change, Interruption, Vanishes, totals
from nostale.report.line import Line, line, safe

_BREAKS_SHOWN = 20
_SENDERS_SHOWN = 40
_ARGUMENTS_SHOWN = 4


def interruption_lines(breaks: Sequence[Interruption]) -> Iterator[Line]:
    """Tell interruptions: by cause, by sender, then the longest, then what more is known and what stops them."""
    if not breaks:
        yield line("  no interruption of the watched CPUs was seen")
        return
    yield line("")
    yield from _by_cause(breaks)
    yield line("")
    yield from _by_sender(breaks)
    yield line("")
    yield from _longest(breaks)
    yield line("")
    yield from _what_if(breaks)
    yield from _details(breaks)
    yield from _remedies(breaks)


CHANGE_HEADS = ("cause", "", "old a second", "new a second", "old worst us", "new worst us", "by chance")


def change_rows(changes: Iterable[Change]) -> list[tuple[str, ...]]:
    """Return a table of what changed between two recordings: rates, as their lengths differ."""
    return [
        (
            str(one.cause),
            _direction(one),
            f"{one.old_per_s:,.1f}",
            f"{one.new_per_s:,.1f}",
            _us(one.old.worst_ns),
            _us(one.new.worst_ns),
            f"{one.chance:.2g}",
        )
        for one in changes
    ]


def change_lines(changes: Sequence[Change]) -> Iterator[Line]:
    """Tell what changed between two recordings, by cause."""
    yield line("")
    yield from _table(CHANGE_HEADS[:2], CHANGE_HEADS[2:], change_rows(changes))
    yield line("")


def _direction(one: Change) -> str:
    if not one.sure:
        return "as before"
    return "more" if one.new_per_s > one.old_per_s else "less"


def _us(length_ns: int | None) -> str:
    return "?" if length_ns is None else f"{length_ns / 1e3:,.1f}"


def sender_of(cause: Cause) -> str:
    """Say who sent it and, of a kernel thread, for whom; "-" where that is not known."""
    sender = f"{cause.task}-{cause.pid}" if cause.task else "-"
    behalf = cause.behalf
    return sender if behalf is None else f"{sender} for {behalf.task or '?'}-{behalf.pid}"


def span_us(one: Interruption) -> str:
    """Say how long one took in microseconds, what it took at most, or that neither is known."""
    if one.duration_ns is not None:
        return f"{one.duration_ns / 1e3:,.1f}"
    return "?" if one.at_most_ns is None else f"<{one.at_most_ns / 1e3:,.1f}"


def _by_cause(breaks: Iterable[Interruption]) -> Iterator[Line]:
    rows = [(str(one.cause), str(one.count), *_sums(one.total_ns, one.worst_ns, one.open)) for one in totals(breaks)]
    yield from _table(("cause",), ("count", "total us", "worst us"), rows)


def _sums(total_ns: int, worst_ns: int | None, unknown: int) -> tuple[str, str]:
    """A sum that lacks some durations is told as "at least"."""
    if worst_ns is None:
        return "?", "?"
    least = ">=" if unknown else ""
    return f"{least}{total_ns / 1e3:,.1f}", f"{least}{worst_ns / 1e3:,.1f}"


def _by_sender(breaks: Iterable[Interruption]) -> Iterator[Line]:
    alike: dict[tuple[object, ...], list[Interruption]] = defaultdict(list)
    for one in breaks:
        cause = one.cause
        alike[cause.kind, one.kind, cause.task, cause.pid, cause.behalf, cause.function].append(one)
    groups: dict[tuple[str, str, str, str], list[Interruption]] = defaultdict(list)
    for some in alike.values():  # what differs may be told alike
        first = some[0]
        key = (str(first.cause.kind), str(first.kind), sender_of(first.cause), first.cause.function or "-")
        groups[key] += some
    rows = []
    ordered = sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    for key, members in ordered[:_SENDERS_SHOWN]:
        known = [one.duration_ns for one in members if one.duration_ns is not None]
        sums = _sums(sum(known), max(known, default=None), len(members) - len(known))
        rows.append((*map(safe, key), str(len(members)), *sums))
    yield from _table(("cause", "arrived as", "sent by", "function"), ("count", "total us", "worst us"), rows)
    if len(ordered) > _SENDERS_SHOWN:
        rest = sum(len(members) for _, members in ordered[_SENDERS_SHOWN:])
        yield line(f"  and {rest:,} more, in {len(ordered) - _SENDERS_SHOWN:,} groups")


def _longest(breaks: Sequence[Interruption]) -> Iterator[Line]:
    longest = nsmallest(_BREAKS_SHOWN, breaks, key=lambda one: (-(one.duration_ns or 0), one.start_ns))
    yield line(f"  the longest {len(longest)} of {len(breaks)}:")
    rows = []
    for one in longest:
        cause = one.cause
        sender = f"{sender_of(cause)} on CPU {cause.cpu}" if cause.task else "-"
        row = (
            f"{one.start_ns / 1e9:.6f}",
            str(one.cpu),
            str(one.kind),
            str(cause.kind),
            safe(sender),
            safe(cause.syscall or "-"),
            safe(cause.function or "-"),
            span_us(one),
        )
        rows.append(row)
    headings = ("at (s)", "CPU", "arrived as", "cause", "sent by", "system call", "function")
    yield from _table(headings, ("us",), rows)


def _what_if(breaks: Sequence[Interruption]) -> Iterator[Line]:
    """Tell how many breaks each measure would have spared, and by which arguments."""
    told = Counter(
        (one.measure, one.vanishes, one.why)
        for each in breaks
        for one in each.what_if
        if one.vanishes is not Vanishes.NO
    )
    measures = list(dict.fromkeys(one.measure for each in breaks for one in each.what_if))
    if not measures:
        return
    yield line(("  what if:", "bold"))
    for measure in measures:
        counts = {
            word: sum(n for (name, vanishes, _), n in told.items() if (name, vanishes) == (measure, word))
            for word in (Vanishes.YES, Vanishes.UNKNOWN)
        }
        spared_ns = sum(
            each.duration_ns or 0
            for each in breaks
            for one in each.what_if
            if one.measure == measure and one.vanishes is Vanishes.YES
        )
        yield line(
            f"    {measure}: {counts[Vanishes.YES]:,} of {len(breaks):,} would vanish ({spared_ns / 1e3:,.1f} us), "
            f"of {counts[Vanishes.UNKNOWN]:,} it is not known"
        )
        mine = [(vanishes, why, n) for (name, vanishes, why), n in told.items() if name == measure]
        mine.sort(key=lambda one: (one[0] is Vanishes.UNKNOWN, -one[2], one[1]))
        for vanishes, why, n in mine[:_ARGUMENTS_SHOWN]:
            yield line((f"      {n:,} {vanishes}: {safe(why)}", "dim"))
        if len(mine) > _ARGUMENTS_SHOWN:
            yield line((f"      and {len(mine) - _ARGUMENTS_SHOWN} more arguments", "dim"))
    yield line("")


def _details(breaks: Iterable[Interruption]) -> Iterator[Line]:
    counted = Counter((str(one.cause.kind), one.cause.detail) for one in breaks if one.cause.detail)
    for (kind, detail), count in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])):
        yield line(f"  {kind}, {count:,} times: {safe(detail)}")


def _remedies(breaks: Iterable[Interruption]) -> Iterator[Line]:
    counted = Counter((str(one.cause.kind), one.remedy, one.source) for one in breaks if one.remedy)
    for (kind, remedy, source), _ in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])):
        yield line(f"  {kind}: {remedy}", (f"  ({source})" if source else "", "dim"))


def _table(headings: Sequence[str], numbers: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[Line]:
    from nostale.report.table import table  # here: rich takes a while to load, and only these answers need it

    first, *rest = table(headings, numbers, rows)
    yield line((first, "bold"))
    yield from map(line, rest)
