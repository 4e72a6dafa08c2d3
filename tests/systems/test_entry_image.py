from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from nostale.contract import NotHere
from nostale.lint import lint, load_image
from nostale.systems.entry import demo
from nostale.systems.entry.contract import CONTRACTS, DEPTH_LIMIT, NOINSTR_ESCAPE, NOINSTR_UNBALANCED
from nostale.systems.entry.image import NOINSTR_ESCAPE_RULE, PROBE_RECURSION_RULE, RULES


def compiled(directory: Path, *, broken: bool = False) -> Path:
    try:
        return demo.build_demo(directory, broken=broken)
    except NotHere as lacking:
        pytest.skip(str(lacking))


def found(path, rules=RULES):
    """Return (rule, verdict, function, callee) of each result; where in the function is the compiler's choice."""
    results = []
    for result in lint(load_image(path), rules).results:
        last = result.verdict.path[-1] if result.verdict.word == "violated" else None
        function = last.place.split("+")[0] if last else None
        results.append((result.id, result.verdict.word, function, last.callee if last else None))
    return results


# The demonstration has no breakpoint handler, no NMI's, no paranoid entry and no pair in one function.
ELSEWHERE = {PROBE_RECURSION_RULE.id, "entry.pairing", "entry.cr3-before-gs", "entry.nmi-latch"}
GOOD = [(rule.id, "holds", None, None) for rule in RULES if rule.id not in ELSEWHERE]
BROKEN = [
    ("entry.noinstr-escape", "violated", "demo_exception", "demo_note"),
    ("entry.noinstr-unbalanced", "violated", "demo_interrupt", None),
    *GOOD[2:],
]


def test_the_demonstration_holds(tmp_path):
    assert found(compiled(tmp_path)) == GOOD


def test_the_demonstration_is_not_vacuous(tmp_path):
    coverage = lint(load_image(compiled(tmp_path)), RULES).coverage
    assert coverage["sections"] == [".noinstr.text", ".entry.text"]
    for what in ("annotations", "alternatives", "jump_labels", "calls", "tail_calls", "returns", "resumes"):
        assert coverage[what] > 0
    assert coverage["instructions_not_reached"] == coverage["annotations_elsewhere"] == 0


def test_its_broken_twin_is_violated_once_by_each_rule(tmp_path):
    assert found(compiled(tmp_path, broken=True)) == BROKEN


def test_the_broken_path_is_told_from_the_entry_over_the_branch(tmp_path):
    answer = lint(load_image(compiled(tmp_path, broken=True)), RULES)
    path = answer.results[0].verdict.path
    assert (path[0].place, path[0].what) == ("demo_exception+0x0", "entered")
    assert path[1].what.startswith("branch ")
    assert path[-1].what == "call to demo_note() leaves .noinstr.text section"


def mended(tmp_path, monkeypatch, old, new):
    """Compile the demonstration with its source changed in one place."""
    directory = tmp_path / "source"
    shutil.copytree(Path(demo.__file__).parent, directory)
    for name in demo.SOURCES:
        text = (directory / name).read_text()
        (directory / name).write_text(text.replace(old, new, 1))
    monkeypatch.setattr(demo, "__file__", str(directory / "__init__.py"))
    return compiled(tmp_path)


ESCAPE, UNBALANCED = "entry.noinstr-escape", "entry.noinstr-unbalanced"

# Each takes one thing away that the demonstration needs: who must notice.
TEETH = [
    ("drop the first begin", "\tRANGE_BEGIN();\n", "", ESCAPE),
    ("drop an end on the traced path", "\tdemo_note(frame);\n\tRANGE_END();", "\tdemo_note(frame);", UNBALANCED),
    ("handle before the range", "\tRANGE_BEGIN();\n\tdemo_handle(frame);", "\tdemo_handle(frame);", ESCAPE),
    ("call the handler from assembly", "call\tdemo_exception", "call\tdemo_handle", ESCAPE),
    ("call the handler in an alternative", "663:\tlfence", "663:\tcall demo_handle", ESCAPE),
    ("establish the context too late", "PROTECTED unsigned long", "INSTRUMENTABLE unsigned long", ESCAPE),
]


@pytest.mark.parametrize(("old", "new", "rule"), [tooth[1:] for tooth in TEETH], ids=[tooth[0] for tooth in TEETH])
def test_a_piece_taken_out_of_the_demonstration_is_noticed(tmp_path, monkeypatch, old, new, rule):
    assert rule in {name for name, word, _, _ in found(mended(tmp_path, monkeypatch, old, new)) if word == "violated"}


def test_an_engine_that_sees_no_transfer_would_not_pass(tmp_path):
    blind = replace(NOINSTR_ESCAPE_RULE, classify=lambda transfer, section: ())
    assert found(compiled(tmp_path, broken=True), [blind]) != BROKEN[:1]


def test_an_engine_that_reports_every_place_would_not_pass(tmp_path):
    deaf = replace(NOINSTR_ESCAPE_RULE, marks=((".discard.instr_begin", "end"), (".discard.instr_end", "end")))
    assert found(compiled(tmp_path), [deaf]) != GOOD[:1]


def test_without_a_compiler_it_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "")
    with pytest.raises(NotHere, match="no C compiler found; install gcc or clang"):
        demo.build_demo(tmp_path, broken=False)


def test_a_compiler_that_fails_is_not_here(tmp_path, monkeypatch):
    fake = tmp_path / "cc"
    fake.write_text("#!/bin/sh\n[ \"$1\" = --version ] && exec echo fake 1.0\necho 'x.c:1: error: no' >&2; exit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("CC", str(fake))
    with pytest.raises(NotHere, match=r"does not compile exception\.c: x\.c:1: error: no"):
        demo.build_demo(tmp_path, broken=False)


def run(contract, events, state="0"):
    for event in events.split():
        state = contract.automaton.step(state, event)
        if state is None:
            return "broken"
    return state


def test_an_escape_needs_an_open_range():
    assert run(NOINSTR_ESCAPE, "enter begin escape end") == "0"
    assert run(NOINSTR_ESCAPE, "enter escape") == "broken"
    assert run(NOINSTR_ESCAPE, "enter begin end escape") == "broken"


def test_a_new_entry_makes_the_view_stale_again():
    assert run(NOINSTR_ESCAPE, "enter begin enter escape") == "broken"


def test_ranges_nest_and_an_end_too_many_voids_the_next():
    assert run(NOINSTR_ESCAPE, "begin begin end escape") == "1"
    assert run(NOINSTR_ESCAPE, "end begin escape") == "broken"


def test_a_return_needs_every_range_closed():
    assert run(NOINSTR_UNBALANCED, "begin end return") == "0"
    assert run(NOINSTR_UNBALANCED, "begin return") == "broken"
    assert run(NOINSTR_UNBALANCED, "end return") == "-1"


def test_past_the_limit_nothing_is_concluded():
    assert run(NOINSTR_ESCAPE, "end " * (DEPTH_LIMIT + 1) + "escape") == "beyond"


def test_each_rule_says_everything_that_its_page_needs():
    assert tuple(rule.contract for rule in RULES) == CONTRACTS
    for rule in RULES:
        assert all((rule.what, rule.why, rule.example, rule.remedy, rule.sources, rule.requirements, rule.title))
