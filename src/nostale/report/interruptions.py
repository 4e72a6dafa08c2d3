"""Interruptions of watched CPUs as text: by cause, by sender, the longest ones, and the remedy of each cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from nostale.contract import Breaks, Cause, Change, Interruption, Sum, Vanishes, totals
from nostale.report.line import Line, line, safe

_BREAKS_SHOWN = 20
_SENDERS_SHOWN = 40
_ARGUMENTS_SHOWN = 4


def interruption_lines(breaks: Breaks) -> Iterator[Line]:
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


def _by_cause(breaks: Breaks) -> Iterator[Line]:
    rows = [(str(one.cause), str(one.count), *_sums(one.total_ns, one.worst_ns, one.open)) for one in totals(breaks)]
    yield from _table(("cause",), ("count", "total us", "worst us"), rows)


def _sums(total_ns: int, worst_ns: int | None, unknown: int) -> tuple[str, str]:
    """A sum that lacks some durations is told as "at least"."""
    if worst_ns is None:
        return "?", "?"
    least = ">=" if unknown else ""
    return f"{least}{total_ns / 1e3:,.1f}", f"{least}{worst_ns / 1e3:,.1f}"


def _by_sender(breaks: Breaks) -> Iterator[Line]:
    groups: dict[tuple[str, str, str, str], Sum] = {}
    for alike, one in breaks.sums():
        cause = alike.cause
        key = (str(cause.kind), str(alike.kind), sender_of(cause), cause.function or "-")
        groups[key] = groups[key] + one if key in groups else one
    ordered = sorted(groups.items(), key=lambda pair: (-pair[1].count, pair[0]))
    rows = [
        (*map(safe, key), str(one.count), *_sums(one.total_ns, one.worst_ns, one.open))
        for key, one in ordered[:_SENDERS_SHOWN]
    ]
    yield from _table(("cause", "arrived as", "sent by", "function"), ("count", "total us", "worst us"), rows)
    if len(ordered) > _SENDERS_SHOWN:
        rest = sum(one.count for _, one in ordered[_SENDERS_SHOWN:])
        yield line(f"  and {rest:,} more, in {len(ordered) - _SENDERS_SHOWN:,} groups")


def _longest(breaks: Breaks) -> Iterator[Line]:
    longest = breaks.longest(_BREAKS_SHOWN)
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


def _what_if(breaks: Breaks) -> Iterator[Line]:
    """Tell how many breaks each measure would have spared, and by which arguments."""
    sums: dict[tuple[str, Vanishes, str], Sum] = {}
    for alike, one in breaks.sums():
        for each in alike.what_if:
            key = (each.measure, each.vanishes, each.why)
            sums[key] = sums[key] + one if key in sums else one
    measures = list(dict.fromkeys(measure for measure, _, _ in sums))
    if not measures:
        return
    yield line(("  what if:", "bold"))
    for measure in measures:
        mine = [(vanishes, why, one) for (name, vanishes, why), one in sums.items() if name == measure]
        counts = {word: sum(one.count for vanishes, _, one in mine if vanishes is word) for word in Vanishes}
        spared_ns = sum(one.total_ns for vanishes, _, one in mine if vanishes is Vanishes.YES)
        yield line(
            f"    {measure}: {counts[Vanishes.YES]:,} of {len(breaks):,} would vanish ({spared_ns / 1e3:,.1f} us), "
            f"of {counts[Vanishes.UNKNOWN]:,} it is not known"
        )
        mine = [one for one in mine if one[0] is not Vanishes.NO]
        mine.sort(key=lambda one: (one[0] is Vanishes.UNKNOWN, -one[2].count, one[1]))
        for vanishes, why, one in mine[:_ARGUMENTS_SHOWN]:
            yield line((f"      {one.count:,} {vanishes}: {safe(why)}", "dim"))
        if len(mine) > _ARGUMENTS_SHOWN:
            yield line((f"      and {len(mine) - _ARGUMENTS_SHOWN} more arguments", "dim"))
    yield line("")


def _details(breaks: Breaks) -> Iterator[Line]:
    counted: Counter[tuple[str, str]] = Counter()
    for alike, one in breaks.sums():
        if alike.cause.detail:
            counted[str(alike.cause.kind), alike.cause.detail] += one.count
    for (kind, detail), count in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])):
        yield line(f"  {kind}, {count:,} times: {safe(detail)}")


def _remedies(breaks: Breaks) -> Iterator[Line]:
    counted: Counter[tuple[str, str, str]] = Counter()
    for alike, one in breaks.sums():
        if alike.remedy:
            counted[str(alike.cause.kind), alike.remedy, alike.source] += one.count
    for (kind, remedy, source), _ in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])):
        yield line(f"  {kind}: {remedy}", (f"  ({source})" if source else "", "dim"))


def _table(headings: Sequence[str], numbers: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[Line]:
    from nostale.report.table import table  # here: rich takes a while to load, and only these answers need it

    first, *rest = table(headings, numbers, rows)
    yield line((first, "bold"))
    yield from map(line, rest)
