import random

import pytest
from tests.house.test_documents import ROOT

from nostale.contract import Violated
from nostale.outside.cache import Cache
from nostale.outside.cc import find_compiler
from nostale.prove import Means, prove
from nostale.systems.catalogue import SYSTEMS
from nostale.systems.claims import Bug, read_reconstructed, where
from nostale.systems.documents import documents, made, result_of
from nostale.systems.names import model_name, named_models

BUGS = [bug for system in SYSTEMS for bug in system.bugs() if isinstance(bug, Bug)]


@pytest.fixture(scope="session")
def decided(tmp_path_factory):
    """Prove each model once in a session."""
    means = Means(find_compiler(), Cache(tmp_path_factory.mktemp("cache")))
    return lambda model: prove(model, model_name(type(model)), means)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.id)
def test_a_bug_is_shown_with_its_interleaving_and_the_fix_holds(bug, decided):
    broken = result_of(decided(made(bug, bug.broken)), bug.breaks)
    assert isinstance(broken.verdict, Violated), "the defect is not seen"
    told = "\n".join(f"{step.observer} {step.what} {step.why}" for step in broken.verdict.path)
    at = 0
    for phrase in bug.shows:
        found = told.find(phrase, at)
        assert found >= 0, f"{phrase!r} is not shown, or not in this order, by\n{told}"
        at = found + len(phrase)
    assert decided(made(bug, bug.fixed)).verdict == "holds"


def test_the_documents_are_what_the_models_say(decided):
    sources = read_reconstructed((ROOT / "tests/lint/bugs/bugs.toml").read_text())
    stale = [name for name, text in documents(SYSTEMS, decided, sources) if (ROOT / "docs" / name).read_text() != text]
    assert not stale, f"run make docs: {', '.join(stale)}"


def test_names_of_models_are_one_to_one():
    names = named_models()
    assert len(set(names.values())) == len(names) and "codegen" in names


def fits(item, point):
    return all(point[name] in values for name, values in item.items())


@pytest.mark.parametrize("seed", range(60))
def test_where_fits_all_true_points_and_no_false_one(seed):
    choose = random.Random(seed)
    over = {name: tuple("abcd"[: choose.randint(2, 4)]) for name in ("arch", "hook", "cut")}
    every = [{"arch": a, "hook": h, "cut": c} for a in over["arch"] for h in over["hook"] for c in over["cut"]]
    points = [(one, choose.random() < 0.4) for one in every if choose.random() < 0.9]
    found = where(over, points)
    for one, true in points:
        assert any(fits(item, one) for item in found) == true


def test_where_leaves_out_what_does_not_matter():
    over = {"arch": ("x86", "arm64"), "hook": ("yes", "no")}
    points = [({"arch": a, "hook": h}, h == "no") for a in over["arch"] for h in over["hook"]]
    assert where(over, points) == ({"hook": ("no",)},)
    assert where(over, [(one, True) for one, _ in points]) == ({},)
    assert where(over, [(one, False) for one, _ in points]) == ()
