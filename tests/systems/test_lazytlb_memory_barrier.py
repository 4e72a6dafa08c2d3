"""membarrier's barriers: each letter of the kernel's scenarios A to E is needed, and for what."""

import pytest

from nostale.contract import Violated
from nostale.prove import Means, ablate, prove
from nostale.prove.hardware.weak import Weak
from nostale.systems.lazytlb.memory_barrier import WAYS, MemoryBarrier

A, B, OLD = "lazytlb.scenario-a", "lazytlb.scenario-b", "lazytlb.restarted-old"


def answer(compiler, variant="", **settings):
    settings = {k: str(v) for k, v in settings.items()}
    return prove(MemoryBarrier(settings, variant), "lazytlb.memory-barrier", Means(compiler, None))


def broken(found) -> set[str]:
    return {r.id for r in found.results if isinstance(r.verdict, Violated)}


# memory, command, states, transitions, depth: pinned, so that a change of the model is a decision.
PINS = [
    ("sc", "private", 2807, 5210, 23),
    ("tso", "private", 4951, 10256, 29),
    ("weak", "private", 19059, 38366, 29),
    ("weak", "global", 22971, 47280, 31),
    ("weak", "rseq", 10234, 21696, 29),
]


@pytest.mark.parametrize(("memory", "command", "states", "transitions", "depth"), PINS)
def test_mainline_holds_with_so_many_states(compiler, memory, command, states, transitions, depth):
    found = answer(compiler, memory=memory, command=command)
    assert found.verdict == "holds" and found.search.complete
    assert (found.search.states, found.search.transitions, found.search.depth) == (states, transitions, depth)


# What each missing barrier breaks, where stores leave in order and only late (tso), and on the weaker machine.
@pytest.mark.parametrize(
    ("variant", "command", "tso", "weak"),
    [
        ("no-entry-barrier", "private", {A}, {A, B}),
        ("no-exit-barrier", "private", set(), {A, B}),
        ("no-use-mm-barrier", "private", {A}, {A, B}),
        ("no-unuse-mm-barrier", "private", set(), {A, B}),
        ("no-exit-mm-barrier", "private", set(), {A, B}),
        ("no-switch-barrier", "private", {A}, {A}),
        ("no-state-update", "private", set(), set()),
        ("no-state-update", "global", {A}, {A, B}),
        ("no-rseq-barrier", "private", set(), set()),
        ("no-rseq-barrier", "rseq", {A}, {A, OLD}),
    ],
)
def test_each_variant_breaks_exactly_this(compiler, variant, command, tso, weak):
    assert broken(answer(compiler, variant, command=command, memory="tso")) == tso
    assert broken(answer(compiler, variant, command=command, memory="weak")) >= weak
    assert bool(broken(answer(compiler, variant, command=command, memory="weak"))) == bool(weak)


@pytest.mark.parametrize("variant", [name for name in MemoryBarrier.variants() if name != "no-state-update"])
def test_where_stores_are_visible_at_once_no_barrier_is_needed(compiler, variant):
    assert broken(answer(compiler, variant, memory="sc")) == set()


def test_the_declared_verdict_of_each_variant_is_what_it_gets(compiler):
    for name, declared in MemoryBarrier.variants().items():
        assert answer(compiler, name).verdict == declared.expect


@pytest.mark.parametrize("way", WAYS[1:])
@pytest.mark.parametrize("scenario", ["A", "B"])
def test_each_way_and_scenario_holds_by_itself(compiler, way, scenario):
    assert answer(compiler, way=way, scenario=scenario).verdict == "holds"


def test_each_missing_barrier_shows_in_its_own_way_only(compiler):
    own = {"no-use-mm-barrier": "use_mm", "no-unuse-mm-barrier": "use_mm", "no-exit-mm-barrier": "exit"}
    for variant, at in own.items():
        assert {way for way in WAYS[1:] if broken(answer(compiler, variant, way=way))} == {at}


# Without the two stores of kthread_use_mm() and one more in the buffer at once, scenario E fails on no machine.
def test_a_store_buffer_of_two_hides_scenario_e(compiler):
    assert broken(answer(compiler, "no-use-mm-barrier", memory="tso", depth=2)) == set()


def no_fence(self, cpu: int) -> None:
    pass


def test_were_the_hardwares_fence_no_fence_it_would_be_violated(compiler, monkeypatch):
    monkeypatch.setattr(Weak, "fence", no_fence)
    assert broken(answer(compiler)) == {A, B}


@pytest.mark.parametrize("command", ["private", "global"])
def test_every_barrier_of_the_kernels_comment_is_load_bearing(compiler, command):
    told = ablate(MemoryBarrier({"command": command}), "lazytlb.memory-barrier", Means(compiler, None)).coverage
    assert not told["not needed by themselves"]
    assert sum("self.barrier(" in one for one in told["load-bearing"]) == 8
