"""SARIF is by the standard's own schema, and says what the answer says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest

from nostale.contract import Answer, Changed, Holds, Page, Result, Step, Unknown, Violated
from nostale.report import to_sarif

ROOT = Path(__file__).resolve().parents[2]
WHERE = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
PATH = (
    Step("CPU 0", "f+0x0", "entered", "why so"),
    Step("CPU 1", "g+0x8", "stores", source="kernel/x.c:12", changed=(Changed("x", None, "1"),)),
    Step("CPU 0", "f+0x1a", "call to\x1b printk", "it may be traced", "printk", "kernel/entry/common.c:40"),
)
RESULTS = (
    Result("entry.a", "a promise", "bad", ("EN-1",), Violated(PATH, assumptions=("that",)), "mend it"),
    Result(
        "entry.a",
        "a promise",
        "bad",
        ("EN-1",),
        Unknown("cannot tell", ("what",), PATH[:1]),
        "mend it",
        accepted="known",
    ),
    Result("entry.b", "another", "", (), Unknown("not everything could be seen", ("this",))),
    Result("entry.c", "a third", "", (), Holds(("9 instructions",))),
)
ANSWER = Answer("lint", "a b.o", {"sections": ["x"], "functions": 2}, RESULTS, notes=("a note",))
PAGES = [Page("entry.a", "a promise", (("What it does", "looks"), ("Example", "\tret\n"), ("Empty", "")))]


def log(answer=ANSWER):
    return json.loads(to_sarif(answer, PAGES, "1.2.3"))


@pytest.fixture(scope="session")
def schema():
    """OASIS's schema is not kept here: its terms are for the whole standard. Where it was fetched, it is used."""
    path = Path(os.environ.get("NOSTALE_SARIF_SCHEMA", ROOT / "build/sarif-schema-2.1.0.json"))
    if not path.is_file():
        pytest.skip(f"no schema at {path}: fetch it from {WHERE}, or set NOSTALE_SARIF_SCHEMA")
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    "answer", [ANSWER, Answer("lint", "2 images", {}, (), parts=(ANSWER, ANSWER)), Answer("lint", "x", {}, ())]
)
def test_it_is_by_the_schema_of_the_standard(schema, answer):
    jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker()).validate(log(answer))


def test_a_log_that_is_not_by_the_schema_would_be_refused(schema):
    broken = log()
    broken["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(schema).validate(broken)


def results():
    return log()["runs"][0]["results"]


def test_each_verdict_has_its_kind_and_only_a_failure_a_level():
    kinds = [(one["kind"], one["level"]) for one in results()]
    assert kinds == [("fail", "error"), ("open", "none"), ("open", "none"), ("pass", "none")]


def test_a_result_points_at_its_rule_which_has_its_page():
    rules = log()["runs"][0]["tool"]["driver"]["rules"]
    assert [rules[one["ruleIndex"]]["id"] for one in results()] == [one["ruleId"] for one in results()]
    assert rules[0]["help"]["markdown"] == "## What it does\n\nlooks\n\n## Example\n\n```\n\tret\n```"
    assert rules[0]["properties"]["tags"] == ["entry", "EN-1"]


def test_the_path_is_a_code_flow_with_a_thread_flow_an_observer():
    (flow,) = results()[0]["codeFlows"]
    order = {one["id"]: [step["executionOrder"] for step in one["locations"]] for one in flow["threadFlows"]}
    assert order == {"CPU 0": [1, 3], "CPU 1": [2]}
    assert flow["threadFlows"][1]["locations"][0]["location"]["message"]["text"] == "stores; x ? -> 1"


def test_the_place_is_the_symbol_and_the_line_where_it_is_known():
    (place,) = results()[0]["locations"]
    assert place["logicalLocations"] == [{"name": "f", "fullyQualifiedName": "f+0x1a", "kind": "function"}]
    physical = {"artifactLocation": {"uri": "kernel/entry/common.c"}, "region": {"startLine": 40}}
    assert place["physicalLocation"] == physical
    (unknown,) = results()[1]["locations"]
    assert unknown["physicalLocation"] == {"artifactLocation": {"uri": "a%20b.o"}}


def test_control_characters_do_not_come_through():
    assert "\x1b" not in to_sarif(ANSWER, PAGES, "1") and "\\u001b" not in to_sarif(ANSWER, PAGES, "1")


def test_what_is_accepted_is_suppressed_with_its_reason():
    suppressed = {"kind": "external", "status": "accepted", "justification": "known"}
    assert ["suppressions" in one for one in results()] == [False, True, False, False]
    assert results()[1]["suppressions"] == [suppressed]


def test_a_fingerprint_outlives_a_build_and_tells_findings_apart():
    def prints(place, callee):
        path = (Step("f", place, "call", callee=callee),)
        answer = Answer("lint", "x.o", {}, (Result("entry.a", "", "", (), Violated(path)),))
        return log(answer)["runs"][0]["results"][0]["partialFingerprints"]

    assert prints("f+0x4", "g") == prints("f.isra.0+0x40", "g") != prints("f+0x4", "h")


def test_notes_and_coverage_come_along():
    run = log()["runs"][0]
    assert run["invocations"][0]["toolExecutionNotifications"] == [{"level": "note", "message": {"text": "a note"}}]
    assert run["properties"]["coverage"] == {"a b.o": {"sections": ["x"], "functions": 2}}
