"""An answer as text for a terminal: the verdict first, then why, then what was looked at.

The text is the same whatever the terminal's width, and without colour where colour is not wanted. What comes from a
trace or a file is printed with its control characters made visible.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nostale.contract import Answer, Holds, Interruption, Path, Result, Unknown, Violated

_STYLES = {"holds": "green", "violated": "bold red", "unknown": "yellow"}
_WIDTH = 160  # of tables; a line of text is never broken
_BREAKS_SHOWN = 20


def to_text(answer: Answer, *, colour: bool = False) -> str:
    """Return the whole answer as text, with a final line break.

    Args:
        answer: of any command.
        colour: whether to write ANSI colour codes.
    """
    page = io.StringIO()
    console = Console(
        file=page,
        width=_WIDTH,
        force_terminal=colour,
        no_color=not colour,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
        color_system="standard" if colour else None,
    )
    for line in _lines(answer):
        if isinstance(line, Table):
            console.print(line)
        else:
            console.print(line, soft_wrap=True)
    return "".join(line.rstrip() + "\n" for line in page.getvalue().splitlines())


Line = Text | Table | str


def _lines(answer: Answer) -> Iterator[Line]:
    yield _headline(answer)
    if answer.parts:
        yield from _parts(answer)
    if answer.breaks is not None:
        yield from _breaks(answer)
    told: set[str] = set()
    drawn: dict[Path, str] = {}
    for result in answer.results:
        yield from _result(result, told, drawn)
    yield from _coverage(answer)


def _headline(answer: Answer) -> Text:
    line = Text.assemble((f"{answer.verdict:9}", _STYLES[answer.verdict]), (safe(answer.target), "bold"))
    if answer.expected:
        surprise = "as expected" if answer.expected == answer.verdict else f"but expected {answer.expected}"
        line.append(f"  ({surprise})", "dim" if answer.expected == answer.verdict else "bold red")
    return line


def _parts(answer: Answer) -> Iterator[Line]:
    for part in answer.parts:
        yield ""
        yield from _lines(part)


def _result(result: Result, told: set[str], drawn: dict[Path, str]) -> Iterator[Line]:
    """Tell one result; what was `told` or `drawn` of others before is not repeated."""
    verdict = result.verdict
    of = f" (by {verdict.of})" if isinstance(verdict, Violated) and verdict.of else ""
    yield Text.assemble(
        "  ", (f"{verdict.word:9}", _STYLES[verdict.word]), (result.id, "bold"), f"{of}  {result.title}"
    )
    if isinstance(verdict, Holds):
        for bound in verdict.bounds:
            yield Text(f"             {bound}", "dim")
        if result.outcome:
            yield from _outcome(result)
        return
    if result.id not in told and result.why:
        yield f"             why: {result.why}"
    if isinstance(verdict, Unknown):
        yield f"             {safe(verdict.why)}"
        for one in verdict.missing:
            yield f"             missing: {safe(one)}"
    if verdict.path and (known := _drawn(verdict.path, drawn)):
        yield f"             {known}"
    elif verdict.path:
        yield from _path(verdict.path)
        drawn[verdict.path] = result.id
    elif isinstance(verdict, Violated):
        yield "             it is never reached"
    for assumption in verdict.assumptions:
        if assumption not in told:
            yield Text(f"             assumed: {assumption}", "dim")
            told.add(assumption)
    if result.id not in told and result.remedy:
        yield f"             mend: {result.remedy}"
    told.add(result.id)


def _outcome(result: Result) -> Iterator[Line]:
    """Tell what a litmus test came to, and how it comes about."""
    yield Text.assemble("             ", (str(result.outcome), "bold"), f": {safe(result.why)}")
    if result.witness:
        yield from _path(result.witness)
    for assumption in result.verdict.assumptions:
        yield Text(f"             assumed: {assumption}", "dim")


def _drawn(path: Path, drawn: dict[Path, str]) -> str:
    """Say which path above shows these very steps, or "" where none does."""
    for known, name in drawn.items():
        if known == path:
            return f"by the same steps as {name} above"
        if known[: len(path)] == path:
            return f"by the first {len(path)} of the steps of {name} above"
    return ""


def _path(path: Path) -> Iterator[Line]:
    """Draw lanes for observers, steps down the page, and what each step changed."""
    lanes = list(dict.fromkeys(step.observer for step in path))
    width = max(len(safe(lane)) for lane in lanes)
    told: set[str] = set()
    for number, step in enumerate(path, 1):
        marks = " ".join("●" if lane == step.observer else "│" for lane in lanes)
        last = number == len(path)
        place = safe(step.place) + (f" → {safe(step.callee)}" if step.callee else "")
        yield Text.assemble(
            f"      {number:4}  ",
            (marks, "cyan"),
            f"  {safe(step.observer):{width}}  ",
            (safe(step.what), "bold" if last else ""),
            ("  " + place, "dim"),
        )
        rest = "            " + " ".join("│" for _ in lanes) + "  " + " " * width + "    "
        if step.changed:
            yield Text(
                rest + ", ".join(f"{safe(c.var)} {safe(c.old or '?')} → {safe(c.new)}" for c in step.changed), "dim"
            )
        if step.why and (last or step.why not in told):
            told.add(step.why)
            yield Text(rest + safe(step.why), "yellow" if last else "")


def _breaks(answer: Answer) -> Iterator[Line]:
    assert answer.breaks is not None
    if not answer.breaks:
        yield "  no interruption of the watched CPUs was seen"
        return
    yield ""
    yield from _by_cause(answer.breaks)
    yield ""
    yield from _longest(answer.breaks)
    yield ""
    yield from _remedies(answer.breaks)


def _by_cause(breaks: Iterable[Interruption]) -> Iterator[Table]:
    groups: dict[tuple[str, str, str, str], list[Interruption]] = {}
    for one in breaks:
        sender = f"{one.cause.task}-{one.cause.pid}" if one.cause.task else "-"
        groups.setdefault((str(one.cause.kind), str(one.kind), sender, one.cause.function or "-"), []).append(one)
    table = _table("cause", "arrived as", "sent by", "function", right=("count", "total us", "worst us"))
    for key, members in sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        known = [one.duration_ns for one in members if one.duration_ns is not None]
        total, worst = (f"{sum(known) / 1e3:,.1f}", f"{max(known) / 1e3:,.1f}") if known else ("?", "?")
        table.add_row(*map(safe, key), str(len(members)), total, worst)
    yield table


def _longest(breaks: Iterable[Interruption]) -> Iterator[Line]:
    ordered = sorted(breaks, key=lambda one: (-(one.duration_ns or 0), one.start_ns))
    yield f"  the longest {min(_BREAKS_SHOWN, len(ordered))} of {len(ordered)}:"
    table = _table("at (s)", "CPU", "arrived as", "cause", "sent by", "system call", "function", right=("us",))
    for one in ordered[:_BREAKS_SHOWN]:
        cause = one.cause
        sender = f"{cause.task}-{cause.pid} on CPU {cause.cpu}" if cause.task else "-"
        table.add_row(
            f"{one.start_ns / 1e9:.6f}",
            str(one.cpu),
            str(one.kind),
            str(cause.kind),
            safe(sender),
            safe(cause.syscall or "-"),
            safe(cause.function or "-"),
            "?" if one.duration_ns is None else f"{one.duration_ns / 1e3:,.1f}",
        )
    yield table


def _remedies(breaks: Iterable[Interruption]) -> Iterator[Line]:
    counted = Counter((str(one.cause.kind), one.remedy) for one in breaks if one.remedy)
    for (kind, remedy), _ in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])):
        yield f"  {kind}: {remedy}"


def _table(*left: str, right: tuple[str, ...]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("  " + left[0], no_wrap=True)
    for name in left[1:]:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _coverage(answer: Answer) -> Iterator[Line]:
    looked = []
    if answer.search:
        search = answer.search
        looked.append(
            f"{search.states:,} states, {search.transitions:,} transitions, depth {search.depth}, "
            + ("complete" if search.complete else "NOT complete")
        )
    for name, value in answer.coverage.items():
        shown = ", ".join(value) if isinstance(value, list) else (f"{value:,}" if type(value) is int else str(value))
        looked.append(f"{name}: {safe(shown)}" if shown else f"{name}: none")
    if looked:
        yield Text("  looked at: " + "; ".join(looked), "dim")


def safe(text: str) -> str:
    r"""Return text from outside with its control characters made visible: a name must not steer the terminal.

    >>> safe("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
