"""An answer as JSON, by schema/result.schema.json: keys sorted, times in ns, the same bytes for the same answer."""

from __future__ import annotations

import json
from typing import Any

from nostale.contract import (
    Answer,
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

Object = dict[str, Any]


def to_json(answer: Answer) -> str:
    """Return the whole answer as one JSON object, with a final line break."""
    return json.dumps(_answer(answer), sort_keys=True, indent=1, ensure_ascii=False) + "\n"


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
        made["breaks"] = [_interruption(one) for one in answer.breaks]
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


def _interruption(one: Interruption) -> Object:
    made: Object = {
        "cpu": one.cpu,
        "start_ns": one.start_ns,
        "duration_ns": one.duration_ns,
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
            made[name] = getattr(one, name)
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
        made["sent_ns"] = cause.sent_ns
    if cause.chain:
        made["chain"] = [
            {"how": one.how, "cpu": one.cpu, "task": one.task, "pid": one.pid, "syscall": one.syscall}
            for one in cause.chain
        ]
    return made
