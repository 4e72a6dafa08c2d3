"""The reference is what the contracts and rules say, and every rule says everything by the fixed headings."""

from __future__ import annotations

from pathlib import Path

import pytest

from nostale.report import page_to_markdown
from nostale.systems.catalogue import SYSTEMS
from nostale.systems.pages import contract_page, reference

DIRECTORY = Path(__file__).resolve().parents[2] / "docs/reference"
HEADINGS = ("What it does", "Why it is bad", "Example", "Remedy", "Source", "Requirements")
LINTED = [(system, rule) for system in SYSTEMS for rule in system.rules()]


def test_the_reference_is_what_the_rules_say():
    said = {name: page_to_markdown(page) for name, page in reference()}
    written = {path.name: path.read_text() for path in DIRECTORY.glob("*.md")}
    assert sorted(written) == sorted(said), "run make docs"
    for name, text in said.items():
        assert written[name] == text, f"{name} is out of date: run make docs"


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda one: one.name)
def test_what_is_listed_as_watched_is_what_monitors_judge(system):
    assert [one.binding.contract for one in system.monitors()] == list(system.watched)


@pytest.mark.parametrize(("system", "rule"), LINTED, ids=lambda one: getattr(one, "id", ""))
def test_a_rule_has_every_heading_in_the_fixed_order(system, rule):
    page = contract_page(system, rule.contract)
    assert tuple(heading for heading, text in page.sections if heading in HEADINGS and text) == HEADINGS
