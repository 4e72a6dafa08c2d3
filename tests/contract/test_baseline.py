"""Known findings are accepted by rule, verdict, function and callee, with a reason, and nothing else is."""

from __future__ import annotations

import pytest

from nostale.contract import (
    Answer,
    BadInput,
    Holds,
    Result,
    Step,
    Unknown,
    Violated,
    compare,
    finding_key,
    read_baseline,
)

ENTRY = '[[accept]]\nid = "entry.escape"\nplace = "{place}"\nverdict = "{verdict}"\nreason = "by design"\n'


def finding(place, callee=None, verdict=Violated, id="entry.escape"):
    path = (Step("f", place, "call", callee=callee),)
    return Result(id, "", "", (), Violated(path) if verdict is Violated else Unknown("why", path=path))


def answer(*results, target="vmlinux.o"):
    return Answer("lint", target, {}, results)


def accepted(result, place="f -> g", verdict="violated", target="vmlinux.o", more=""):
    text = ENTRY.format(place=place, verdict=verdict) + more
    return bool(read_baseline(text, "b.toml").applied(answer(result, target=target)).results[0].accepted)


@pytest.mark.parametrize(
    "place", ["f+0x4", "f+0x1f0", "f.isra.0+0x4", "f.cold+0x4", "f.part.12.cold+0x4", "f.constprop.0+0x0"]
)
def test_what_a_build_changes_does_not_matter(place):
    assert accepted(finding(place, "g"))
    assert accepted(finding("f+0x4", "g.constprop.3"))


@pytest.mark.parametrize(
    "other",
    [
        finding("f2+0x4", "g"),
        finding("f+0x4", "g2"),
        finding("f+0x4"),
        finding("f+0x4", "g", Unknown),
        finding("f+0x4", "g", id="entry.other"),
    ],
)
def test_another_finding_is_not_accepted(other):
    assert not accepted(other)


def test_patterns_stand_for_many_and_stop_at_the_arrow():
    assert accepted(finding("foo_bar+0x1", "printk"), "foo_* -> *")
    assert not accepted(finding("foo_bar+0x1"), "foo_* -> *") and not accepted(finding("foo_bar+0x1", "g"), "*")


def test_an_entry_may_be_for_one_image_only():
    more = 'image = "kvm*.ko"\n'
    assert accepted(finding("f+0x1", "g"), target="build/kvm_intel.ko", more=more)
    assert not accepted(finding("f+0x1", "g"), target="build/vmlinux.o", more=more)


def test_slots_of_one_table_are_told_apart():
    assert finding_key(finding("f+0x1", "*ops+0x8")) != finding_key(finding("f+0x1", "*ops+0x10"))


def test_accepted_findings_do_not_count_and_others_do():
    known = read_baseline(ENTRY.format(place="f -> g", verdict="violated"), "b.toml")
    assert known.applied(answer(finding("f+0x4", "g"))).verdict == "holds"
    assert known.applied(answer(finding("f+0x4", "g"), finding("f+0x9", "h", Unknown))).verdict == "unknown"
    assert known.applied(answer(finding("f+0x4", "g"), finding("f+0x9", "h"))).verdict == "violated"


def test_what_accepts_nothing_any_more_is_told():
    known = read_baseline(ENTRY.format(place="gone -> g", verdict="violated"), "b.toml")
    note = "b.toml: accepts nothing any more, remove it: violated entry.escape at gone -> g"
    assert known.applied(answer(finding("f+0x4", "g"))).notes == (note,)


def test_an_entry_that_accepts_in_any_part_is_in_use():
    known = read_baseline(ENTRY.format(place="f -> g", verdict="violated"), "b.toml")
    parts = (answer(Result("entry.escape", "", "", (), Holds())), answer(finding("f+0x4", "g")))
    whole = known.applied(Answer("lint", "2 images", {}, (), parts=parts))
    assert whole.notes == () and whole.verdict == "holds"


FORM = "write [[accept]] with id, place, verdict, reason"
FAULTS = {
    "a = ": f"b.toml: is not TOML: Invalid value (at end of document); {FORM}",
    "[[acept]]\n": f"b.toml: acept is not a list of entries; {FORM}",
    "accept = 1\n": f"b.toml: accept is not a list of entries; {FORM}",
    "accept = [1]\n": f"b.toml: entry 1: is not a table of texts; {FORM}",
    '[[accept]]\nid = "x"\nplace = "f"\nverdict = "unknown"\n': f"b.toml: entry 1: has no reason; {FORM}",
    ENTRY.format(place="f", verdict="holds"): "b.toml: entry 1: has the verdict 'holds'; write violated or unknown",
    ENTRY.format(place="f", verdict="unknown")
    + 'line = "3"\n': f"b.toml: entry 1: has 'line', which means nothing here; {FORM}",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_is_one_line_with_a_remedy(text):
    with pytest.raises(BadInput) as caught:
        read_baseline(text, "b.toml")
    assert str(caught.value) == FAULTS[text]


def told(old, new):
    found = compare(answer(*old, target="old.o"), answer(*new, target="new.o"))
    gained = [(one.verdict.word, one.verdict.path[-1].place) for one in found.results if one.verdict.word != "holds"]
    return gained, found.coverage.get("no longer there", []), found.verdict


def test_a_finding_that_only_moved_is_neither_gained_nor_lost():
    assert told([finding("f+0x4", "g")], [finding("f+0x40", "g")]) == ([], [], "holds")


def test_what_is_gained_and_what_is_lost_are_told_apart():
    old, new = [finding("f+0x4", "g")], [finding("h+0x8", "g")]
    assert told(old, new) == ([("violated", "h+0x8")], ["violated entry.escape at f -> g"], "violated")
    assert told(old, []) == ([], ["violated entry.escape at f -> g"], "holds")


def test_of_several_alike_only_as_many_as_there_are_more_of_are_gained():
    old, new = [finding("f+0x4", "g")], [finding("f+0x4", "g"), finding("f+0x9", "g")]
    assert told(old, new) == ([("violated", "f+0x9")], [], "violated")


def test_a_doubt_that_became_a_violation_is_gained():
    found = told([finding("f+0x4", "g", Unknown)], [finding("f+0x4", "g")])
    assert found == ([("violated", "f+0x4")], ["unknown entry.escape at f -> g"], "violated")
