"""Records: small groups of variables, one by one or in rows that are reached by an index."""

import pytest

from nostale.contract import BadInput
from nostale.prove import Component, Model, array, atomic, compile_model, flag, interpreter, never, param, process, upto
from tests.prove.test_interrupts import broken


class Task(Component):
    """A task: where it runs and whether it is lazy."""

    def __init__(self) -> None:
        self.cpu = upto(3)
        self.lazy = flag()


class Tasks(Model):
    def build(self) -> None:
        self.one = Task()
        self.all = array(3, Task)
        self.next = upto(2, first=1)

    @process(lane="p")
    def run(self) -> None:
        self.one.cpu = 2
        with atomic():
            self.all[self.next].cpu = self.one.cpu + 1
            self.all[self.next].lazy = True
        with atomic():
            self.all[0].cpu = self.all[self.next].cpu


def end(model) -> dict[str, int]:
    system = compile_model(model).system
    state = system.initial
    for number in range(len(system.rules)):
        state = interpreter.apply(system, state, number).state
    return dict(zip([slot.name for slot in system.slots], state))


def test_a_field_of_a_record_in_a_row_is_reached_by_an_index_known_at_run_time():
    found = end(Tasks())
    assert (found["all.cpu[1]"], found["all.lazy[1]"], found["all.cpu[0]"], found["all.cpu[2]"]) == (3, 1, 3, 0)


def test_a_field_that_is_none_is_refused():
    class Wrong(Tasks):
        @process(lane="q")
        def other(self) -> None:
            self.all[self.next].name = 1

    with pytest.raises(BadInput, match="'name' is not a variable of every record"):
        compile_model(Wrong())


class PerCpu(Model):
    cpus = param(2, "CPUs")
    interchangeable = ("cpus",)

    def build(self) -> None:
        self.state = array(self.cpus, Task)

    @process(per="cpus", lane="CPU {}")
    def run(self, cpu: int) -> None:
        self.state[cpu].lazy = True

    @never("both-lazy", "never both lazy")
    def both(self) -> bool:
        return all(one.lazy for one in self.state)


def test_records_per_cpu_belong_to_their_cpu():
    system = compile_model(PerCpu()).system
    names = [[system.slots[slot].name for slot in member] for member in system.symmetric[0]]
    assert names == [[f"state.cpu[{c}]", f"state.lazy[{c}]", f"run[{c}].at"] for c in (0, 1)]
    assert broken(PerCpu()) == {"user.both-lazy"}


def test_a_square_of_interchangeable_ones_is_refused():
    class Square(PerCpu):
        def build(self) -> None:
            self.state = array(self.cpus, Task)
            self.sent = array(self.cpus, lambda: array(self.cpus, flag))

    with pytest.raises(BadInput, match=r"belongs to two of the interchangeable cpus"):
        compile_model(Square())


def test_interchangeable_of_nothing_is_refused():
    class Nothing(PerCpu):
        interchangeable = ("tasks",)

    with pytest.raises(BadInput, match="interchangeable names 'tasks', which is no parameter"):
        compile_model(Nothing())
