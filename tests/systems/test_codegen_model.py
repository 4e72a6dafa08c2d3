"""Live text patching: what holds, what each sync carries, and on which assumption that rests."""

import pytest

from nostale.contract import Role, Violated
from nostale.prove import Means, prove, wait
from nostale.prove.hardware.fetch import FETCHES, InstructionBytes
from nostale.prove.hardware.ipi import CallFunction
from nostale.prove.hardware.tso import StoreBuffer
from nostale.systems.codegen.model import TextPoke


def answer(compiler, variant="", **settings):
    return prove(TextPoke({k: str(v) for k, v in settings.items()}, variant), "codegen", Means(compiler, None))


def broken(found) -> set[str]:
    return {r.id.split(".")[1] for r in found.results if isinstance(r.verdict, Violated) and "scene" not in r.id}


# cpus, states, transitions, depth: pinned, so that a change of the model is a decision. Of CPUs that do the same one
# order stands for all.
PINS = [
    (1, 49, 105, 20),
    (2, 105, 364, 24),
    (3, 197, 959, 28),
    (4, 340, 2148, 32),
    (6, 854, 7938, 40),
    (10, 3487, 53592, 56),
]
FULL = [(1, 49, 105, 20), (2, 161, 556, 24), (3, 601, 2915, 28), (4, 2489, 15682, 32), (6, 51761, 480160, 40)]


class Distinct(TextPoke):
    """The same protocol, every order of its CPUs a state of its own."""

    interchangeable = ()


@pytest.mark.parametrize(("cpus", "states", "transitions", "depth"), PINS)
def test_the_protocol_holds_with_so_many_states(compiler, cpus, states, transitions, depth):
    found = answer(compiler, cpus=cpus)
    assert found.verdict == "holds" and found.search.complete
    assert (found.search.states, found.search.transitions, found.search.depth) == (states, transitions, depth)


@pytest.mark.parametrize(("cpus", "states", "transitions", "depth"), FULL)
def test_it_holds_with_every_order_of_the_cpus_as_well(compiler, cpus, states, transitions, depth):
    found = prove(Distinct({"cpus": str(cpus)}), "codegen", Means(compiler, None))
    assert found.verdict == "holds" and found.search.complete
    assert (found.search.states, found.search.transitions, found.search.depth) == (states, transitions, depth)


@pytest.mark.parametrize("cpus", [1, 2, 3])
@pytest.mark.parametrize("variant", ["", *TextPoke.variants()])
def test_one_order_for_all_gives_the_verdicts_and_lengths_of_every_order(compiler, variant, cpus):
    def told(model):
        found = prove(model({"cpus": str(cpus)}, variant), "codegen", Means(compiler, None))
        return [(r.id, r.verdict.word, len(getattr(r.verdict, "path", ()))) for r in found.results], found.search.depth

    assert told(TextPoke) == told(Distinct)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("fetch", FETCHES)
def test_the_protocol_holds_on_every_machine_modelled(compiler, fetch, depth):
    assert answer(compiler, fetch=fetch, depth=depth).verdict == "holds"


# The dispute over the middle sync: needed on the weakest machine only; the first and last on all.
@pytest.mark.parametrize(
    ("variant", "fetch", "what"),
    [
        ("no-int3", "independent", {"sync-before-execute", "no-torn-instruction"}),
        ("no-int3", "ordered", {"sync-before-execute", "no-torn-instruction"}),
        ("no-int3", "line", {"sync-before-execute", "no-torn-instruction"}),
        ("no-tail-sync", "independent", {"sync-before-execute", "no-torn-instruction"}),
        ("no-tail-sync", "ordered", set()),
        ("no-tail-sync", "line", set()),
        ("no-final-sync", "independent", {"sync-before-execute", "no-lost-trap"}),
        ("no-final-sync", "ordered", {"sync-before-execute", "no-lost-trap"}),
        ("no-final-sync", "line", {"sync-before-execute", "no-lost-trap"}),
    ],
)
def test_each_variant_breaks_exactly_this(compiler, variant, fetch, what):
    assert broken(answer(compiler, variant, fetch=fetch)) == what


def test_the_missing_final_sync_is_a_rely_and_later_a_use(compiler):
    verdicts = [r.verdict for r in answer(compiler, "no-final-sync").results if r.id == "codegen.sync-before-execute"]
    assert [v.of for v in verdicts] == [Role.USE, Role.RELY]


def test_every_verdict_states_its_fetch_assumption(compiler):
    for variant in ("", *TextPoke.variants()):
        for result in answer(compiler, variant).results:
            assert result.verdict.assumptions[0].startswith("fetch = independent: ")


def no_sync(self, cpu: int) -> None:
    pass


def always_drained(self) -> bool:
    return True


def not_waited_for(self) -> bool:
    return True


def moves_on(self, cpu: int, version: int) -> None:
    wait(version == self.now)


# Each piece of the hardware that the proof rests on, taken away.
@pytest.mark.parametrize(
    ("owner", "name", "broken_one"),
    [
        (InstructionBytes, "sync", no_sync),
        (StoreBuffer, "drained", always_drained),
        (CallFunction, "all_done", not_waited_for),
    ],
)
def test_without_this_piece_of_hardware_it_is_violated(compiler, monkeypatch, owner, name, broken_one):
    monkeypatch.setattr(owner, name, broken_one)
    assert {"no-torn-instruction", "no-lost-trap"} & broken(answer(compiler))


def test_on_a_machine_that_is_never_stale_the_syncs_carry_nothing_but_the_returns_promise(compiler, monkeypatch):
    monkeypatch.setattr(InstructionBytes, "may_fetch", moves_on)
    assert broken(answer(compiler, "no-tail-sync")) == set()
    assert "no-lost-trap" in broken(answer(compiler, "no-final-sync")), "its last store may still be in the buffer"


def test_every_scene_of_the_protocol_happens(compiler):
    scenes = [r for r in answer(compiler).results if "scene" in r.id]
    assert len(scenes) == 3 and all(r.verdict.word == "holds" for r in scenes)
