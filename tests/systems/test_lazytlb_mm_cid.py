"""Concurrency ids: the two barriers of switch_mm_cid(), and what each is for."""

import pytest

from nostale.contract import Violated
from nostale.prove import Means, ablate, prove
from nostale.systems.lazytlb.mm_cid import MmCid

IN_USE, LEFT = "lazytlb.cid-in-use", "lazytlb.cid-left"


def answer(compiler, variant="", memory="weak"):
    return prove(MmCid({"memory": memory}, variant), "lazytlb.mm-cid", Means(compiler, None))


def broken(found) -> set[str]:
    return {r.id for r in found.results if isinstance(r.verdict, Violated)}


# memory, states, transitions, depth: pinned, so that a change of the model is a decision.
PINS = [("sc", 1084, 2060, 58), ("tso", 1399, 2735, 69), ("weak", 3115, 6408, 73)]


@pytest.mark.parametrize(("memory", "states", "transitions", "depth"), PINS)
def test_mainline_holds_with_so_many_states(compiler, memory, states, transitions, depth):
    found = answer(compiler, memory=memory)
    assert found.verdict == "holds" and found.search.complete
    assert (found.search.states, found.search.transitions, found.search.depth) == (states, transitions, depth)


@pytest.mark.parametrize(
    ("variant", "sc", "weaker"),
    [("no-barrier-in", set(), {IN_USE}), ("no-barrier-out", set(), {LEFT}), ("plain-clear", {IN_USE}, {IN_USE})],
)
def test_each_variant_breaks_exactly_this(compiler, variant, sc, weaker):
    assert broken(answer(compiler, variant, "sc")) == sc
    assert broken(answer(compiler, variant, "tso")) == broken(answer(compiler, variant, "weak")) == weaker


def test_the_declared_verdict_of_each_variant_is_what_it_gets(compiler):
    for name, declared in MmCid.variants().items():
        assert answer(compiler, name).verdict == declared.expect


def test_both_barriers_are_load_bearing(compiler):
    told = ablate(MmCid(), "lazytlb.mm-cid", Means(compiler, None)).coverage
    assert sum("self.barrier(" in one for one in told["load-bearing"]) == 2
