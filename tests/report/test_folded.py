"""Many findings of one rule are told as one, with a count each; nothing is folded that is few or all different."""

from __future__ import annotations

import json

from nostale.contract import Answer, Holds, Result, Step, Unknown, Violated
from nostale.report import to_json, to_sarif, to_text


def finding(function, callee, steps=1, verdict=Unknown, id="entry.some-rule", accepted=""):
    path = tuple(Step(function, f"{function}+{at:#x}", "goes on") for at in range(steps))
    path = (*path, Step(function, f"{function}+0x10", f"call to {callee}()", callee=callee))
    made = Violated(path) if verdict is Violated else Unknown("it is not known", path=path)
    return Result(id, "nothing goes there", "it matters", (), made, "go elsewhere", accepted=accepted)


def text(*results, **options):
    return to_text(Answer("lint", "vmlinux", {}, results), **options).splitlines()


MANY = [finding(f"f{at}", "callee", steps=9 - at) for at in range(7)]
MANY += [finding("g", "other", steps=at + 3) for at in range(2)]


def test_many_of_one_rule_are_counted_by_callee_and_the_shortest_is_told_in_full():
    assert text(*MANY) == [
        "unknown  vmlinux",
        "  9 results: 9 unknown; --verbose tells each of them",
        "  unknown  entry.some-rule  9 times, by what they come to:",
        "      7  callee  f6+0x10 and in 6 other functions",
        "      2  other   g+0x10",
        "    the shortest of them:",
        "  unknown  entry.some-rule  nothing goes there",
        "             why: it matters",
        "             it is not known",
        "         1  ●  f6  goes on  f6+0x0",
        "         2  ●  f6  goes on  f6+0x1",
        "         3  ●  f6  goes on  f6+0x2",
        "         4  ●  f6  call to callee()  f6+0x10 → callee",
        "             mend: go elsewhere",
    ]


def test_verbose_tells_each_in_full():
    lines = text(*MANY, verbose=True)
    assert sum("entry.some-rule" in one for one in lines) == len(MANY)
    assert not [one for one in lines if "results:" in one]


def test_few_and_all_different_are_told_one_by_one_in_their_order():
    for results in (MANY[:8], [finding("f", f"callee{at}") for at in range(30)]):
        lines = text(*results)
        assert lines == text(*results, verbose=True)
        assert sum("entry.some-rule" in one for one in lines) == len(results)


def test_what_is_violated_is_told_before_what_was_folded_and_apart_from_it():
    lines = text(*MANY, finding("h", "callee", verdict=Violated))
    assert lines[1] == "  10 results: 1 violated, 9 unknown; --verbose tells each of them"
    assert lines[2] == "  violated entry.some-rule  nothing goes there"
    assert "      7  callee  f6+0x10 and in 6 other functions" in lines


def test_what_is_accepted_is_counted_as_that_and_what_has_no_path_stands_for_itself():
    whole = Result("entry.some-rule", "nothing goes there", "", (), Unknown("not everything could be seen"))
    lines = text(*(finding("f", "callee", accepted="known") for _ in range(9)), whole, *MANY)
    assert lines[1] == "  19 results: 10 unknown, 9 accepted; --verbose tells each of them"
    assert [one for one in lines if "not everything could be seen" in one]
    assert sum("times, by what" in one for one in lines) == 2


def test_a_long_list_ends_with_how_many_are_left():
    lines = text(*(finding("f", f"callee{at // 2:02}") for at in range(60)))
    assert "      28  come to 14 others" in lines
    assert sum(one.startswith("      2  callee") for one in lines) == 16


def test_a_rule_that_holds_is_never_folded_and_other_forms_leave_nothing_out():
    assert sum("entry.some-rule" in one for one in text(*(held() for _ in range(20)))) == 20
    answer = Answer("lint", "vmlinux", {}, tuple(MANY))
    assert len(json.loads(to_json(answer))["results"]) == len(MANY)
    assert len(json.loads(to_sarif(answer, (), "1"))["runs"][0]["results"]) == len(MANY)


def held():
    return Result("entry.some-rule", "nothing goes there", "", (), Holds())
