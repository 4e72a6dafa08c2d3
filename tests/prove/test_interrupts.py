"""Handlers run on top of what they interrupt: at every step or at boundaries, within a budget, nested as declared."""

import pytest

from nostale.contract import BadInput, Violated
from nostale.prove import (
    Means,
    Model,
    array,
    atomic,
    boundary,
    compile_model,
    flag,
    interrupt,
    never,
    param,
    process,
    prove,
    sometimes,
    variant,
    wait,
)


class Torn(Model):
    """A process changes two variables; an interrupt looks at both."""

    times = param(1, "interrupts that may come")
    at_boundaries = variant("it comes only where the process allows it", expect="holds")

    def build(self) -> None:
        self.a, self.b, self.torn = flag(), flag(), flag()

    @process(lane="process")
    def run(self) -> None:
        boundary()
        self.a = True
        self.b = True
        boundary()

    @interrupt(into="run", at="every step", budget="times", lane="interrupt")
    def anywhere(self) -> None:
        if not self.at_boundaries:
            self.look()

    @interrupt(into="run", at="boundaries", budget="times", lane="interrupt")
    def at_a_boundary(self) -> None:
        self.look()

    def look(self) -> None:
        if self.a:
            if not self.b:
                self.torn = True

    @never("torn", "the interrupt never sees one without the other")
    def seen(self) -> bool:
        return self.torn

    @sometimes("done", "the process ends")
    def done(self) -> bool:
        return self.a and self.b


def broken(model) -> set[str]:
    return {r.id for r in prove(model, "x", Means(None, None)).results if isinstance(r.verdict, Violated)}


def test_at_every_step_it_comes_between_two_stores():
    assert broken(Torn()) == {"user.torn"}


def test_at_boundaries_it_does_not():
    assert broken(Torn({}, "at-boundaries")) == set()


def test_without_a_budget_left_it_does_not_come():
    assert broken(Torn({"times": "0"})) == set()


class Nested(Model):
    """Two handlers: the NMI may interrupt the interrupt, never the other way round."""

    nmis = param(2, "NMIs that may come")

    def build(self) -> None:
        self.in_irq, self.in_nmi, self.both, self.wrong = flag(), flag(), flag(), flag()

    @process(lane="process")
    def run(self) -> None:
        while True:
            wait(True)

    @interrupt(into="run", lane="interrupt")
    def irq(self) -> None:
        self.in_irq = True
        if self.in_nmi:
            self.wrong = True
        self.in_irq = False

    @interrupt(into=("run", "irq"), budget="nmis", lane="NMI")
    def nmi(self) -> None:
        self.in_nmi = True
        if self.in_irq:
            self.both = True
        self.in_nmi = False

    @never("wrong", "an interrupt never comes on top of an NMI")
    def backwards(self) -> bool:
        return self.wrong

    @sometimes("nested", "an NMI comes on top of an interrupt")
    def nested(self) -> bool:
        return self.both


def test_handlers_nest_as_declared():
    assert broken(Nested()) == set()
    assert broken(Nested({"nmis": "0"})) == {"user.nested"}


class PerCpu(Model):
    """Each CPU's interrupt stops that CPU and no other."""

    cpus = param(2, "CPUs")
    interchangeable = ("cpus",)

    def build(self) -> None:
        self.stopped = array(self.cpus, flag)
        self.moved = array(self.cpus, flag)

    @process(per="cpus", lane="CPU {}")
    def run(self, cpu: int) -> None:
        while True:
            with atomic():
                self.moved[cpu] = self.stopped[cpu]

    @interrupt(into="run", per="cpus", lane="CPU {}'s interrupt")
    def irq(self, cpu: int) -> None:
        self.stopped[cpu] = True
        self.stopped[cpu] = False

    @never("moved", "nobody goes on under its own interrupt")
    def goes_on(self) -> bool:
        return any(self.moved)

    @sometimes("other", "one is interrupted while the other is not")
    def one_only(self) -> bool:
        return self.stopped[0] != self.stopped[1]


def test_an_interrupt_stops_its_own_cpu_only():
    assert broken(PerCpu()) == set()


def test_a_handler_of_something_else_is_refused():
    class Nobody(Model):
        def build(self) -> None:
            self.x = flag()

        @interrupt(into="run", lane="i")
        def irq(self) -> None:
            self.x = True

    with pytest.raises(BadInput, match="irq: interrupts 'run', which is no process of the same numbers"):
        compile_model(Nobody())


def test_a_handler_that_never_returns_is_refused():
    class Stays(Torn):
        @interrupt(into="run", lane="i")
        def stays(self) -> None:
            while True:
                wait(True)

    with pytest.raises(BadInput, match="never returns"):
        compile_model(Stays())


def test_boundaries_that_are_nowhere_are_refused():
    class NoneOfThem(Nested):
        @interrupt(into="run", at="boundaries", lane="i")
        def late(self) -> None:
            self.both = True

    with pytest.raises(BadInput, match=r"comes at boundaries, and run has none"):
        compile_model(NoneOfThem())


class OnTopOnly(Model):
    """A handler of a handler: it comes while that one runs, not by itself."""

    def build(self) -> None:
        self.outer, self.alone, self.came = flag(), flag(), flag()

    @process(lane="process")
    def run(self) -> None:
        while True:
            wait(True)

    @interrupt(into="run", lane="interrupt")
    def irq(self) -> None:
        self.outer = True
        self.outer = False

    @interrupt(into="irq", lane="inner")
    def inner(self) -> None:
        with atomic("comes"):
            self.came = True
            self.alone = self.alone or not self.outer

    @never("alone", "the inner handler never comes by itself")
    def by_itself(self) -> bool:
        return self.alone

    @sometimes("came", "it comes")
    def comes(self) -> bool:
        return self.came


def test_a_handler_of_a_handler_comes_on_top_of_it_only():
    assert broken(OnTopOnly()) == set()
