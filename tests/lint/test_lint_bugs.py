"""Real bugs of the kernel, made again in small: the rule finds each, and what it was mended to is clean.

The rows are those of the list of bugs that the project is measured by. Rules know nothing of a row; where a bug breaks
a protocol of its own, an automaton beside the source says what that is.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from nostale.lint import custom_rule, lint, load_image
from nostale.systems.catalogue import SYSTEMS
from nostale.systems.claims import read_reconstructed
from nostale.systems.entry.demo import FLAGS

BUGS = Path(__file__).parent / "bugs"
ROWS = read_reconstructed((BUGS / "bugs.toml").read_text())
each = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)


def rule_of(row):
    if not row.by.endswith(".dot"):
        return next(rule for system in SYSTEMS for rule in system.rules() if rule.id == row.by)
    dot, bind = BUGS / row.by, BUGS / f"{row.id}.toml"
    return custom_rule(dot.read_text(), dot.name, bind.read_text(), bind.name)


def verdicts(row, directory, *flags):
    (source,) = BUGS.glob(f"{row.id}_*")
    found = shutil.which("cc") or shutil.which("gcc")
    if found is None:
        pytest.skip("no C compiler")
    built = directory / "bug.o"
    subprocess.run([found, *FLAGS, *flags, "-o", built, source], check=True)
    return [result.verdict for result in lint(load_image(built), [rule_of(row)]).results]


@each
def test_the_bug_is_found_where_it_is(tmp_path, row):
    """Once, or once a machine where the rule asks of several."""
    lasts = {one.path[-1] for one in verdicts(row, tmp_path) if one.word == "violated"}
    assert [(last.place.split("+")[0], last.callee or "") for last in lasts] == [(row.function, row.callee)]


@each
def test_what_it_was_mended_to_holds(tmp_path, row):
    assert {one.word for one in verdicts(row, tmp_path, "-DFIXED")} == {"holds"}


def test_every_source_is_in_the_table():
    assert sorted({path.name.split("_")[0] for path in BUGS.glob("B*_*")}) == [row.id for row in ROWS]
