"""Interruptions of watched CPUs as text: a table by cause, the longest ones, and the remedy of each cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from nostale.contract import Interruption
from nostale.report.line import Line, line, safe

_BREAKS_SHOWN = 20


def interruption_lines(breaks: Sequence[Interruption]) -> Iterator[Line]:
    """Tell interruptions: by cause, then the longest, then what stops them."""
    if not breaks:
        yield line("  no interruption of the watched CPUs was seen")
        return
    yield line("")
    yield from _by_cause(breaks)
    yield line("")
    yield from _longest(breaks)
    yield line("")
    yield from _remedies(breaks)


def _by_cause(breaks: Iterable[Interruption]) -> Iterator[Line]:
    groups: dict[tuple[str, str, str, str], list[Interruption]] = {}
    for one in breaks:
        sender = f"{one.cause.task}-{one.cause.pid}" if one.cause.task else "-"
        groups.setdefault((str(one.cause.kind), str(one.kind), sender, one.cause.function or "-"), []).append(one)
    rows = []
    for key, members in sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        known = [one.duration_ns for one in members if one.duration_ns is not None]
        total, worst = (f"{sum(known) / 1e3:,.1f}", f"{max(known) / 1e3:,.1f}") if known else ("?", "?")
        rows.append((*map(safe, key), str(len(members)), total, worst))
    yield from _table(("cause", "arrived as", "sent by", "function"), ("count", "total us", "worst us"), rows)


def _longest(breaks: Iterable[Interruption]) -> Iterator[Line]:
    ordered = sorted(breaks, key=lambda one: (-(one.duration_ns or 0), one.start_ns))
    yield line(f"  the longest {min(_BREAKS_SHOWN, len(ordered))} of {len(ordered)}:")
    rows = []
    for one in ordered[:_BREAKS_SHOWN]:
        cause = one.cause
        sender = f"{cause.task}-{cause.pid} on CPU {cause.cpu}" if cause.task else "-"
        row = (
            f"{one.start_ns / 1e9:.6f}",
            str(one.cpu),
            str(one.kind),
            str(cause.kind),
            safe(sender),
            safe(cause.syscall or "-"),
            safe(cause.function or "-"),
            "?" if one.duration_ns is None else f"{one.duration_ns / 1e3:,.1f}",
        )
        rows.append(row)
    headings = ("at (s)", "CPU", "arrived as", "cause", "sent by", "system call", "function")
    yield from _table(headings, ("us",), rows)


def _remedies(breaks: Iterable[Interruption]) -> Iterator[Line]:
    counted = Counter((str(one.cause.kind), one.remedy) for one in breaks if one.remedy)
    for (kind, remedy), _ in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])):
        yield line(f"  {kind}: {remedy}")


def _table(headings: Sequence[str], numbers: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[Line]:
    from nostale.report.table import table  # here: rich takes a while to load, and only these answers need it

    first, *rest = table(headings, numbers, rows)
    yield line((first, "bold"))
    yield from map(line, rest)
