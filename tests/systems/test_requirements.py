"""Every numbered requirement is listed, with what checks it; nothing is checked by what does not exist."""

import re

import pytest
from tests.house.test_documents import ROOT

from nostale.systems.catalogue import SYSTEMS
from nostale.systems.names import named_models
from nostale.systems.requirements import checked


def judged(word):
    """Run nothing: every model says `word`."""
    return lambda model: type("Said", (), {"verdict": word})()


EVERY = list(checked(SYSTEMS, judged("holds")))
DONE = ("isolation", "lazytlb", "codegen")


def test_each_is_listed_once():
    ids = [one.id for one in EVERY]
    assert len(ids) == len(set(ids)) and len(ids) > 100


def test_they_are_those_of_the_threads(shared):
    said = re.findall(
        r"^\| ((?:TI|EN|LT|WD|CG)-[0-9]+[a-c]?|[RI][0-9]) \|", (shared / "facts/requirements.md").read_text(), re.M
    )
    assert {one.id for one in EVERY} == set(said)


@pytest.mark.parametrize("one", [one for one in EVERY if one.system in DONE], ids=lambda one: one.id)
def test_a_requirement_is_checked_or_says_why_not(one):
    assert one.verdict != "not yet" and one.why
    assert one.by or one.verdict == "unknown"


def test_what_checks_exists():
    models, contracts = named_models(), {c.id for s in SYSTEMS for c in s.contracts}
    rules = {rule.id for s in SYSTEMS for rule in s.rules()}
    for one in EVERY:
        for kind, name in one.by:
            known = {"model": models, "contract": contracts, "rule": rules, "monitor": contracts}.get(kind)
            assert (name in known) if known is not None else kind == "command" or (ROOT / name).exists(), (one.id, name)


def test_a_model_that_fails_is_told():
    found = {one.id: one for one in checked(SYSTEMS, judged("violated"))}
    assert found["TI-7"].verdict == "violated" and "isolation violated" in found["TI-7"].why
    assert found["TI-11"].verdict == "unknown"
