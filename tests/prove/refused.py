"""Models that are outside the language, one fault each; the tests compare what is said word for word."""

from __future__ import annotations

from contextlib import suppress
from enum import IntEnum

from nostale.prove import Model, array, atomic, choose, event, flag, never, one_of, process, rule, upto, wait


class Gap(IntEnum):
    A = 0
    B = 2


class Base(Model):
    def build(self) -> None:
        self.x, self.y = upto(7), upto(7)
        self.row = array(3, lambda: upto(7))
        self.rows = array(2, lambda: array(2, flag))


class Divides(Base):
    @process(lane="p")
    def run(self) -> None:
        self.x = self.x // 2


class Endless(Base):
    @process(lane="p")
    def run(self) -> None:
        while True:
            pass


class Recursive(Base):
    @process(lane="p")
    def run(self) -> None:
        self.again()

    def again(self) -> None:
        self.again()


class TwoAccesses(Base):
    @process(lane="p")
    def run(self) -> None:
        self.x = self.y


class OutsideRow(Base):
    @process(lane="p")
    def run(self) -> None:
        self.row[3] = 1


class RowsOfRows(Base):
    @process(lane="p")
    def run(self) -> None:
        wait(self.rows[self.x][0])


class NotState(Base):
    @process(lane="p")
    def run(self) -> None:
        self.z = 1


class UnknownName(Base):
    @process(lane="p")
    def run(self) -> None:
        self.x = somewhere  # noqa: F821


class ForOverState(Base):
    @process(lane="p")
    def run(self) -> None:
        for i in range(self.x):
            self.y = i


class WithOther(Base):
    @process(lane="p")
    def run(self) -> None:
        with suppress(ValueError):
            pass


class Tries(Base):
    @process(lane="p")
    def run(self) -> None:
        try:
            self.x = 1
        finally:
            self.x = 0


class ChoiceInside(Base):
    @process(lane="p")
    def run(self) -> None:
        self.x = choose((1, 2)) + 1


class LocalInBranch(Base):
    @rule(lane="p")
    def run(self) -> None:
        if self.x:
            new = 1
        self.y = new


class NoEvent(Base):
    @process(lane="p")
    def run(self) -> None:
        event("patch", address=0)


class Nothing(Base):
    pass


class NotOneReturn(Base):
    @process(lane="p")
    def run(self) -> None:
        self.x = 1

    @never("x", "x")
    def bad(self) -> bool:
        y = self.x
        return y == 1


class UnsafeIndex(Base):
    @process(lane="p")
    def run(self) -> None:
        self.x = 1

    @never("x", "x")
    def bad(self) -> bool:
        return self.row[self.x] == 1


class ManySteps(Base):
    @process(lane="p")
    def run(self) -> None:
        self.two(self.x)

    def two(self, value: int) -> None:
        self.y = value
        self.y = 0


class GapEnum(Base):
    def build(self) -> None:
        self.x = one_of(Gap)


class Arguments(Base):
    @process(lane="p")
    def run(self) -> None:
        with atomic():
            self.two()

    def two(self, value: int) -> None:
        self.y = value
