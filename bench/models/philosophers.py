"""Dining philosophers, the first of them left-handed. The peers' phil12."""

from nostale.prove import Model, array, never, param, rule, upto, wait


class Philosophers(Model):
    """Each takes two forks, one after the other, and puts them back."""

    n = param(12, "philosophers")

    def build(self):
        self.pc = array(self.n, lambda: upto(3))
        self.fork = array(self.n, lambda: upto(1))

    @rule(per="n", lane="{}")
    def take_first(self, me):
        wait(self.pc[me] == 0 and self.fork[me if me else 1] == 0)
        self.fork[me if me else 1] = 1
        self.pc[me] = 1

    @rule(per="n", lane="{}")
    def take_second(self, me):
        wait(self.pc[me] == 1 and self.fork[(me + 1) % self.n if me else 0] == 0)
        self.fork[(me + 1) % self.n if me else 0] = 1
        self.pc[me] = 2

    @rule(per="n", lane="{}")
    def put_first(self, me):
        wait(self.pc[me] == 2)
        self.fork[me if me else 1] = 0
        self.pc[me] = 3

    @rule(per="n", lane="{}")
    def put_second(self, me):
        wait(self.pc[me] == 3)
        self.fork[(me + 1) % self.n if me else 0] = 0
        self.pc[me] = 0

    @never("neighbours", "no two neighbours eat")
    def neighbours(self):
        return any(self.pc[me] == 2 and self.pc[(me + 1) % self.n] == 2 for me in range(self.n))
