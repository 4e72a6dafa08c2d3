"""Small models that the tests share."""

from __future__ import annotations

from nostale.prove import Model, atomic, choose, flag, never, param, process, sometimes, upto, variant, wait


class Dekkerless(Model):
    """Two processes that look before they go in, and forget to claim first."""

    no_claim = variant("the claim comes after the look")

    def build(self) -> None:
        self.wants = [flag(), flag()]
        self.inside = [flag(), flag()]

    @process(lane="left")
    def left(self) -> None:
        self.go(0, 1)

    @process(lane="right")
    def right(self) -> None:
        self.go(1, 0)

    def go(self, me: int, other: int) -> None:
        if self.no_claim:
            wait(not self.wants[other])
            self.wants[me] = True
        else:
            self.wants[me] = True
            wait(not self.wants[other])
        self.inside[me] = True
        self.inside[me] = False
        self.wants[me] = False

    @never("both-inside", "never both inside")
    def both(self) -> bool:
        return self.inside[0] and self.inside[1]

    @sometimes("somebody-inside", "somebody gets in")
    def somebody(self) -> bool:
        return any(self.inside)


class Counter(Model):
    """One process that counts to a parameter by steps it chooses."""

    top = param(5, "where it stops")

    def build(self) -> None:
        self.sum = upto(self.top + 2)

    @process(lane="counter")
    def count(self) -> None:
        while self.sum < self.top:
            with atomic("adds one or two"):
                step = choose((1, 2))
                self.sum = self.sum + step

    @sometimes("exact", "it stops exactly at the top")
    def exact(self) -> bool:
        return self.sum == self.top
