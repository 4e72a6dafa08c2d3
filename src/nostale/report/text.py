"""An answer as text for a terminal: the verdict first, then why, then what was looked at.

The text is the same whatever the terminal's width, and without colour where colour is not wanted. What comes from a
trace or a file is printed with its control characters made visible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from nostale.contract import Answer, Holds, Path, Result, Table, Unknown, Violated
from nostale.report.folded import Fold, folded, path_of
from nostale.report.interruptions import change_lines, interruption_lines
from nostale.report.line import Line, line, safe

_MOST_ROWS = 16  # callees or reasons of one rule that are listed


def to_text(answer: Answer, *, colour: bool = False, verbose: bool = False) -> str:
    """Return the answer as text, with a final line break.

    Args:
        answer: of any command.
        colour: whether to write ANSI colour codes.
        verbose: whether to tell each result in full, however many a rule has.
    """
    return "".join(one.painted(colour=colour).rstrip() + "\n" for one in _lines(answer, verbose=verbose))


def path_to_text(path: Path) -> str:
    """Return a path alone, as lanes, with a final line break and without colour: for a page."""
    return "".join(one.painted(colour=False).rstrip() + "\n" for one in _path(path))


def _lines(answer: Answer, *, verbose: bool) -> Iterator[Line]:
    yield _headline(answer)
    if answer.parts:
        yield from _parts(answer, verbose=verbose)
    if answer.breaks is not None:
        yield from interruption_lines(answer.breaks)
    if answer.changes is not None:
        yield from change_lines(answer.changes)
    told: set[str] = set()
    drawn: dict[Path, str] = {}
    folds = [Fold((one,)) for one in answer.results] if verbose else folded(answer.results)
    if any(fold.parts for fold in folds):
        yield from _counted(answer.results)
    for fold in folds:
        yield from _fold(fold, told, drawn) if fold.parts else _result(fold.results[0], told, drawn)
    for one in answer.tables:
        yield from _table(one)
    # What every verdict rests on, the good ones above all: said once.
    for assumption in dict.fromkeys(one for result in answer.results for one in result.verdict.assumptions):
        yield line((f"  assumed: {safe(assumption)}", "dim"))
    yield from _coverage(answer)


def _headline(answer: Answer) -> Line:
    parts = [(f"{answer.verdict:9}", answer.verdict), (safe(answer.target), "bold")]
    if answer.expected == answer.verdict:
        parts.append(("  (as expected)", "dim"))
    elif answer.expected:
        parts.append((f"  (but expected {answer.expected})", "violated"))
    return line(*parts)


def _parts(answer: Answer, *, verbose: bool) -> Iterator[Line]:
    for part in answer.parts:
        if part.command == "prove" and not part.counted:
            yield from _ablated(part)
            continue
        yield line("")
        yield from _lines(part, verbose=verbose)


def _ablated(part: Answer) -> Iterator[Line]:
    """Tell what a proof without one of its calls breaks, and no more."""
    yield _headline(part)
    drawn: dict[Path, str] = {}
    for result in part.results:
        if isinstance(result.verdict, Violated) and result.verdict.path:
            yield from _result(replace(result, why="", remedy=""), set(), drawn)


def _counted(results: Sequence[Result]) -> Iterator[Line]:
    """Say how many there are of each verdict, where not all of them are told one by one."""
    found = Counter(one.verdict.word for one in results if not one.accepted)
    found["accepted"] = sum(bool(one.accepted) for one in results)
    words = ", ".join(f"{found[word]} {word}" for word in ("violated", "unknown", "holds", "accepted") if found[word])
    yield line((f"  {len(results)} results: {words}; --verbose tells each of them", "dim"))


def _fold(fold: Fold, told: set[str], drawn: dict[Path, str]) -> Iterator[Line]:
    """Tell many results of one rule: what they come to, counted, and the shortest of them in full."""
    first, count = fold.results[0], len(fold.results)
    word = first.verdict.word
    yield line(
        "  ",
        (f"{word:9}", "dim" if first.accepted else word),
        (first.id, "bold"),
        f"  {count} times, by what they come to:",
    )
    rows = [(str(len(some)), name, _nearest(some)) for name, some in fold.parts[:_MOST_ROWS]]
    widths = [max(len(safe(row[at])) for row in rows) for at in range(2)]
    for number, name, place in rows:
        yield line(f"      {number:>{widths[0]}}  ", (f"{safe(name):{widths[1]}}", "bold"), ("  " + place, "dim"))
    rest = fold.parts[_MOST_ROWS:]
    if rest:
        left = sum(len(some) for _, some in rest)
        yield line((f"      {left:>{widths[0]}}  come to {len(rest)} others", "dim"))
    yield line("    the shortest of them:")
    yield from _result(fold.shortest, told, drawn)


def _nearest(results: Sequence[Result]) -> str:
    """Return where the shortest path among results ends, and in how many functions others do."""
    nearest = path_of(min(results, key=lambda one: len(path_of(one))))[-1].place
    functions = {path_of(one)[-1].place.split("+")[0] for one in results} - {nearest.split("+")[0]}
    others = f" and in {len(functions)} other function{'s'[: len(functions) > 1]}" if functions else ""
    return safe(nearest) + others


def _result(result: Result, told: set[str], drawn: dict[Path, str]) -> Iterator[Line]:
    """Tell one result; what was `told` or `drawn` of others before is not repeated."""
    verdict = result.verdict
    of = f" (by {verdict.of})" if isinstance(verdict, Violated) and verdict.of else ""
    yield line(
        "  ",
        (f"{verdict.word:9}", "dim" if result.accepted else verdict.word),
        (result.id, "bold"),
        f"{of}  {result.title}",
    )
    if isinstance(verdict, Holds):
        for bound in verdict.bounds:
            yield line((f"             {bound}", "dim"))
        if result.outcome:
            yield from _outcome(result)
        return
    if result.accepted:
        yield line("             ", ("accepted", "holds"), f": {safe(result.accepted)}")
    if result.id not in told and result.why:
        yield line(f"             why: {result.why}")
    if isinstance(verdict, Unknown):
        yield line(f"             {safe(verdict.why)}")
        for one in verdict.missing:
            yield line(f"             missing: {safe(one)}")
    if verdict.path and (known := _drawn(verdict.path, drawn)):
        yield line(f"             {known}")
    elif verdict.path:
        yield from _path(verdict.path)
        drawn[verdict.path] = result.id
    elif isinstance(verdict, Violated):
        yield line("             it is never reached")
    if result.id not in told and result.remedy and not result.accepted:
        yield line(f"             mend: {result.remedy}")
    told.add(result.id)


def _outcome(result: Result) -> Iterator[Line]:
    """Tell what a litmus test came to, and how it comes about."""
    yield line("             ", (str(result.outcome), "bold"), f": {safe(result.why)}")
    if result.witness:
        yield from _path(result.witness)


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
        if step.source and "+0x" in step.place:  # the place of a model names its line itself
            place += f"  {safe(step.source)}"
        yield line(
            f"      {number:4}  ",
            (marks, "lane"),
            f"  {safe(step.observer):{width}}  ",
            (safe(step.what), "bold" if last else ""),
            ("  " + place, "dim"),
        )
        rest = "            " + " ".join("│" for _ in lanes) + "  " + " " * width + "    "
        if step.changed:
            changed = ", ".join(f"{safe(c.var)} {safe(c.old or '?')} → {safe(c.new)}" for c in step.changed)
            yield line((rest + changed, "dim"))
        if step.why and (last or step.why not in told):
            told.add(step.why)
            yield line((rest + safe(step.why), "unknown" if last else ""))


def _table(one: Table) -> Iterator[Line]:
    """Draw a table as wide as it has to be: no cell is cut."""
    yield line("")
    yield line("  ", (one.title, "bold"))
    rows = [one.columns, *(tuple(safe(cell) for cell in row) for row in one.rows)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(one.columns))]
    for number, row in enumerate(rows):
        text = "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths))
        yield line("    ", (text.rstrip(), "" if number else "dim"))
    yield line("")


def _coverage(answer: Answer) -> Iterator[Line]:
    looked = []
    if answer.search:
        search = answer.search
        looked.append(
            f"{search.states:,} states, {search.transitions:,} transitions, depth {search.depth}, "
            + ("complete" if search.complete else "NOT complete")
        )
    spelled = {name: value for name, value in answer.coverage.items() if isinstance(value, list) and _long(value)}
    for name, value in answer.coverage.items():
        if name in spelled:
            continue
        shown = ", ".join(value) if isinstance(value, list) else (f"{value:,}" if type(value) is int else str(value))
        looked.append(f"{name}: {safe(shown)}" if shown else f"{name}: none")
    if looked:
        yield line(("  looked at: " + "; ".join(looked), "dim"))
    for name, items in spelled.items():
        yield line(f"  {name}:")
        for item in items:
            yield line(f"    {safe(item)}")


def _long(items: list[str]) -> bool:
    return any(" at " in item for item in items)
