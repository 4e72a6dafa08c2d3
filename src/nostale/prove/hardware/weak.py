"""Weaker memory that is multi-copy atomic, as arm64 and riscv have: stores become visible out of order, loads may see
what memory held a while ago.

Stores: a buffer per CPU whose entries leave in any order, but those to one place in the order they were made, a release
after everything before it, and everything after a store fence after everything before the fence.
Loads: memory remembers the last `window` stores. A load takes effect at any moment since the CPU's last fence that
does not bring back, for its place, anything older than the CPU has seen or stored; that is a load satisfied early. An
acquire or a load fence moves that moment up to its own, or to the newest load before it.
One order of stores for everybody: once visible, visible to all.

Source: Pulte et al., "Simplifying ARM Concurrency: Multicopy-Atomic Axiomatic and Operational Models for ARMv8" (2018);
Arm ARM, B2.3 "Definition of the Armv8 memory model"; RISC-V unprivileged ISA, "RVWMO". The machine here is simpler:
weaker in that address, data and control dependencies order no loads, and that an acquire may pass an earlier release
(RCpc); stronger in that a store never passes an earlier load (no load buffering), that a stale read reaches back
`window` stores only, and that read-modify-writes are fully ordered. So what is violated may be the missing dependency's
doing, and what holds does not speak of load buffering: say both in `not_modelled`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from nostale.prove.hardware.memory import Memory, Values, least, unshown
from nostale.prove.language import array, choose, flag, one_of, rule, upto, wait


class Order(IntEnum):
    """What a buffered store waits for, besides older stores to its own place."""

    PLAIN = 0
    RELEASE = 1  # everything before it
    FENCED = 2  # everything before it, and so does everything after it


class Weak(Memory):
    """Weaker memory.

    A moment is told by its age, the number of stores that became visible since, and no age is told apart beyond
    `window`.

    Args:
        cpus, places, values, first: as of `Memory`.
        depth: how many stores a buffer holds.
        window: how many stores back a load may look.
    """

    def __init__(
        self,
        cpus: int,
        places: int,
        values: Values,
        first: Mapping[int, int] | None = None,
        depth: int = 2,
        window: int = 2,
    ) -> None:
        super().__init__(cpus, places, values, first)
        self.depth, self.window, self.empty = depth, window, least(values)
        self.filled = array(cpus, lambda: upto(depth, shown=False))
        self.place = array(cpus, lambda: array(depth, lambda: upto(places - 1, shown=False)))
        self.value = array(cpus, lambda: array(depth, unshown(values)))
        self.order: list[list[int]] = array(cpus, lambda: array(depth, lambda: one_of(Order, shown=False)))
        self.fenced = array(cpus, flag)
        # The last stores, newest first: where, and what was there before.
        self.changed = array(window, lambda: upto(places - 1, shown=False))
        self.before = array(window, unshown(values))
        # Ages: of the earliest moment a load may look at, of the newest load so far, and of the newest value of each
        # place that was seen or stored. The last two never exceed the first.
        self.since = array(cpus, lambda: upto(window, shown=False))
        self.newest = array(cpus, lambda: upto(window, shown=False))
        self.known = array(cpus, lambda: array(places, lambda: upto(window, shown=False)))

    def load(self, cpu: int, place: int) -> int:
        """Take the newest store to `place` from the own buffer, else what memory held at some moment not too old."""
        age = choose(range(self.window + 1))
        seen = self.held(cpu, place, age)
        self.look(cpu, place, age)
        return seen

    def load_acquire(self, cpu: int, place: int) -> int:
        """Read; later loads look at no earlier moment."""
        age = choose(range(self.window + 1))
        seen = self.held(cpu, place, age)
        self.look(cpu, place, age)
        if not self.forwarded(cpu, place):
            self.look_since(cpu, age)
        return seen

    def look(self, cpu: int, place: int, age: int) -> None:
        """Go on only if `cpu` may look `age` stores back for `place`, and keep in mind that it did.

        Of the moments with one value the earliest is taken: it leaves later loads most choice. A load that the own
        buffer serves looks at no moment of memory.
        """
        own = self.forwarded(cpu, place)
        wait(age == 0 if own else age <= self.known[cpu][place])
        if age < self.window:
            wait(own or age == self.known[cpu][place] or self.changed[age] == place)
        self.known[cpu][place] = self.known[cpu][place] if own else age
        self.newest[cpu] = self.newest[cpu] if own else self.younger(age, self.newest[cpu])

    def held(self, cpu: int, place: int, age: int) -> int:
        """Return the newest store to `place` in the own buffer, else what memory held `age` stores ago."""
        seen = self.cell[place]
        for back in range(age):
            seen = self.before[back] if self.changed[back] == place else seen
        for slot in range(self.depth):
            seen = self.value[cpu][slot] if self.buffered(cpu, slot, place) else seen
        return seen

    def forwarded(self, cpu: int, place: int) -> bool:
        """Whether the own buffer serves a load of `place`."""
        return any(self.buffered(cpu, slot, place) for slot in range(self.depth))

    def buffered(self, cpu: int, slot: int, place: int) -> bool:
        """Whether this slot of the buffer holds a store to `place`."""
        return slot < self.filled[cpu] and self.place[cpu][slot] == place

    def store(self, cpu: int, place: int, value: int) -> None:
        """Put a store into the own buffer, waiting for room."""
        self.put(cpu, place, value, Order.PLAIN)

    def store_release(self, cpu: int, place: int, value: int) -> None:
        """Put a store into the own buffer that leaves it after everything before it."""
        self.put(cpu, place, value, Order.RELEASE)

    def put(self, cpu: int, place: int, value: int, order: int) -> None:
        """Put a store into the own buffer, waiting for room."""
        wait(self.filled[cpu] < self.depth)
        self.place[cpu][self.filled[cpu]] = place
        self.value[cpu][self.filled[cpu]] = value
        self.order[cpu][self.filled[cpu]] = Order.FENCED if self.fenced[cpu] else order
        self.order[cpu][0] = Order.PLAIN  # the first has nothing to wait for
        self.fenced[cpu] = False
        self.filled[cpu] += 1

    def fence(self, cpu: int) -> None:
        """DMB ISH, fence rw,rw: go on when the own buffer is empty; later loads look at nothing older than now."""
        wait(self.filled[cpu] == 0)
        self.look_since(cpu, 0)

    def locked(self, cpu: int) -> None:
        """A fully ordered read-modify-write has a full fence on either side."""
        wait(self.filled[cpu] == 0)
        self.look_since(cpu, 0)

    def store_fence(self, cpu: int) -> None:
        """DMB ISHST, fence w,w: later stores leave the buffer after earlier ones; nothing waits."""
        self.fenced[cpu] = self.filled[cpu] > 0

    def load_fence(self, cpu: int) -> None:
        """DMB ISHLD, fence r,r: later loads look at no earlier moment than the newest load so far."""
        self.look_since(cpu, self.newest[cpu])

    def look_since(self, cpu: int, age: int) -> None:
        """Later loads of `cpu` look at nothing that was `age` stores ago and over by then."""
        self.since[cpu] = self.younger(age, self.since[cpu])
        self.newest[cpu] = self.younger(age, self.newest[cpu])
        for place in range(self.places):
            self.known[cpu][place] = self.younger(age, self.known[cpu][place])

    def younger(self, one: int, other: int) -> int:
        """Return the lower of two ages."""
        return one if one < other else other

    def drained(self, cpu: int) -> bool:
        """Whether the own buffer is empty."""
        return self.filled[cpu] == 0

    def commit(self, cpu: int, place: int, value: int) -> None:
        """A store becomes visible to all: every moment is one store older, and `cpu` sees nothing older of this."""
        for back in reversed(range(self.window - 1)):
            self.changed[back + 1] = self.changed[back]
            self.before[back + 1] = self.before[back]
        self.changed[0] = place
        self.before[0] = self.cell[place]
        self.cell[place] = value
        for other in range(self.cpus):
            self.since[other] = self.younger(self.since[other] + 1, self.window)
            self.newest[other] = self.younger(self.newest[other] + 1, self.window)
            for one in range(self.places):
                self.known[other][one] = self.younger(self.known[other][one] + 1, self.window)
        self.seen_own(cpu, place)

    def seen_own(self, cpu: int, place: int) -> None:
        """The CPU's own store bounds what its later loads of that place may see."""
        for one in range(self.places):
            self.known[cpu][one] = 0 if one == place else self.known[cpu][one]

    @rule(per=("cpus", "depth"), lane="CPU {}'s store buffer")
    def drain(self, cpu: int, slot: int) -> None:
        """A store becomes visible to every CPU, out of order where nothing forbids it."""
        wait(slot < self.filled[cpu])
        for earlier in range(slot):
            wait(self.place[cpu][earlier] != self.place[cpu][slot])
            wait(self.order[cpu][earlier + 1] != Order.FENCED)
        if slot > 0:
            wait(self.order[cpu][slot] == Order.PLAIN)
        self.commit(cpu, self.place[cpu][slot], self.value[cpu][slot])
        for one in range(slot, self.depth - 1):
            self.place[cpu][one] = self.place[cpu][one + 1]
            self.value[cpu][one] = self.value[cpu][one + 1]
            self.order[cpu][one] = self.order[cpu][one + 1]
        self.place[cpu][self.depth - 1] = 0
        self.value[cpu][self.depth - 1] = self.empty
        self.order[cpu][self.depth - 1] = Order.PLAIN
        self.order[cpu][0] = Order.PLAIN
        self.filled[cpu] -= 1
        self.fenced[cpu] = self.fenced[cpu] and self.filled[cpu] > 0  # a fence with nothing before it is done
