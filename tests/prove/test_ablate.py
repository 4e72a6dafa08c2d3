"""What carries a proof: calls are taken away one at a time and in sets."""

import pytest

from nostale.contract import BadInput
from nostale.prove import Means, Model, ablate, atomic, flag, never, process, removable, rule, sometimes, upto, wait
from nostale.systems.codegen.model import TextPoke
from tests.prove.small import Dekkerless

MEANS = Means(None, None)


class Doubled(Model):
    """Two fences where one would do, and a wait that nothing needs."""

    def build(self) -> None:
        self.filled, self.seen, self.bad, self.go = flag(), flag(), flag(), flag()

    @removable("fence")
    def fence(self) -> None:
        wait(not self.filled)

    @process(lane="writer")
    def writer(self) -> None:
        self.filled = True
        self.fence()
        self.fence()
        self.seen = True
        wait(self.seen)
        self.go = True

    @rule(lane="drain")
    def drain(self) -> None:
        wait(self.filled)
        self.filled = False

    @never("bad", "never seen while it is filled")
    def early(self) -> bool:
        return self.seen and self.filled

    @sometimes("scene", "it goes")
    def goes(self) -> bool:
        return self.go


def coverage(model, **_):
    return ablate(model, "x", MEANS).coverage


def lines(items: list[str]) -> list[str]:
    return [item.split(" at ")[0] for item in items]


def test_each_of_two_fences_is_spare_but_not_both():
    found = coverage(Doubled())
    assert found["load-bearing"] == []
    sets = [lines(one.split(" + ")) for one in found["sets that suffice"]]
    assert ["self.fence()"] in [[w for w in one if "fence" in w] for one in sets]
    assert all(any("fence" in word or "filled" in word for word in one) for one in sets)


def test_a_load_bearing_wait_comes_with_its_counterexample():
    class Once(Doubled):
        @process(lane="writer")
        def writer(self) -> None:
            self.filled = True
            wait(not self.filled)
            self.seen = True
            self.go = True

    answer = ablate(Once(), "x", MEANS)
    assert lines(answer.coverage["load-bearing"]) == ["wait(not self.filled)"]
    (part,) = [p for p in answer.parts if p.verdict == "violated"]
    assert not part.counted and len(part.results[0].verdict.path) == 2
    assert answer.verdict == "holds"


def test_every_sync_of_live_text_patching_and_every_part_of_it_is_load_bearing(compiler):
    found = ablate(TextPoke(), "codegen", Means(compiler, None)).coverage
    assert found["removable calls"] == 10 == len(found["load-bearing"])
    assert lines(found["load-bearing"]).count("self.sync_every_cpu()") == 3


def test_with_coherent_fetch_the_middle_sync_is_spare(compiler):
    found = ablate(TextPoke({"fetch": "ordered"}), "codegen", Means(compiler, None)).coverage
    assert "self.sync_every_cpu()" in lines(found["not needed by themselves"])


class Guarded(Model):
    """Two processes that keep a number in its range by waiting."""

    def build(self) -> None:
        self.n = upto(2)

    @process(lane="up")
    def up(self) -> None:
        while True:
            wait(self.n < 2)
            with atomic():
                self.n += 1 if self.n < 2 else 0

    @process(lane="down")
    def down(self) -> None:
        while True:
            wait(self.n > 0)
            self.n -= 1


def test_what_guards_the_model_itself_is_said_to():
    found = coverage(Guarded())
    assert lines(found["needed for the model to run"]) == ["wait(self.n > 0)"]
    assert lines(found["not needed by themselves"]) == ["wait(self.n < 2)"]


def test_a_model_that_does_not_hold_is_refused():
    with pytest.raises(BadInput, match="x: is violated as it stands; ablate a model that holds"):
        ablate(Dekkerless(), "x", MEANS)
