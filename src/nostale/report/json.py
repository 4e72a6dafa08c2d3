"""An answer as JSON, by schema/result.schema.json: keys sorted, times in ns, the same bytes for the same answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from json.encoder import encode_basestring
from typing import Any, Final

from nostale.contract import (
    Answer,
    Breaks,
    Cause,
    Change,
    Checked,
    Holds,
    Interruption,
    Result,
    Step,
    Total,
    Unknown,
    Violated,
    totals,
)
from nostale.contract.breaks import NONE

Object = dict[str, Any]
_TIME: Final = "\x01"  # stands for a time: a string of JSON has no such character
_WRITTEN_AT_ONCE: Final = 1 << 10


def to_json(answer: Answer) -> str:
    """Return the whole answer as one JSON object, with a final line break."""
    return "".join(json_pieces(answer))


def json_pieces(answer: Answer) -> Iterator[str]:
    """Yield what `to_json` returns piece by piece: a million breaks as one text take gigabytes.

    The bytes are those of `json.dumps(..., sort_keys=True, indent=1, ensure_ascii=False)`, whose encoder is Python,
    too, where it indents.
    """
    yield from _pieces(_answer(answer), 0)
    yield "\n"


@dataclass(frozen=True, slots=True)
class _Each:
    """A list whose elements are written one at a time; `texts` is told how deep they stand."""

    texts: Callable[[int], Iterator[str]]


class _Written(str):
    """JSON as it will stand but for its indentation: no string of JSON holds a line break."""

    __slots__ = ()


def _pieces(value: Any, depth: int) -> Iterator[str]:  # noqa: ANN401  # whatever JSON can hold
    """Yield the parts of `value`, which begins on a line indented by `depth`."""
    inner, end = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(value, _Each):
        before, some = "[", list[str]()
        for text in value.texts(depth + 1):
            some += (before, inner, text)
            before = ","
            if len(some) > _WRITTEN_AT_ONCE:
                yield "".join(some)
                some.clear()
        yield "".join((*some, "[]" if before == "[" else f"{end}]"))
    elif isinstance(value, dict) and value:
        for number, name in enumerate(sorted(value)):
            yield f"{',' if number else '{'}{inner}{encode_basestring(name)}: "
            yield from _pieces(value[name], depth + 1)
        yield end + "}"
    elif isinstance(value, list) and value:
        for number, one in enumerate(value):
            yield ("," if number else "[") + inner
            yield from _pieces(one, depth + 1)
        yield end + "]"
    else:
        yield _text(value, depth)


def _text(value: Any, depth: int) -> str:  # noqa: ANN401  # likewise
    """Return the same as one text: for what is small."""
    kind = type(value)
    if kind is _Written:
        return str(value).replace("\n", "\n" + " " * depth)
    if kind is int:
        return str(value)
    if value is None:
        return "null"
    if kind is str:
        return encode_basestring(value)
    if kind is dict and value:
        inner = "\n" + " " * (depth + 1)
        items = [f"{encode_basestring(name)}: {_text(value[name], depth + 1)}" for name in sorted(value)]
        return "{" + inner + ("," + inner).join(items) + inner[:-1] + "}"
    if kind is list and value:
        inner = "\n" + " " * (depth + 1)
        return "[" + inner + ("," + inner).join([_text(one, depth + 1) for one in value]) + inner[:-1] + "]"
    return json.dumps(value, ensure_ascii=False)


def _answer(answer: Answer) -> Object:
    made: Object = {
        "schema": 1,
        "command": answer.command,
        "target": answer.target,
        "verdict": answer.verdict,
        "coverage": dict(answer.coverage),
        "results": [_result(result) for result in answer.results],
    }
    if answer.search:
        search = answer.search
        made |= {
            "states": search.states,
            "transitions": search.transitions,
            "depth": search.depth,
            "complete": search.complete,
        }
    if answer.breaks is not None:
        made["breaks"] = _Each(partial(_interruptions, answer.breaks))
        made["causes"] = [_total(one) for one in totals(answer.breaks)]
    if answer.changes is not None:
        made["changes"] = [_change(one) for one in answer.changes]
    if answer.requirements is not None:
        made["requirements"] = [_checked(one) for one in answer.requirements]
    if answer.tables:
        made["tables"] = [
            {"id": one.id, "title": one.title, "columns": list(one.columns), "rows": [list(row) for row in one.rows]}
            for one in answer.tables
        ]
    if answer.parts:
        made["parts"] = [_answer(part) for part in answer.parts]
    if answer.expected:
        made["expected"] = answer.expected
    return made


def _result(result: Result) -> Object:
    verdict = result.verdict
    made: Object = {
        "id": result.id,
        "system": result.system,
        "verdict": verdict.word,
        "title": result.title,
        "why": result.why,
        "requirements": list(result.requirements),
        "assumptions": list(verdict.assumptions),
        "path": [],
    }
    if result.remedy:
        made["remedy"] = result.remedy
    if result.accepted:
        made["accepted"] = result.accepted
    if result.outcome:
        made["outcome"] = result.outcome
    match verdict:
        case Holds():
            made["bounds"] = list(verdict.bounds)
            made["path"] = [_step(step) for step in result.witness]
        case Violated():
            made["path"] = [_step(step) for step in verdict.path]
            if verdict.of:
                made["of"] = str(verdict.of)
        case Unknown():
            made["path"] = [_step(step) for step in verdict.path]
            made |= {"unknown": verdict.why, "missing": list(verdict.missing)}
    return made


def _step(step: Step) -> Object:
    made: Object = {"observer": step.observer, "place": step.place, "what": step.what}
    for name in ("why", "callee", "source", "time_ns"):
        value = getattr(step, name)
        if value not in ("", None):
            made[name] = value
    if step.changed:
        made["changed"] = [{"var": c.var, "old": c.old, "new": c.new} for c in step.changed]
    return made


def _checked(one: Checked) -> Object:
    return {
        "id": one.id,
        "system": one.system,
        "text": one.text,
        "checked_by": [{"kind": kind, "name": name} for kind, name in one.by],
        "verdict": one.verdict,
        "why": one.why,
    }


def _total(one: Total) -> Object:
    return {
        "cause": str(one.cause),
        "count": one.count,
        "total_ns": one.total_ns,
        "worst_ns": one.worst_ns,
        "without_duration": one.open,
        "remedies": [{"remedy": remedy, "source": source} for remedy, source in one.remedies],
    }


def _change(one: Change) -> Object:
    return {
        "cause": str(one.cause),
        "old_count": one.old.count,
        "new_count": one.new.count,
        "old_per_s": round(one.old_per_s, 3),
        "new_per_s": round(one.new_per_s, 3),
        "old_worst_ns": one.old.worst_ns,
        "new_worst_ns": one.new.worst_ns,
        "chance": float(f"{one.chance:.3g}"),
        "changed": one.sure,
    }


def _interruptions(breaks: Breaks, depth: int) -> Iterator[str]:
    """Yield each interruption as it stands in the text: those alike have one form, into which the times are put."""
    forms: dict[tuple[int | bool, ...], str] = {}
    for row in breaks.rows():
        which, cpu, pid, start_ns, duration_ns, end_ns, at_most_ns, sent_ns = row
        key = (which, cpu, pid, duration_ns == NONE, end_ns == NONE, at_most_ns == NONE, sent_ns == NONE)
        form = forms.get(key)
        if form is None:
            made = _text(_interruption(breaks.made(*row)), depth)
            form = forms[key] = made.replace("%", "%%").replace(_TIME, "%d")
        # In the order of their names.
        times = (at_most_ns, sent_ns, duration_ns, end_ns, start_ns)
        yield form % tuple([time for time in times if time != NONE])


def _interruption(one: Interruption) -> Object:
    """Return an interruption with a place for each of its times."""
    made: Object = {
        "cpu": one.cpu,
        "start_ns": _Written(_TIME),
        "duration_ns": None if one.duration_ns is None else _Written(_TIME),
        "kind": str(one.kind),
        "cause": _cause(one.cause),
        "remedy": one.remedy,
        "task": one.task,
        "pid": one.pid,
    }
    if one.source:
        made["remedy_source"] = one.source
    for name in ("at_most_ns", "end_ns"):
        if getattr(one, name) is not None:
            made[name] = _Written(_TIME)
    if one.what_if:
        made["what_if"] = [
            {"measure": each.measure, "vanishes": str(each.vanishes), "why": each.why} for each in one.what_if
        ]
    return made


def _cause(cause: Cause) -> Object:
    made: Object = {
        "kind": str(cause.kind),
        "cpu": cause.cpu,
        "task": cause.task,
        "pid": cause.pid,
        "function": cause.function,
        "syscall": cause.syscall,
        "stack": list(cause.stack),
    }
    if cause.looked_at:
        made["looked_at"] = cause.looked_at
    if cause.detail:
        made["detail"] = cause.detail
    if cause.sent_ns is not None:
        made["sent_ns"] = _Written(_TIME)
    if cause.chain:
        made["chain"] = [
            {"how": one.how, "cpu": one.cpu, "task": one.task, "pid": one.pid, "syscall": one.syscall}
            for one in cause.chain
        ]
    return made
