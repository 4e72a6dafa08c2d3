"""The examples are what they say: counts, verdicts and lengths of the shortest ways, from both explorers."""

from pathlib import Path
from typing import NamedTuple

import pytest

from nostale.cli.models import find_model
from nostale.contract import Violated
from nostale.prove import Means, ablate, compile_model, prove, reference
from nostale.prove.exploration import Bounds

EXAMPLES = Path(__file__).resolve().parents[2] / "docs/examples"
FEW = 10_000  # states that the interpreter explores in a second or two


class Pin(NamedTuple):
    """What a variant of an example gives: (states, transitions, depth), and the steps to each thing that is broken."""

    name: str
    settings: dict[str, str]
    variant: str
    counts: tuple[int, int, int]
    broken: dict[str, int]


PINS = [
    Pin("flags", {}, "", (27, 34, 10), {"no-deadlock": 2}),
    Pin("flags", {}, "look-first", (36, 54, 10), {"both-inside": 6}),
    Pin("deferred_sync", {}, "", (226, 421, 23), {}),
    Pin("deferred_sync", {}, "look-first", (361, 678, 26), {"stale-text": 9}),
    Pin("deferred_sync", {}, "say-late", (283, 523, 22), {"stale-text": 7}),
    Pin("deferred_sync", {}, "no-ipi", (126, 216, 18), {"stale-text": 6, "scene-ipi": 0}),
    Pin("peterson", {}, "", (148, 296, 16), {}),
    Pin("peterson", {}, "offer-first", (274, 548, 19), {"both-inside": 17}),
    Pin("peterson", {}, "keep-turn", (116, 232, 17), {"both-inside": 15}),
    Pin("dekker", {}, "", (530, 1_140, 39), {}),
    Pin("dekker", {}, "no-fences", (2_046, 6_048, 36), {"both-inside": 6}),
    Pin("dekker", {}, "no-first-fence", (2_100, 6_066, 35), {"both-inside": 6}),
    Pin("dekker", {}, "no-second-fence", (974, 2_400, 47), {"both-inside": 27}),
    Pin("dekker", {"memory": "sc"}, "", (242, 460, 28), {}),
    Pin("dekker", {"memory": "sc"}, "no-fences", (176, 332, 23), {}),
    Pin("dekker", {"memory": "sc"}, "no-first-fence", (196, 370, 24), {}),
    Pin("dekker", {"memory": "sc"}, "no-second-fence", (220, 418, 27), {}),
    Pin("ticket_lock", {}, "", (138, 252, 13), {}),
    Pin("ticket_lock", {}, "torn-take", (3_966, 9_081, 31), {"two-inside": 6, "no-deadlock": 16}),
    Pin("ticket_lock", {}, "few-tickets", (248, 600, 19), {"two-inside": 5}),
    # kernel-tla: 5,316 distinct states; TLC says depth 46 because it counts the initial state as 1.
    Pin("ticket_lock_calls", {}, "", (5_316, 16_080, 45), {}),
    Pin("ticket_lock_calls", {}, "torn-take", (371_756, 1_155_744, 68), {"two-inside": 8, "no-deadlock": 28}),
    Pin("seqlock", {}, "", (340, 613, 16), {}),
    Pin("seqlock", {}, "no-recheck", (313, 563, 16), {"torn-read": 6}),
    Pin("seqlock", {}, "no-odd", (313, 562, 13), {"torn-read": 5}),
    Pin("seqlock", {}, "late-odd", (377, 687, 16), {"torn-read": 5}),
    Pin("seqlock", {}, "ignore-odd", (590, 1_079, 16), {"torn-read": 6}),
    Pin("seqlock", {}, "short-count", (340, 615, 16), {"torn-read": 12}),
    Pin("rcu", {}, "", (1_460, 4_009, 24), {}),
    Pin("rcu", {}, "no-wait", (195, 536, 12), {"use-after-free": 5, "scene-lagging": 0}),
    Pin("rcu", {}, "one-flip", (965, 2_635, 18), {"use-after-free": 13}),
    Pin("rcu", {}, "free-early", (1_597, 4_402, 24), {"use-after-free": 11}),
    Pin("rcu", {}, "late-announce", (2_721, 7_618, 24), {"use-after-free": 10}),
]


def example(name: str):
    return find_model(str(EXAMPLES / f"{name}.py"))[0]


@pytest.mark.parametrize("pin", PINS, ids=lambda pin: ":".join([pin.name, pin.variant, *pin.settings.values()]))
def test_an_example_gives_its_counts_and_breaks_what_it_should(pin, compiler):
    model = example(pin.name)(pin.settings, pin.variant)
    answer = prove(model, pin.name, Means(compiler, None))
    search = answer.search
    broken = {r.id.partition(".")[2]: len(r.verdict.path) for r in answer.results if isinstance(r.verdict, Violated)}
    assert ((search.states, search.transitions, search.depth), broken) == (pin.counts, pin.broken)
    assert search.complete and answer.verdict == ("violated" if pin.broken else "holds")


@pytest.mark.parametrize(
    "pin",
    [pin for pin in PINS if pin.counts[0] <= FEW],
    ids=lambda pin: ":".join([pin.name, pin.variant, *pin.settings.values()]),
)
def test_the_interpreter_gives_the_same(pin):
    compiled = compile_model(example(pin.name)(pin.settings, pin.variant))
    found = reference.explore(compiled.system, Bounds(FEW))
    assert (found.search.states, found.search.transitions, found.search.depth) == pin.counts
    names = {p.number: p for p in compiled.properties}
    assert {names[n].name: len(way) for n, way in found.found.items() if names[n].kind != "sometimes"} == {
        name: steps for name, steps in pin.broken.items() if not name.startswith("scene-")
    }


def test_every_example_and_every_variant_is_pinned():
    files = {path.stem for path in EXAMPLES.glob("*.py")}
    assert {(name, v) for name in files for v in ("", *example(name).variants())} == {
        (pin.name, pin.variant) for pin in PINS
    }


@pytest.mark.parametrize("name", sorted({pin.name for pin in PINS}))
def test_an_example_fails_in_some_variant_and_has_scenes(name):
    kinds = [p.kind for p in compile_model(example(name)()).properties]
    assert "never" in kinds and "sometimes" in kinds
    assert any(pin.broken for pin in PINS if pin.name == name and pin.variant)


@pytest.mark.parametrize(
    ("name", "carry"),
    [
        ("deferred_sync", {"wait(not self.ipi)", "self.look_for_note()"}),
        ("dekker", {"self.fence(me)", "wait(self.filled[me] == 0)"}),
        ("peterson", set()),
        ("ticket_lock", {"wait(self.owner == ticket)"}),
        ("rcu", {"wait(self.announced[reader] == 0 or self.announced[reader] == 1 + self.phase)"}),
    ],
)
def test_these_calls_and_waits_carry_an_example(name, carry, compiler):
    answer = ablate(example(name)(), name, Means(compiler, None))
    assert {call.partition(" at ")[0] for call in answer.coverage["load-bearing"]} == carry
