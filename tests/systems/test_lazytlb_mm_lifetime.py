"""How long a borrowed mm lives, and what must not be interrupted."""

import pytest

from nostale.contract import Violated
from nostale.prove import Means, ablate, prove
from nostale.systems.lazytlb.mm_lifetime import MmLifetime

USED, TWICE, WRONG = "lazytlb.freed-in-use", "lazytlb.dropped-twice", "lazytlb.wrong-tables"
READ = "lazytlb.freed-mm-read"


def answer(compiler, variant="", **settings):
    settings = {k: str(v) for k, v in settings.items()}
    return prove(MmLifetime(settings, variant), "lazytlb.mm-lifetime", Means(compiler, None))


def broken(found) -> set[str]:
    return {r.id for r in found.results if isinstance(r.verdict, Violated)}


# lazies, flushes_lazily, states, transitions, depth: pinned, so that a change of the model is a decision.
PINS = [
    ("refcount", "yes", 9771, 30595, 26),
    ("refcount", "no", 8275, 26505, 21),
    ("shootdown", "yes", 13368, 42713, 26),
    ("shootdown", "no", 12136, 39359, 24),
]


@pytest.mark.parametrize(("lazies", "flushes", "states", "transitions", "depth"), PINS)
@pytest.mark.parametrize("switch_by", ["prev", "loaded"])
def test_mainline_holds_with_so_many_states(compiler, lazies, flushes, states, transitions, depth, switch_by):
    found = answer(compiler, lazies=lazies, flushes_lazily=flushes, switch_by=switch_by)
    assert found.verdict == "holds" and found.search.complete
    assert (found.search.states, found.search.transitions, found.search.depth) == (states, transitions, depth)


# What each variant breaks where references keep a borrowed mm, and where an IPI does.
@pytest.mark.parametrize(
    ("variant", "refcount", "shootdown"),
    [
        ("exec-irqs-on", {USED, TWICE, WRONG}, {USED, WRONG}),
        ("exit-irqs-on", {TWICE, WRONG}, {WRONG}),
        ("reads-through-mm", {READ}, {READ}),
        ("no-lazy-reference", {USED}, set()),
        ("no-shootdown", set(), {USED}),
    ],
)
def test_each_variant_breaks_exactly_this(compiler, variant, refcount, shootdown):
    assert broken(answer(compiler, variant, lazies="refcount")) == refcount
    assert broken(answer(compiler, variant, lazies="shootdown")) == shootdown


def test_the_declared_verdict_of_each_variant_is_what_it_gets(compiler):
    for name, declared in MmLifetime.variants().items():
        assert answer(compiler, name).verdict == declared.expect


def test_switching_by_what_is_loaded_runs_nobody_on_wrong_tables_after_an_interrupted_exit(compiler):
    assert WRONG not in broken(answer(compiler, "exit-irqs-on", switch_by="loaded"))


def test_where_exit_flushes_nothing_lazily_interrupts_do_not_matter_there(compiler):
    assert broken(answer(compiler, "exit-irqs-on", flushes_lazily="no")) == set()


def kept(self, mm: int) -> None:
    pass


def test_were_references_not_dropped_nothing_would_be_freed(compiler, monkeypatch):
    monkeypatch.setattr(MmLifetime, "drop", kept)
    assert broken(answer(compiler)) == {"lazytlb.scene-freed"}


def test_ablation_finds_the_shootdown_and_its_wait(compiler):
    told = ablate(MmLifetime({"lazies": "shootdown"}), "lazytlb.mm-lifetime", Means(compiler, None)).coverage
    assert {one.split(" at ")[0] for one in told["load-bearing"]} == {"self.shoot_lazies()", "wait(not self.asked)"}
    assert not told["not needed by themselves"]
