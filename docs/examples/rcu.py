"""The grace period of user-space RCU: readers copy a phase, the updater flips it and waits for those who lag."""

from nostale.prove import Model, array, atomic, flag, never, param, process, sometimes, upto, variant, wait


class GracePeriod(Model):
    """One updater replaces a published object again and again and frees the old one after a grace period.

    A reader is outside (0) or has the phase that it found at its start (1 + phase). The updater flips the phase and
    waits until nobody has the other one: twice, because a reader may look at the phase and be slow to say so.
    """

    title = "nobody uses an object that has been freed"
    not_modelled = "nested readers, several updaters, call_rcu(), memory ordering"

    readers = param(2, "CPUs that read again and again")
    updates = param(2, "objects that are replaced and freed")
    no_wait = variant("the updater frees without waiting")
    one_flip = variant("the updater flips the phase once in a grace period")
    free_early = variant("the grace period comes before the object is unpublished")
    late_announce = variant("the reader's announcement becomes visible after it has loaded the pointer")

    def build(self) -> None:
        self.phase = upto(1)
        self.found = array(self.readers, lambda: upto(1))
        self.announced = array(self.readers, lambda: upto(2))
        self.published = upto(self.updates)
        self.holds = array(self.readers, lambda: upto(self.updates, low=-1, first=-1))
        self.freed = array(self.updates, flag)

    def assumptions(self) -> tuple[str, ...]:
        return ("stores become visible to every CPU at once, in program order",)

    @process(per="readers", lane="reader {}")
    def reader(self, me: int) -> None:
        while True:
            with atomic("rcu_read_lock(): looks at the phase"):
                self.found[me] = self.phase
            if self.late_announce:
                self.dereference(me)
            with atomic("rcu_read_lock(): announces the phase it found"):
                self.announced[me] = 1 + self.found[me]
                self.found[me] = 0  # a value nobody looks at again would only tell states apart
            if not self.late_announce:
                self.dereference(me)
            with atomic("is done with the object"):
                self.holds[me] = -1
            with atomic("rcu_read_unlock()"):
                self.announced[me] = 0

    def dereference(self, me: int) -> None:
        with atomic("rcu_dereference(): loads the pointer, and uses the object from here on"):
            self.holds[me] = self.published

    @process(lane="updater")
    def updater(self) -> None:
        for old in range(self.updates):
            if self.free_early:
                self.synchronize_rcu()
            self.published = old + 1
            if not self.free_early and not self.no_wait:
                self.synchronize_rcu()
            self.freed[old] = True

    def synchronize_rcu(self) -> None:
        for _ in range(1 if self.one_flip else 2):
            self.phase = 1 - self.phase
            for reader in range(self.readers):
                wait(self.announced[reader] == 0 or self.announced[reader] == 1 + self.phase)

    def uses_freed(self, reader: int) -> bool:
        return any(self.holds[reader] == old and self.freed[old] for old in range(self.updates))

    @never("use-after-free", "no reader uses a freed object")
    def use_after_free(self) -> bool:
        return any(self.uses_freed(reader) for reader in range(self.readers))

    @sometimes("scene-old", "a reader uses an object that has been replaced")
    def old(self) -> bool:
        return any(-1 < self.holds[reader] < self.published for reader in range(self.readers))

    @sometimes("scene-lagging", "a reader announces a phase that has been flipped since it looked")
    def lagging(self) -> bool:
        return any(self.announced[reader] == 2 - self.phase for reader in range(self.readers))

    @sometimes("scene-freed", "every object that was replaced is freed")
    def all_freed(self) -> bool:
        return all(self.freed)
