"""Straight-line programs on any memory of the hardware library: what a litmus test comes down to."""

from __future__ import annotations

from dataclasses import dataclass

from nostale.prove.hardware.memory import Memory
from nostale.prove.language import Model, array, rule, sometimes, upto, wait


@dataclass(frozen=True, slots=True)
class Operation:
    """One instruction.

    Args:
        kind: `move`, or the method of `Memory` that does it: `load`, `store`, `exchange`, `fence`...
        place: the location, where it has one.
        register: where the result goes.
        source: the register that is stored or moved, or -1 for `value`.
        value: a constant.
    """

    kind: str
    place: int = 0
    register: int = 0
    source: int = -1
    value: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A register (or, for `thread` -1, a location) and what it must hold at the end; a value below 0 is never held."""

    thread: int
    index: int
    value: int
    equal: bool = True


@dataclass(frozen=True, slots=True)
class Program:
    """A program and the question about its final states.

    Args:
        threads: the operations of each.
        registers: how many each thread has, and what they hold at the start.
        memory: what each location holds at the start.
        values: how many values there are, numbered from 0.
        wanted: a disjunction of conjunctions.
    """

    threads: tuple[tuple[Operation, ...], ...]
    registers: tuple[tuple[int, ...], ...]
    memory: tuple[int, ...]
    values: int
    wanted: tuple[tuple[Wanted, ...], ...] = ()

    @property
    def most_stores(self) -> int:
        """The most stores of one thread: the depth at which a store buffer never makes one wait."""
        return max(1, *(sum(one.kind.startswith("store") for one in thread) for thread in self.threads))


class StraightLine(Model):
    """The program's threads, one on each CPU, on a memory of the given kind with room for every store."""

    title = "a straight-line program"
    not_modelled = "loops, accesses of mixed sizes, interrupts, instruction fetch, address translation"

    def __init__(self, program: Program, memory: type[Memory]) -> None:
        self.program, self.kind = program, memory
        super().__init__()

    def build(self) -> None:
        program = self.program
        self.code, self.wanted = program.threads, program.wanted
        self.threads, self.longest = len(self.code), max(1, *map(len, self.code))
        sized = {} if self.kind is Memory else {"depth": program.most_stores}
        self.memory = self.kind(
            self.threads,
            len(program.memory),
            lambda: upto(program.values - 1),
            dict(enumerate(program.memory)),
            **sized,
        )
        self.at = array(self.threads, lambda: upto(self.longest, shown=False))
        self.register = [[upto(program.values - 1, first=first) for first in row] for row in program.registers]

    @rule(per=("threads", "longest"), lane="P{}")
    def execute(self, thread: int, number: int) -> None:
        """Executes the next instruction."""
        wait(number < len(self.code[thread]))
        wait(self.at[thread] == number)
        if number < len(self.code[thread]):
            self.perform(thread, self.code[thread][number])
        self.at[thread] = number + 1

    def perform(self, thread: int, op: Operation) -> None:
        value = self.register[thread][op.source] if op.source >= 0 else op.value
        if op.kind == "move":
            self.register[thread][op.register] = value
        if op.kind == "load":
            self.register[thread][op.register] = self.memory.load(thread, op.place)
        if op.kind == "load_acquire":
            self.register[thread][op.register] = self.memory.load_acquire(thread, op.place)
        if op.kind == "store":
            self.memory.store(thread, op.place, value)
        if op.kind == "store_release":
            self.memory.store_release(thread, op.place, value)
        if op.kind == "exchange":
            self.register[thread][op.register] = self.memory.exchange(thread, op.place, value)
        if op.kind == "fence":
            self.memory.fence(thread)
        if op.kind == "store_fence":
            self.memory.store_fence(thread)
        if op.kind == "load_fence":
            self.memory.load_fence(thread)

    def final(self) -> bool:
        return self.memory.settled() and all(self.at[one] == len(self.code[one]) for one in range(self.threads))

    def held(self, one: Wanted) -> int:
        return self.register[one.thread][one.index] if one.thread >= 0 else self.memory.cell[one.index]

    def true_of(self, one: Wanted) -> bool:
        return self.held(one) == one.value if one.equal else self.held(one) != one.value

    def asked(self) -> bool:
        return any(all(self.true_of(one) for one in clause) for clause in self.wanted)

    @sometimes("outcome", "the condition is true at the end")
    def outcome(self) -> bool:
        return self.final() and self.asked()

    @sometimes("other-outcome", "the condition is false at the end")
    def other_outcome(self) -> bool:
        return self.final() and not self.asked()
