"""Memory that several CPUs read and write: the face of every memory model, and sequential consistency.

A model takes the memory model as a parameter and says `seen = self.memory.load(cpu, PLACE)`, each access inside a step
of its own (`with atomic(...)`, or a rule); a load is a statement, because on weaker memory it chooses what it sees.

`Memory` itself is sequential consistency: an access takes effect at once, for everybody. Source: Lamport, "How to Make
a Multiprocessor Computer That Correctly Executes Multiprocess Programs" (1979). Fences do nothing on it, and a proof on
it says nothing about a machine with store buffers: see `tso` and `weak`.
Not modelled, here and there: accesses of different sizes to one place, memory types other than write-back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from nostale.prove.language import Component, Variable, array

Values = Callable[[], int]


class Memory(Component):
    """Sequentially consistent memory.

    Args:
        cpus: how many CPUs access it.
        places: how many locations, numbered from 0 (name them with an `IntEnum`).
        values: makes the variable of one location, such as `lambda: upto(3)`.
        first: what a location holds at the start, where it is not what `values` says.
    """

    def __init__(self, cpus: int, places: int, values: Values, first: Mapping[int, int] | None = None) -> None:
        self.cpus, self.places = cpus, places
        self.cell = array(places, values)
        for place, value in (first or {}).items():
            cast(Any, self.cell).items[place].first = value

    def load(self, cpu: int, place: int) -> int:
        """Read, ordered with nothing but earlier accesses of `cpu` to the same place (READ_ONCE)."""
        return self.cell[place]

    def load_acquire(self, cpu: int, place: int) -> int:
        """Read before anything that comes later (smp_load_acquire)."""
        seen = self.load(cpu, place)
        return seen  # noqa: RET504  a helper of several statements stands right of one `=`

    def store(self, cpu: int, place: int, value: int) -> None:
        """Write (WRITE_ONCE)."""
        self.commit(cpu, place, value)

    def store_release(self, cpu: int, place: int, value: int) -> None:
        """Write after everything that came earlier (smp_store_release)."""
        self.store(cpu, place, value)

    def exchange(self, cpu: int, place: int, value: int) -> int:
        """Write and return what was there, in one, fully ordered (xchg)."""
        self.locked(cpu)
        old = self.cell[place]
        self.commit(cpu, place, value)
        self.locked(cpu)
        return old

    def add(self, cpu: int, place: int, by: int) -> int:
        """Add and return what was there, in one, fully ordered (atomic_fetch_add)."""
        self.locked(cpu)
        old = self.cell[place]
        self.commit(cpu, place, old + by)
        self.locked(cpu)
        return old

    def compare_exchange(self, cpu: int, place: int, expected: int, value: int) -> int:
        """Write only if `expected` is there, and return what was, fully ordered also where it fails.

        A failed cmpxchg() orders nothing in the kernel's memory model; x86's LOCK CMPXCHG does. A model that rests on
        the order of a failure must say so.
        """
        self.locked(cpu)
        old = self.cell[place]
        if old == expected:
            self.commit(cpu, place, value)
        self.locked(cpu)
        return old

    def fence(self, cpu: int) -> None:
        """Order everything before against everything after (smp_mb)."""

    def store_fence(self, cpu: int) -> None:
        """Order earlier stores against later stores (smp_wmb)."""

    def load_fence(self, cpu: int) -> None:
        """Order earlier loads against later loads (smp_rmb)."""

    def locked(self, cpu: int) -> None:
        """What a fully ordered read-modify-write does before and after it."""

    def drained(self, cpu: int) -> bool:
        """Whether every store of `cpu` is visible to everybody."""
        return True

    def settled(self) -> bool:
        """Whether every store of every CPU is visible to everybody."""
        return all(self.drained(cpu) for cpu in range(self.cpus))

    def commit(self, cpu: int, place: int, value: int) -> None:
        """A store of `cpu` becomes visible to everybody at once: all memory modelled is multi-copy atomic."""
        self.cell[place] = value


def unshown(values: Values) -> Values:
    """Return a maker of the same variables that a path does not tell of."""
    return lambda: cast(int, replace(cast(Variable, values()), shown=False))


def least(values: Values) -> int:
    """Return the least value of such a variable: what an empty slot of a buffer holds."""
    return cast(Variable, values()).low
