"""A watch answer as one HTML file: a timeline that zooms, interruptions by cause, remedies, verdicts.

Names in a trace are hostile input: whatever is not ours goes through `html.escape` into the page's text, or as JSON
without a `<` into a data block that the script reads and shows by `textContent` only. A content security policy allows
that one script, by its hash, and no network.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any, Final

from nostale.contract import Answer, Breaks, Holds, Interruption, Result, Total, Unknown, Vanishes, Violated, totals
from nostale.report.interruptions import CHANGE_HEADS, change_rows, sender_of, span_us
from nostale.report.line import safe

_DRAWN: Final = 50_000
_LISTED: Final = 50
_NONE: Final = "-"


def to_html(answer: Answer) -> str:
    """Return the page, with a final line break.

    Args:
        answer: of watch; of its breaks the 50,000 longest are drawn, and the page says so.
    """
    # Here, as only a page needs them: the hashes come with OpenSSL, 6 MB.
    from base64 import b64encode
    from hashlib import sha256

    script = _resource("timeline.js")
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    title = f"nostale watch: {_text(answer.target)}"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title>",
            f"<style>\n{_resource('page.css')}</style>",
            "</head><body>",
            *_body(answer),
            f"<script>{script}</script>",
            "</body></html>",
            "",
        ]
    )


def _resource(name: str) -> str:
    from importlib.resources import files

    return files("nostale.report").joinpath("web").joinpath(name).read_text(encoding="utf-8")


def _text(value: object) -> str:
    """Return text from outside so that it is text in a page too: no markup, no control characters."""
    return escape(safe(str(value)))


def _body(answer: Answer) -> Iterator[str]:
    breaks = answer.breaks
    yield f"<header><h1>{_text(answer.target)}</h1>{_word(answer.verdict)}</header>"
    if breaks is not None:
        yield f'<p class="sum">{_text(_summary(breaks, answer))}</p>'
    for note in answer.notes:
        yield f'<p class="note">{_text(note)}</p>'
    if breaks:
        yield from _timeline(breaks)
        yield from _causes(totals(breaks))
        yield from _what_if(breaks)
        yield from _longest(breaks)
    if answer.changes is not None:
        yield "<h2>What changed</h2>"
        yield from _table(CHANGE_HEADS, change_rows(answer.changes), numbers=5)
    yield from _verdicts(answer.results)
    yield "<h2>Looked at</h2>"
    rows = ((name, ", ".join(value) if isinstance(value, list) else value) for name, value in answer.coverage.items())
    yield from _table(("what", ""), rows)


def _summary(breaks: Breaks, answer: Answer) -> str:
    sums = [one for _, one in breaks.sums()]
    worst_ns = max((one.worst_ns for one in sums if one.worst_ns is not None), default=None)
    seconds = int(str(answer.coverage.get("span_ns", 0))) / 1e9
    worst = "" if worst_ns is None else f", the longest {worst_ns / 1e3:,.1f} us"
    total_ns = sum(one.total_ns for one in sums)
    return f"{len(breaks):,} interruptions in {seconds:,.3f} s, {total_ns / 1e3:,.1f} us in all{worst}"


def _timeline(breaks: Breaks) -> Iterator[str]:
    drawn = sorted(breaks.longest(_DRAWN), key=lambda one: (one.start_ns, one.cpu))
    yield "<h2>Timeline</h2>"
    if len(drawn) < len(breaks):
        yield f'<p class="note">the {len(drawn):,} longest of {len(breaks):,} are drawn</p>'
    hint = "wheel, +, -: zoom &middot; drag, arrows: move &middot; 0: all &middot; click: tell"
    yield f'<p class="hint">{hint}</p>'
    yield '<div id="timeline" tabindex="0"><canvas></canvas><div id="tip" hidden></div></div>'
    yield '<div id="told" hidden></div>'
    yield f'<script type="application/json" id="data">{_data(drawn)}</script>'


def _data(breaks: Sequence[Interruption]) -> str:
    """Return what the script draws: times from the first start on, every text once, no character that ends a block."""
    texts: dict[str, int] = {}

    def index(text: str) -> int:
        return texts.setdefault(safe(text), len(texts))

    base = breaks[0].start_ns
    rows = []
    for one in breaks:
        length = None if one.end_ns is None else one.end_ns - one.start_ns
        facts = [[index(name), index(value)] for name, value in _facts(one) if value and value != _NONE]
        rows.append([one.cpu, one.start_ns - base, length, index(str(one.cause.kind)), index(str(one.kind)), facts])
    made: dict[str, Any] = {"base": str(base), "breaks": rows, "texts": list(texts)}
    return json.dumps(made, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")


def _facts(one: Interruption) -> Iterator[tuple[str, str]]:
    cause = one.cause
    yield "interrupted", f"{one.task or '?'}-{one.pid}" if one.pid is not None else one.task
    yield "took", f"{span_us(one)} us" if span_us(one) != "?" else "not known"
    yield "sent by", sender_of(cause) + (f" on CPU {cause.cpu}" if cause.task and cause.cpu is not None else "")
    yield "function", cause.function or ""
    yield "system call", cause.syscall or ""
    yield "detail", cause.detail
    yield "looked at", cause.looked_at
    if cause.sent_ns is not None:
        yield "sent before", f"{(one.start_ns - cause.sent_ns) / 1e3:,.1f} us"
    for link in cause.chain:
        yield "on behalf of", f"{link.task or '?'}-{link.pid}, who {link.how}"
    yield "stack", " < ".join(cause.stack)
    yield "remedy", one.remedy
    for each in one.what_if:
        if each.vanishes is not Vanishes.NO:
            yield f"with {each.measure}", f"{each.vanishes}: {each.why}"


def _causes(summed: Iterable[Total]) -> Iterator[str]:
    yield "<h2>By cause</h2>"
    rows = []
    for one in summed:
        remedy = "<br>".join(
            _text(text) + (f' <span class="source">{_text(source)}</span>' if source else "")
            for text, source in one.remedies
        )
        least = "&ge;" if one.open and one.worst_ns is not None else ""
        total, worst = (
            ("?", "?") if one.worst_ns is None else (f"{one.total_ns / 1e3:,.1f}", f"{one.worst_ns / 1e3:,.1f}")
        )
        name = _text(one.cause)
        rows.append(
            f'<tr><td><span class="swatch" data-cause="{name}"></span>{name}</td><td class="n">{one.count:,}</td>'
            f'<td class="n">{least}{total}</td><td class="n">{least}{worst}</td><td>{remedy}</td></tr>'
        )
    heads = (
        '<th>cause</th><th class="n">count</th><th class="n">total us</th><th class="n">worst us</th><th>remedy</th>'
    )
    yield f'<table id="causes"><thead><tr>{heads}</tr></thead><tbody>'
    yield from rows
    yield "</tbody></table>"


def _what_if(breaks: Breaks) -> Iterator[str]:
    told = [(each, one) for alike, one in breaks.sums() for each in alike.what_if]
    measures = list(dict.fromkeys(each.measure for each, _ in told))
    if not measures:
        return
    yield "<h2>What if</h2>"
    rows = []
    for measure in measures:
        mine = [(each.vanishes, one) for each, one in told if each.measure == measure]
        spared = [one for vanishes, one in mine if vanishes is Vanishes.YES]
        unknown = sum(one.count for vanishes, one in mine if vanishes is Vanishes.UNKNOWN)
        count, total_ns = sum(one.count for one in spared), sum(one.total_ns for one in spared)
        rows.append((measure, f"{count:,}", f"{total_ns / 1e3:,.1f}", f"{unknown:,}"))
    yield from _table(("measure", "would vanish", "us spared", "not known"), rows, numbers=3)


def _longest(breaks: Breaks) -> Iterator[str]:
    ordered = breaks.longest(_LISTED)
    yield f"<h2>The longest {len(ordered)} of {len(breaks):,}</h2>"
    heads = ("at (s)", "CPU", "interrupted", "arrived as", "cause", "sent by", "system call", "function", "us")
    rows = (
        (
            f"{one.start_ns / 1e9:.6f}",
            one.cpu,
            f"{one.task or '?'}-{one.pid}" if one.pid is not None else one.task or _NONE,
            one.kind,
            one.cause.kind,
            sender_of(one.cause),
            one.cause.syscall or _NONE,
            one.cause.function or _NONE,
            span_us(one),
        )
        for one in ordered
    )
    yield from _table(heads, rows, numbers=1)


def _verdicts(results: Sequence[Result]) -> Iterator[str]:
    if not results:
        return
    yield "<h2>Contracts</h2>"
    for result in results:
        verdict = result.verdict
        yield f"<section><h3>{_word(verdict.word)} {_text(result.id)}</h3><p>{_text(result.title)}</p>"
        if isinstance(verdict, Unknown):
            yield from _list([verdict.why, *(f"missing: {one}" for one in verdict.missing)])
        if isinstance(verdict, Holds):
            yield from _list(verdict.bounds)
        if isinstance(verdict, Violated | Unknown) and verdict.path:
            rows = ((number, step.observer, step.what, step.place) for number, step in enumerate(verdict.path, 1))
            yield from _table(("", "observer", "what", "place"), rows)
        yield from _list(f"assumed: {one}" for one in verdict.assumptions)
        yield "</section>"


def _word(verdict: str) -> str:
    return f'<span class="verdict {verdict}">{verdict}</span>'


def _list(items: Iterable[str]) -> Iterator[str]:
    lines = "".join(f"<li>{_text(one)}</li>" for one in items)
    if lines:
        yield f"<ul>{lines}</ul>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: int = 0) -> Iterator[str]:
    """Yield a table, its last `numbers` columns numbers."""
    first = len(heads) - numbers
    classes = ["" if at < first else ' class="n"' for at in range(len(heads))]
    yield (
        "<table><thead><tr>"
        + "".join(f"<th{c}>{_text(h)}</th>" for c, h in zip(classes, heads))
        + "</tr></thead><tbody>"
    )
    for row in rows:
        yield "<tr>" + "".join(f"<td{c}>{_text(value)}</td>" for c, value in zip(classes, row)) + "</tr>"
    yield "</tbody></table>"
