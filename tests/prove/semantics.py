"""Small functions whose meaning is easily got wrong; the tests compare each with CPython."""

from __future__ import annotations

from nostale.prove import Model, array, atomic, flag, process, upto


class Base(Model):
    def build(self) -> None:
        self.a, self.b, self.c = (upto(20, low=-20, first=n) for n in (4, 5, 0))
        self.row = array(3, lambda: upto(20, first=2))
        self.i = upto(4)
        self.yes = flag()


class LocalInBranch(Base):
    @process(lane="p")
    def run(self) -> None:
        n = 1
        if self.c > 0:
            n = 2
        self.a = n


class Swapped(Base):
    @process(lane="p")
    def run(self) -> None:
        n = self.a
        m = self.b
        with atomic():
            t = n
            n = m
            m = t
        with atomic():
            self.a = n
            self.b = m


class OwnLocals(Base):
    def helper(self, k: int) -> None:
        n = k
        self.a = n

    @process(lane="p")
    def run(self) -> None:
        n = 7
        self.helper(3)
        self.b = n


class MovingIndex(Base):
    @process(lane="p")
    def run(self) -> None:
        with atomic():
            self.row[self.i + 1] += self.row[self.i]
            self.i += 1
            self.row[self.i] *= self.i + 1


class Carried(Base):
    """A local that one block alone reads and changes is carried from one turn to the next."""

    @process(lane="p")
    def run(self) -> None:
        n = 0
        for _ in range(2):
            with atomic():
                n = n + 1
                self.c = n


class OnlyAugmented(Base):
    """A local that is read by nothing but `+=`."""

    @process(lane="p")
    def run(self) -> None:
        n = self.a
        n += 1


class LoopInBranch(Base):
    """The names of a `for` and of a comprehension are no locals that a branch assigns."""

    @process(lane="p")
    def run(self) -> None:
        with atomic():
            if self.a > 0:
                for k in range(3):
                    self.row[k] = k
                self.c = sum(self.row[k] for k in range(3))


class ReturnEarly(Base):
    """`return` ends a process."""

    @process(lane="p")
    def run(self) -> None:
        if self.a > 0:
            self.b = 1
            return
        self.b = 2


class HelperReturnsEarly(Base):
    """`return` under a condition that is known now ends a helper."""

    def helper(self, x: int) -> int:
        if x == 4:
            return 1
        return 2

    @process(lane="p")
    def run(self) -> None:
        with atomic():
            n = self.helper(4)
            self.c = n


class AndGivesAnOperand(Base):
    """`x and y` and `x or y` are one of their operands."""

    @process(lane="p")
    def run(self) -> None:
        with atomic():
            self.c = self.a and self.b
            self.a = self.b or 3


class BoolOfNumber(Base):
    """`bool(x)` is a truth value."""

    @process(lane="p")
    def run(self) -> None:
        self.a = bool(self.a)


class RowInLoop(Base):
    """The variable of a `for` over a row is read when its turn begins."""

    @process(lane="p")
    def run(self) -> None:
        with atomic():
            for value in self.row:
                self.row[0] = 9
                self.c += value


class TupleOfReads(Base):
    """A tuple is read when it is made."""

    @process(lane="p")
    def run(self) -> None:
        with atomic():
            old = (self.a, self.b)
            self.a = 9
            self.c = old[0]


class StepsReturnEarly(Base):
    """`return` in a helper with steps ends the helper only."""

    def helper(self) -> None:
        if self.a > 0:
            return
        self.b = 1

    @process(lane="p")
    def run(self) -> None:
        self.helper()
        self.c = 7


AGREED = (
    LocalInBranch,
    Swapped,
    OwnLocals,
    MovingIndex,
    Carried,
    OnlyAugmented,
    LoopInBranch,
    ReturnEarly,
    HelperReturnsEarly,
    AndGivesAnOperand,
    BoolOfNumber,
    RowInLoop,
    TupleOfReads,
    StepsReturnEarly,
)


class Growing(Base):
    """A local that grows in a `while`: its range is not known, so it is refused when it gets beyond what was seen."""

    @process(lane="p")
    def run(self) -> None:
        n = 0
        while n < 3:
            n = n + 1
        self.c = n
