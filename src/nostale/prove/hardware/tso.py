"""x86-TSO: a CPU's stores become visible to others in order, later; its own loads see them at once.

Source: Sewell et al., "x86-TSO: A Rigorous and Usable Programmer's Model for x86 Multiprocessors" (2010), section 3.2;
SDM vol. 3, "Memory Ordering in P6 and More Recent Processor Families". Stores wait in a first-in-first-out buffer per
CPU; a load takes the newest store to its place from the own buffer, else memory; MFENCE and locked instructions wait
until the own buffer is empty; SFENCE and LFENCE order nothing that TSO leaves open for write-back memory.
Not modelled: non-temporal stores, string stores, write-combining memory, a buffer deeper than `depth` (a store waits
for room, so a model says how many stores it needs).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum

from nostale.prove.hardware.memory import Memory, Values, least, unshown
from nostale.prove.language import Component, array, one_of, rule, upto, wait


class StoreBuffer(Component):
    """The store buffer of one CPU, for a model that keeps its memory itself: first in, first out.

    Args:
        depth: how many stores it holds; a store waits for room.
        places: the memory locations that are stored to.
        values: what is stored.
        visible: called with (place, value) when a store reaches memory: the model's own helper.
    """

    def __init__(
        self, depth: int, places: type[IntEnum], values: type[IntEnum], visible: Callable[[int, int], None]
    ) -> None:
        self.depth, self.visible, self.no_place, self.no_value = depth, visible, min(places), min(values)
        self.filled = upto(depth, shown=False)
        self.place: list[int] = array(depth, lambda: one_of(places, shown=False))
        self.value: list[int] = array(depth, lambda: one_of(values, shown=False))

    def store(self, place: int, value: int) -> None:
        """Put a store into the buffer, waiting for room."""
        wait(self.filled < self.depth)
        self.place[self.filled] = place
        self.value[self.filled] = value
        self.filled += 1

    def drained(self) -> bool:
        """Whether every store is visible: what MFENCE and a locked operation wait for."""
        return self.filled == 0

    @rule(lane="patcher's store buffer")
    def drain(self) -> None:
        """The oldest store becomes visible to every CPU."""
        wait(self.filled > 0)
        self.visible(self.place[0], self.value[0])
        for slot in range(self.depth - 1):
            self.place[slot] = self.place[slot + 1]
            self.value[slot] = self.value[slot + 1]
        self.place[self.depth - 1] = self.no_place
        self.value[self.depth - 1] = self.no_value
        self.filled -= 1


class TSO(Memory):
    """Memory behind one store buffer per CPU.

    Args:
        cpus, places, values, first: as of `Memory`.
        depth: how many stores a buffer holds.
    """

    def __init__(
        self, cpus: int, places: int, values: Values, first: Mapping[int, int] | None = None, depth: int = 2
    ) -> None:
        super().__init__(cpus, places, values, first)
        self.depth, self.empty = depth, least(values)
        self.filled = array(cpus, lambda: upto(depth, shown=False))
        self.place = array(cpus, lambda: array(depth, lambda: upto(places - 1, shown=False)))
        self.value = array(cpus, lambda: array(depth, unshown(values)))

    def load(self, cpu: int, place: int) -> int:
        """Take the newest store to `place` from the own buffer, else what memory holds."""
        seen = self.cell[place]
        for slot in range(self.depth):
            seen = self.value[cpu][slot] if self.buffered(cpu, slot, place) else seen
        return seen

    def buffered(self, cpu: int, slot: int, place: int) -> bool:
        """Whether this slot of the buffer holds a store to `place`."""
        return slot < self.filled[cpu] and self.place[cpu][slot] == place

    def store(self, cpu: int, place: int, value: int) -> None:
        """Put a store into the own buffer, waiting for room."""
        wait(self.filled[cpu] < self.depth)
        self.place[cpu][self.filled[cpu]] = place
        self.value[cpu][self.filled[cpu]] = value
        self.filled[cpu] += 1

    def fence(self, cpu: int) -> None:
        """MFENCE: go on when the own buffer is empty."""
        wait(self.filled[cpu] == 0)

    def locked(self, cpu: int) -> None:
        """A locked instruction: it goes on when the own buffer is empty, and its own store is not buffered."""
        wait(self.filled[cpu] == 0)

    def drained(self, cpu: int) -> bool:
        """Whether the own buffer is empty."""
        return self.filled[cpu] == 0

    @rule(per="cpus", lane="CPU {}'s store buffer")
    def drain(self, cpu: int) -> None:
        """The oldest store becomes visible to every CPU."""
        wait(self.filled[cpu] > 0)
        self.commit(cpu, self.place[cpu][0], self.value[cpu][0])
        for slot in range(self.depth - 1):
            self.place[cpu][slot] = self.place[cpu][slot + 1]
            self.value[cpu][slot] = self.value[cpu][slot + 1]
        self.place[cpu][self.depth - 1] = 0
        self.value[cpu][self.depth - 1] = self.empty
        self.filled[cpu] -= 1
