"""x86-TSO: a CPU's stores become visible to others in order, later.

Source: Sewell et al., "x86-TSO: A Rigorous and Usable Programmer's Model for x86 Multiprocessors" (2010); SDM vol. 3,
"Memory Ordering in P6 and More Recent Processor Families".
Not modelled: loads that are served from the buffer (a model that needs them reads `holds` first), non-temporal stores.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from nostale.prove.language import Component, array, one_of, rule, upto, wait


class StoreBuffer(Component):
    """The store buffer of one CPU: first in, first out.

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
