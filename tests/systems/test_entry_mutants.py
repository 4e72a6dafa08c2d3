"""Mutants made anew from the demonstration's sources, each beside a twin that differs in what the rules are about only.

At every place of the protected code a call is put in: of an instrumentable function, a violation where no range is open
there and nothing inside one; and in the twin of a protected one, which is never a violation. Every begin and every end
is taken out; in the twin an empty range is put in its place.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from nostale.contract import NotHere
from nostale.lint import lint, load_image
from nostale.systems.entry import demo
from nostale.systems.entry.image import NOINSTR_ESCAPE_RULE, NOINSTR_UNBALANCED_RULE

SOURCES = Path(demo.__file__).parent
RULES = (NOINSTR_ESCAPE_RULE, NOINSTR_UNBALANCED_RULE)  # other rules have mutants of their own
ESCAPE, UNBALANCED = (rule.id for rule in RULES)
QUIET = """PROTECTED void demo_quiet(struct frame *frame)
{
	demo_count += frame->cs;
}

"""
FIRST = "/* What must come first"
LOUD_CALL, QUIET_CALL = "demo_note(frame);", "demo_quiet(frame);"


class Place(NamedTuple):
    """A line to put something after, and whether a range is open there."""

    file: str
    line: int
    depth: int


def places_in_c() -> list[Place]:
    """Every statement of a protected function that has a frame; after a return nothing is reached."""
    found, inside, hidden, depth = [], False, False, 0
    for number, line in enumerate((SOURCES / "exception.c").read_text().splitlines()):
        if line.startswith(("PROTECTED", "}")):
            inside, depth = "struct frame *frame" in line, 0
        hidden = line.startswith("#if") or (hidden and not line.startswith("#endif"))
        depth += ("RANGE_BEGIN" in line) - ("RANGE_END" in line)
        if line == "traced:":
            depth = 1  # jumped to from within the range
        if inside and not hidden and re.search(r"[;{:]$", line) and "return" not in line:
            found.append(Place("exception.c", number, depth))
    return found


def places_in_assembly() -> list[Place]:
    """Every instruction that goes on to the next one."""
    lines = (SOURCES / "entry.S").read_text().splitlines()
    return [
        Place("entry.S", number, 0)
        for number, line in enumerate(lines)
        if re.match(r"(\w+:)?\t[a-z]", line) and not re.search(r"\t(jmp|iretq)", line)
    ]


PLACES = [*places_in_c(), *places_in_assembly()]
RANGES = [
    (number, line.strip())
    for number, line in enumerate((SOURCES / "exception.c").read_text().splitlines())
    if re.match(r"\t+RANGE_(BEGIN|END)\(\);", line)
]


@pytest.fixture
def violated(tmp_path, monkeypatch):
    """Build the demonstration with one line of one file changed; return which rules are violated, and by which call."""

    def run(name: str, file: str, line: int, changed: str) -> set[tuple[str, str | None]]:
        directory = tmp_path / name
        shutil.copytree(SOURCES, directory)
        lines = (directory / file).read_text().splitlines(keepends=True)
        lines[line] = changed.format(lines[line])
        (directory / file).write_text("".join(lines))
        with_quiet = (directory / "exception.c").read_text().replace(FIRST, QUIET + FIRST)
        (directory / "exception.c").write_text(with_quiet)
        monkeypatch.setattr(demo, "__file__", str(directory / "__init__.py"))
        try:
            built = demo.build_demo(directory, broken=False)
        except NotHere as lacking:
            pytest.skip(str(lacking))
        results = lint(load_image(built), RULES).results
        assert {one.verdict.word for one in results} <= {"holds", "violated"}
        return {(one.id, one.verdict.path[-1].callee) for one in results if one.verdict.word == "violated"}

    return run


def call(file: str, statement: str) -> str:
    return f"{{}}\t{statement}\n" if file.endswith(".c") else f"{{}}\tcall\t{statement.split('(')[0]}\n"


@pytest.mark.parametrize("place", PLACES, ids=[f"{one.file}:{one.line + 1}" for one in PLACES])
def test_a_call_put_in_is_found_where_no_range_is_open_and_its_protected_twin_never(violated, place):
    mutant = violated("mutant", place.file, place.line, call(place.file, LOUD_CALL))
    assert mutant == (set() if place.depth else {(ESCAPE, "demo_note")})
    assert violated("twin", place.file, place.line, call(place.file, QUIET_CALL)) == set()


@pytest.mark.parametrize(("line", "mark"), RANGES, ids=[f"{mark[6:-3]}:{line + 1}" for line, mark in RANGES])
def test_a_range_without_its_begin_or_end_is_found_and_an_empty_range_beside_it_not(violated, line, mark):
    rule = ESCAPE if mark == "RANGE_BEGIN();" else UNBALANCED
    assert rule in {name for name, _ in violated("mutant", "exception.c", line, "")}
    assert violated("twin", "exception.c", line, "{}RANGE_BEGIN();\nRANGE_END();\n") == set()


def test_there_are_places_of_every_sort():
    assert {(one.file, one.depth) for one in PLACES} == {("exception.c", 0), ("exception.c", 1), ("entry.S", 0)}
    assert len(PLACES) > 30
    assert {mark for _, mark in RANGES} == {"RANGE_BEGIN();", "RANGE_END();"}
