"""Two halves of an image, one live while the other is rewritten: when may a half be written again?

As bpf_dispatcher_change_prog() does it (kernel/bpf/dispatcher.c, v6.12): the new image goes to the half that is not
live, then the branch to it is switched; a CPU that entered the old half may still be in it. A slot of a bpf_prog_pack
that is freed and given to another program asks the same.
"""

from __future__ import annotations

from nostale.prove import Model, array, atomic, flag, never, param, process, removable, sometimes, upto, variant, wait


class DoubleBuffer(Model):
    """A dispatcher is updated while CPUs run through it."""

    system = "codegen"
    requirements = ("CG-12",)
    title = "a half of an image is rewritten only when nobody is in it"
    not_modelled = "what the CPUs have fetched ahead (see fresh-code), memory weaker than sequential consistency"

    updates = param(3, "how often the image is made anew")
    cpus = param(2, "CPUs that run through it")
    no_grace_period = variant("the writer does not wait for those who are inside")
    wait_first = variant("the writer waits before it switches, not after")

    def build(self) -> None:
        self.live = upto(1)
        self.made = upto(self.updates)
        self.inside = array(self.cpus, lambda: array(2, flag))
        self.overwritten = flag()

    @process(lane="writer")
    def dispatcher_update(self) -> None:
        while self.made < self.updates:
            with atomic("writes the half that is not live"):
                self.made += 1
                self.overwritten = self.overwritten or any(self.in_half(1 - self.live, cpu) for cpu in range(self.cpus))
            if self.wait_first:
                self.grace_period()
            with atomic("text_poke: the branch goes to the new half"):
                self.live = 1 - self.live
            if not self.no_grace_period and not self.wait_first:
                self.grace_period()

    def in_half(self, half: int, cpu: int) -> bool:
        return self.inside[cpu][half]

    @removable("grace period")
    def grace_period(self) -> None:
        with atomic("synchronize_rcu(): everybody who was in the other half has left"):
            wait(not any(self.in_half(1 - self.live, cpu) for cpu in range(self.cpus)))

    @process(per="cpus", lane="CPU {}")
    def runs(self, cpu: int) -> None:
        while True:
            with atomic("enters the half that is live"):
                self.inside[cpu][self.live] = True
            with atomic("leaves it"):
                self.inside[cpu][0] = False
                self.inside[cpu][1] = False

    @never("overwritten", "no half is written while somebody runs in it", "he runs what is being written")
    def written_under(self) -> bool:
        return self.overwritten

    @sometimes("scene-behind", "somebody is still in the half that is no longer live")
    def behind(self) -> bool:
        return any(self.in_half(1 - self.live, cpu) for cpu in range(self.cpus))
