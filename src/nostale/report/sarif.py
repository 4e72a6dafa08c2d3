"""An answer as SARIF 2.1.0 (OASIS, with errata 01), for what shows and compares results of static analysis.

A violation is a `fail`, a doubt `open` ("insufficient information to decide", 3.27.9), what holds a `pass`. The path of
a result is its code flow, a thread flow an observer. Findings keep their fingerprint from build to build.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from nostale.contract import Answer, Holds, Page, Path, Result, Step, Unknown, Violated, finding_key, leaves
from nostale.report.line import safe

Object = dict[str, Any]

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_KINDS = {"violated": ("fail", "error"), "unknown": ("open", "none"), "holds": ("pass", "none")}


def to_sarif(answer: Answer, pages: Iterable[Page], version: str) -> str:
    """Return one log with one run, with a final line break.

    Args:
        answer: of any command that has results.
        pages: of the rules; a rule without one is described by its results.
        version: nostale's own.
    """
    results = [(leaf.target, result) for leaf in leaves(answer) for result in leaf.results]
    targets = dict.fromkeys(leaf.target for leaf in leaves(answer))
    rules = list(dict.fromkeys(result.id for _, result in results))
    known = {page.id: page for page in pages}
    driver = {
        "name": "nostale",
        "version": version,
        "rules": [_rule(next(one for _, one in results if one.id == id), known.get(id)) for id in rules],
    }
    run: Object = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": _notes(answer)}],
        "artifacts": [{"location": {"uri": _uri(target)}, "roles": ["analysisTarget"]} for target in targets],
        "results": [_result(result, target, rules.index(result.id)) for target, result in results],
        "properties": {"coverage": {leaf.target: dict(leaf.coverage) for leaf in leaves(answer)}},
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def _rule(result: Result, page: Page | None) -> Object:
    sections = tuple(page.sections if page else (("Why it is bad", result.why), ("Remedy", result.remedy)))
    told = [(heading, text) for heading, text in sections if text]
    made: Object = {
        "id": result.id,
        "shortDescription": {"text": result.title or result.id},
        "help": {
            "text": "\n\n".join(f"{heading}\n{text}" for heading, text in told) or result.title or result.id,
            "markdown": "\n\n".join(f"## {heading}\n\n{_markdown(heading, text)}" for heading, text in told),
        },
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": [result.system, *result.requirements]},
    }
    if result.why:
        made["fullDescription"] = {"text": result.why}
    return made


def _markdown(heading: str, text: str) -> str:
    return f"```\n{text.rstrip()}\n```" if heading == "Example" else text


def _result(result: Result, target: str, rule: int) -> Object:
    verdict = result.verdict
    kind, level = _KINDS[verdict.word]
    path = () if isinstance(verdict, Holds) else verdict.path
    made: Object = {
        "ruleId": result.id,
        "ruleIndex": rule,
        "kind": kind,
        "level": level,
        "message": {"text": safe(_message(result))},
        "analysisTarget": {"uri": _uri(target)},
        "properties": {"verdict": verdict.word, "assumptions": list(verdict.assumptions)},
    }
    key = finding_key(result)
    if key is not None:
        import hashlib  # here: it comes with OpenSSL, 6 MB

        digest = hashlib.sha256("\0".join((key.id, key.verdict, key.place)).encode()).hexdigest()
        made["partialFingerprints"] = {"nostaleFinding/v1": digest}
    if path:
        made["locations"] = [_location(path[-1], target)]
        made["codeFlows"] = [{"threadFlows": _flows(path, target)}]
    if isinstance(verdict, Unknown):
        made["properties"]["missing"] = list(verdict.missing)
    if result.accepted:
        made["suppressions"] = [{"kind": "external", "status": "accepted", "justification": result.accepted}]
    return made


def _message(result: Result) -> str:
    verdict = result.verdict
    if isinstance(verdict, Holds):
        return "; ".join((result.title, *verdict.bounds))
    if isinstance(verdict, Violated):
        last = verdict.path[-1] if verdict.path else None
        return ". ".join(part for part in (last.what, last.why) if part) if last else f"never reached: {result.title}"
    what = f"{verdict.path[-1].what}. " if verdict.path else ""
    return f"{what}{verdict.why}" + ("" if verdict.path else f": {'; '.join(verdict.missing)}")


def _flows(path: Path, target: str) -> list[Object]:
    """Return a thread flow an observer; the order between them is that of execution."""
    observers = list(dict.fromkeys(step.observer for step in path))
    return [
        {
            "id": safe(observer),
            "locations": [
                {"executionOrder": number, "location": {**_location(step, target), "message": {"text": _told(step)}}}
                for number, step in enumerate(path, 1)
                if step.observer == observer
            ],
        }
        for observer in observers
    ]


def _told(step: Step) -> str:
    changed = ", ".join(f"{one.var} {one.old or '?'} -> {one.new}" for one in step.changed)
    return safe("; ".join(part for part in (step.what, changed, step.why) if part))


def _location(step: Step, target: str) -> Object:
    """Return where a step is: symbol and offset, and the line of the source, or else the image."""
    name, _, offset = step.place.partition("+0x")
    made: Object = {
        "logicalLocations": [
            {"name": safe(name), "fullyQualifiedName": safe(step.place), "kind": "function" if offset else "member"}
        ]
    }
    file, _, number = (step.source or "").rpartition(":")
    physical: Object = {"artifactLocation": {"uri": _uri(file or target)}}
    if file and number.isdecimal() and int(number) > 0:
        physical["region"] = {"startLine": int(number)}
    made["physicalLocation"] = physical
    return made


def _uri(path: str) -> str:
    """Return a relative reference or, of an absolute path, a file: URI (RFC 3986)."""
    quoted = quote(path, safe="/")
    return f"file://{quoted}" if quoted.startswith("/") else quoted


def _notes(answer: Answer) -> list[Object]:
    own: list[Object] = [{"level": "note", "message": {"text": safe(text)}} for text in answer.notes]
    return own + [note for part in answer.parts for note in _notes(part)]
