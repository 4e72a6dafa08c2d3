"""Peterson's lock: two CPUs, plain loads and stores."""

from nostale.prove import Model, array, flag, never, process, sometimes, upto, variant


class Peterson(Model):
    """Say that you want in, offer the turn to the other, and look until the other does not want or gave it back."""

    title = "Peterson's lock keeps two CPUs apart"
    not_modelled = "store buffers: on x86 the protocol needs a fence before it looks (see dekker.py)"
    offer_first = variant("the turn is offered before the own flag is raised")
    keep_turn = variant("nobody offers the turn")

    cpus = 2

    def build(self) -> None:
        self.wants = array(self.cpus, flag)
        self.turn = upto(1)
        self.inside = array(self.cpus, flag)

    def assumptions(self) -> tuple[str, ...]:
        return ("stores become visible to both CPUs at once, in program order",)

    @process(per="cpus", lane="CPU {}")
    def cpu(self, me: int) -> None:
        while True:
            if self.offer_first:
                self.turn = 1 - me
            self.wants[me] = True
            if not self.offer_first and not self.keep_turn:
                self.turn = 1 - me
            looking = True
            while looking:
                looking = self.wants[1 - me]
                if looking:
                    looking = self.turn != me
            self.inside[me] = True
            self.inside[me] = False
            self.wants[me] = False

    @never("both-inside", "the two are never inside together")
    def both_inside(self) -> bool:
        return all(self.inside)

    @sometimes("scene-both-want", "one wants in while the other is inside")
    def contended(self) -> bool:
        return self.wants[0] and self.inside[1]

    @sometimes("scene-each", "the other one gets inside as well")
    def other_inside(self) -> bool:
        return self.inside[0]
