"""Dekker's lock on x86: two CPUs with store buffers, and the two fences that it needs."""

from enum import IntEnum

from nostale.prove import (
    Model,
    array,
    atomic,
    flag,
    never,
    one_of,
    param,
    process,
    removable,
    rule,
    sometimes,
    upto,
    variant,
    wait,
)


class Place(IntEnum):
    """The words that are stored to."""

    WANTS_0 = 0
    WANTS_1 = 1
    TURN = 2


class Dekker(Model):
    """Say that you want in; while the other does too, whoever's turn it is not steps back until it is."""

    title = "Dekker's lock keeps two CPUs apart, with a fence after each store that says: I want in"
    not_modelled = "the fetch of instructions, interrupts; loads are done in order"

    memory = param("tso", "sc: stores are visible at once; tso: x86's store buffers", choices=("sc", "tso"))
    depth = param(2, "stores that a store buffer holds")
    no_fences = variant("no fences at all")
    no_first_fence = variant("no fence after the first store")
    no_second_fence = variant("no fence after the store that comes back from stepping back")

    cpus = 2

    def build(self) -> None:
        self.wants = array(self.cpus, flag)
        self.turn = upto(1)
        self.inside = array(self.cpus, flag)
        self.filled = array(self.cpus, lambda: upto(self.depth, shown=False))
        self.place = array(self.cpus, lambda: array(self.depth, lambda: one_of(Place, shown=False)))
        self.value = array(self.cpus, lambda: array(self.depth, lambda: upto(1, shown=False)))

    def assumptions(self) -> tuple[str, ...]:
        if self.memory == "sc":
            return ("stores become visible to both CPUs at once, in program order",)
        return (f"x86-TSO: each CPU's stores become visible in order, later; at most {self.depth} wait at a time",)

    @process(per="cpus", lane="CPU {}")
    def cpu(self, me: int) -> None:
        while True:
            self.store(me, me, True, "stores: I want in")
            if not self.no_fences and not self.no_first_fence:
                self.fence(me)
            while self.wants[1 - me]:
                with atomic("looks whose turn it is"):
                    turn = self.turn_as_seen(me)
                    steps_back = turn != me
                if steps_back:
                    self.store(me, me, False, "stores: I step back")
                    with atomic("its turn has come"):
                        now = self.turn_as_seen(me)
                        wait(now == me)
                        steps_back = False
                    self.store(me, me, True, "stores: I want in again")
                    if not self.no_fences and not self.no_second_fence:
                        self.fence(me)
            self.inside[me] = True
            self.inside[me] = False
            self.store(me, Place.TURN, 1 - me, "stores: your turn")
            self.store(me, me, False, "stores: I am out")

    def turn_as_seen(self, me: int) -> int:
        """What a load of `turn` gives `me`: its own youngest store still in the buffer, or memory."""
        turn = self.turn
        for slot in range(self.depth):
            turn = self.value[me][slot] if self.place[me][slot] == Place.TURN else turn
        return turn

    def store(self, me: int, place: int, value: int, what: str) -> None:
        with atomic(what):
            if self.memory == "sc":
                self.visible(place, value)
            else:
                wait(self.filled[me] < self.depth)
                self.place[me][self.filled[me]] = place
                self.value[me][self.filled[me]] = value
                self.filled[me] += 1

    @removable("fence")
    def fence(self, me: int) -> None:
        with atomic("MFENCE: every store of its own is visible"):
            wait(self.filled[me] == 0)

    @rule(per="cpus", lane="CPU {}")
    def drain(self, cpu: int) -> None:
        """Its oldest store leaves the store buffer and becomes visible."""
        wait(self.filled[cpu] > 0)
        self.visible(self.place[cpu][0], self.value[cpu][0])
        for slot in range(self.depth - 1):
            self.place[cpu][slot] = self.place[cpu][slot + 1]
            self.value[cpu][slot] = self.value[cpu][slot + 1]
        self.place[cpu][self.depth - 1] = Place.WANTS_0
        self.value[cpu][self.depth - 1] = 0
        self.filled[cpu] -= 1

    def visible(self, place: int, value: int) -> None:
        if place == Place.TURN:
            self.turn = value
        else:
            self.wants[place] = value

    @never("both-inside", "the two are never inside together")
    def both_inside(self) -> bool:
        return all(self.inside)

    @sometimes("scene-contended", "one wants in while the other is inside")
    def contended(self) -> bool:
        return self.wants[0] and self.inside[1]

    @sometimes("scene-second-turn", "the first CPU gets in when the turn has come back to it")
    def second_turn(self) -> bool:
        return self.inside[1] and self.turn == 1
