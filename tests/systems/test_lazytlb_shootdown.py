"""TLB shootdown: whom a flush may leave out, and what covers those it does leave out."""

import pytest

from nostale.contract import Role, Violated
from nostale.prove import Means, ablate, prove
from nostale.prove.hardware.translation import Translations
from nostale.systems.lazytlb.shootdown import Shootdown

CONTRACT, REACH, DEAD = "lazytlb.no-freed-translation", "lazytlb.freed-in-reach", "lazytlb.dead-mm"
BOTH = {CONTRACT, REACH}  # by events, and by the state of the hardware
FREES = ("page", "table", "mm")


def answer(compiler, variant="", **settings):
    settings = {k: str(v) for k, v in settings.items()}
    return prove(Shootdown(settings, variant), "lazytlb.shootdown", Means(compiler, None))


def broken(found) -> set[str]:
    return {r.id for r in found.results if isinstance(r.verdict, Violated)}


# settings, states, transitions, depth: pinned, so that a change of the model is a decision.
PINS = [
    ({"frees": "page"}, 112708, 289504, 91),
    ({"frees": "table"}, 45312, 113454, 81),
    ({"frees": "mm"}, 10908, 26728, 60),
    ({"frees": "page", "memory": "sc"}, 41756, 86310, 70),
    ({"frees": "page", "pcid": "no"}, 72821, 194591, 90),
]


@pytest.mark.parametrize(("settings", "states", "transitions", "depth"), PINS, ids=lambda one: str(one))
def test_mainline_holds_with_so_many_states(compiler, settings, states, transitions, depth):
    found = answer(compiler, **settings)
    assert found.verdict == "holds" and found.search.complete
    assert (found.search.states, found.search.transitions, found.search.depth) == (states, transitions, depth)


# What each variant breaks where a page, a page table or a whole mm is given up.
@pytest.mark.parametrize(
    ("variant", "page", "table", "mm"),
    [
        ("ignore-switching", BOTH, set(), set()),
        ("late-switching", BOTH, set(), set()),
        ("spare-lazy", set(), BOTH, set()),
        ("lazy-poke", set(), set(), {DEAD}),
        ("late-clear", set(), set(), set()),
        ("no-lazy-barrier", BOTH, set(), set()),
        ("lazy-keeps-gen", BOTH, set(), set()),
    ],
)
def test_each_variant_breaks_exactly_this(compiler, variant, page, table, mm):
    assert [broken(answer(compiler, variant, frees=one)) for one in FREES] == [page, table, mm]


def test_the_declared_verdict_of_each_variant_is_what_it_gets(compiler):
    for name, declared in Shootdown.variants().items():
        assert answer(compiler, name).verdict == declared.expect


def test_the_barrier_after_lazy_mode_is_for_the_store_buffer(compiler):
    assert broken(answer(compiler, "no-lazy-barrier", memory="sc")) == set()


# The bit in mm_cpumask is cleared before CR3 is written: until then page tables that are freed at once can be walked.
def test_tables_freed_at_once_can_be_walked_between_the_mask_and_cr3(compiler):
    found = answer(compiler, frees="table", tables="at-once")
    (verdict,) = [r.verdict for r in found.results if r.id == CONTRACT]
    told = "\n".join(step.what for step in verdict.path)
    order = ["mm_cpumask for another mm", "reads mm_cpumask", "frees the page"]
    places = [told.index(part) for part in order]
    assert verdict.of is Role.USE and places == sorted(places) and "load_new_mm_cr3" not in told
    assert broken(answer(compiler, "late-clear", frees="table", tables="at-once")) == set()


def no_flush(self, cpu: int, space: int) -> None:
    pass


# Teeth: the IPI's flush and the flushing CR3 write both come down to this.
@pytest.mark.parametrize("frees", ["page", "table"])
def test_were_a_flush_no_flush_it_would_be_violated(compiler, monkeypatch, frees):
    monkeypatch.setattr(Translations, "flush_space", no_flush)
    assert broken(answer(compiler, frees=frees)) == {REACH}


def no_walk(self, cpu: int, space: int) -> bool:
    return False


def test_without_tlbs_there_is_nothing_to_find(compiler, monkeypatch):
    monkeypatch.setattr(Translations, "walkable", no_walk)
    assert broken(answer(compiler, "ignore-switching")) == set()


@pytest.mark.parametrize(
    ("frees", "carrying"),
    [
        ("page", {"self.smp_mb()", "self.catch_up()", "wait(not self.asked)"}),
        ("table", {"wait(not self.irqs_off)", "wait(not self.asked)"}),
        ("mm", {"wait(not self.asked)"}),
    ],
)
def test_ablation_finds_what_carries_it(compiler, frees, carrying):
    told = ablate(Shootdown({"frees": frees}), "lazytlb.shootdown", Means(compiler, None)).coverage
    assert {one.split(" at ")[0] for one in told["load-bearing"]} == carrying
