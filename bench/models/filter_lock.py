"""Peterson's filter lock. The peers' filter5."""

from nostale.prove import Model, array, never, param, rule, upto, wait


class FilterLock(Model):
    """Each of n processes climbs n - 1 levels; at each, the last to come waits."""

    n = param(5, "processes")

    def build(self):
        self.levels = self.n - 1
        self.pc = array(self.n, lambda: upto(3))
        self.at = array(self.n, lambda: upto(7))
        self.level = array(self.n, lambda: upto(7))
        self.victim = array(self.levels, lambda: upto(7))

    @rule(per=("n", "levels"), lane="{}")
    def claim(self, me, below):
        wait(self.pc[me] == 0 and self.at[me] == below)
        self.level[me] = below + 1
        self.at[me] = below + 1
        self.pc[me] = 1

    @rule(per=("n", "levels"), lane="{}")
    def yield_to_others(self, me, below):
        wait(self.pc[me] == 1 and self.at[me] == below + 1)
        self.victim[below] = me
        self.pc[me] = 2

    @rule(per=("n", "levels"), lane="{}")
    def climb(self, me, below):
        wait(self.pc[me] == 2 and self.at[me] == below + 1)
        wait(self.victim[below] != me or all(self.level[other] < below + 1 for other in range(self.n) if other != me))
        self.pc[me] = 3 if below + 2 == self.n else 0

    @rule(per="n", lane="{}")
    def leave(self, me):
        wait(self.pc[me] == 3)
        self.level[me] = 0
        self.at[me] = 0
        self.pc[me] = 0

    @never("two-inside", "one at a time")
    def two_inside(self):
        return any(self.pc[a] == 3 and any(self.pc[b] == 3 for b in range(a)) for a in range(self.n))
