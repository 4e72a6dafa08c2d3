"""A lock of two flags: the guide's example."""

from nostale.prove import Model, array, flag, never, process, sometimes, variant, wait


class Flags(Model):
    """Two CPUs, a flag each: raise your own, wait for the other's to be down."""

    look_first = variant("each looks at the other's flag before it raises its own")

    def build(self) -> None:
        self.up = array(2, flag)
        self.inside = array(2, flag)

    @process(lane="CPU 0")
    def first(self) -> None:
        self.lock(0, 1)

    @process(lane="CPU 1")
    def second(self) -> None:
        self.lock(1, 0)

    def lock(self, me: int, other: int) -> None:
        if self.look_first:
            wait(not self.up[other])
            self.up[me] = True
        else:
            self.up[me] = True
            wait(not self.up[other])
        self.inside[me] = True
        self.inside[me] = False
        self.up[me] = False

    @never("both-inside", "the two are never inside together")
    def both_inside(self) -> bool:
        return self.inside[0] and self.inside[1]

    @sometimes("scene-inside", "somebody gets inside")
    def somebody(self) -> bool:
        return any(self.inside)
