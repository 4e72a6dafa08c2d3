"""What statements mean: CPython running the same function is the oracle."""

import random

import pytest

from nostale.prove import Model, array, atomic, compile_model, flag, interpreter, process, upto, wait

ROUNDS = 200


class Sequential(Model):
    """One process whose end state must be what CPython computes."""

    def build(self) -> None:
        self.a, self.b, self.c = (upto(60, low=-60, first=n) for n in self.start)
        self.row = array(4, lambda: upto(60, low=-60))
        self.yes = flag()

    start = (0, 0, 0)

    @process(lane="p")
    def run(self) -> None:
        with atomic():
            old = self.a
            self.a = self.b + 1
            self.b = old
        if self.a > 2:
            self.c += 1
        else:
            self.c -= 1
        with atomic():
            for i in range(4):
                self.row[i] = self.a * i - self.b
            self.row[2] = -self.row[1] if self.c < 0 else self.row[0]
        with atomic():
            self.yes = 0 <= self.c < 5
        i = 0
        while i < 3:
            with atomic():
                if (self.yes and self.c != 3) or i == 2:
                    self.c = self.c + self.helper(i)
                else:
                    self.a = max(1, 2) - self.c
            i = self.next(i)

    def helper(self, i: int) -> int:
        return 2 if i in (0, 2) else 5

    def next(self, i: int) -> int:
        return 1 if i == 0 else (2 if i == 1 else 3)


class Plain:
    """The same function with plain integers; `atomic` and the rest do nothing."""

    helper, next = Sequential.helper, Sequential.next


def by_cpython(start: tuple[int, int, int]) -> dict[str, object]:
    import contextlib
    import types

    plain = Plain()
    plain.a, plain.b, plain.c = start
    plain.row, plain.yes = [0, 0, 0, 0], False
    code = Sequential.run
    body = types.FunctionType(code.__code__, {**code.__globals__, "atomic": contextlib.nullcontext})
    body(plain)
    return {
        "a": plain.a,
        "b": plain.b,
        "c": plain.c,
        "yes": int(plain.yes),
        **{f"row[{i}]": v for i, v in enumerate(plain.row)},
    }


def test_statements_mean_what_cpython_says():
    rng = random.Random(7)
    for _ in range(ROUNDS):
        Sequential.start = tuple(rng.randint(-4, 6) for _ in range(3))
        system = compile_model(Sequential()).system
        state = system.initial
        while True:
            effects = [e for n in range(len(system.rules)) if (e := interpreter.apply(system, state, n))]
            if not effects:
                break
            assert len(effects) == 1, "one process without choices has one way"
            state = effects[0].state
        values = {slot.name: value for slot, value in zip(system.slots, state)}
        assert {name: values[name] for name in by_cpython(Sequential.start)} == by_cpython(Sequential.start)


class Late(Model):
    """A value read before a write is the old one, also through a helper's argument."""

    def build(self) -> None:
        self.x, self.y = upto(3, first=1), upto(3)

    @process(lane="p")
    def run(self) -> None:
        with atomic():
            self.move(self.x)

    def move(self, held: int) -> None:
        self.x = 3
        self.y = held


def test_an_argument_is_read_when_the_helper_is_called():
    system = compile_model(Late()).system
    assert interpreter.apply(system, system.initial, 0).state[:2] == (3, 1)


class Local(Model):
    """A local outlives its step and is the process's own."""

    def build(self) -> None:
        self.x, self.y = upto(3, first=2), upto(3)

    @process(lane="p")
    def run(self) -> None:
        seen = self.x
        wait(seen == 2)
        self.y = seen


def test_a_local_keeps_its_value_between_steps():
    system = compile_model(Local()).system
    state = system.initial
    for number in range(3):
        state = interpreter.apply(system, state, number).state
    assert dict(zip([s.name for s in system.slots], state))["y"] == 2


@pytest.mark.parametrize(("start", "broken"), [(1, False), (3, True)])
def test_a_value_that_leaves_its_range_is_the_models_error(start, broken):
    from nostale.contract import BadInput

    class Grows(Model):
        def build(self) -> None:
            self.x = upto(3, first=start)

        @process(lane="p")
        def run(self) -> None:
            self.x += 1

    system = compile_model(Grows()).system
    if not broken:
        assert interpreter.apply(system, system.initial, 0).state[0] == start + 1
        return
    with pytest.raises(BadInput, match=r"test_statements\.py:\d+: x = 4 left its range \[0, 3\]; widen it"):
        interpreter.apply(system, system.initial, 0)
