"""The sequence lock: readers take no lock, look at a counter before and after, and try again."""

from nostale.prove import Model, array, atomic, flag, never, param, process, sometimes, upto, variant, wait


class SeqLock(Model):
    """One writer, some readers, two words that belong together. An odd count says that a write is under way."""

    title = "a reader uses two words that belong together"
    not_modelled = "several writers (they take a lock of their own), and memory ordering: smp_rmb() and smp_wmb() hold"

    readers = param(1, "CPUs that read again and again")
    writes = param(3, "times that the writer changes both words")
    no_recheck = variant("the reader does not look at the count again")
    no_odd = variant("the writer counts once, after it has written")
    late_odd = variant("the writer makes the count odd after its first store")
    ignore_odd = variant("the reader does not wait for an even count")
    short_count = variant("the count wraps after two writes")

    def build(self) -> None:
        self.top = 3 if self.short_count else 2 * self.writes
        self.count = upto(self.top)
        self.first = upto(self.writes)
        self.second = upto(self.writes)
        self.got_first = array(self.readers, lambda: upto(self.writes))
        self.got_second = array(self.readers, lambda: upto(self.writes))
        self.uses = array(self.readers, flag)

    def assumptions(self) -> tuple[str, ...]:
        return ("stores become visible to every CPU at once, in program order",)

    def after(self, count: int) -> int:
        return count + 1 if count < self.top else 0

    @process(lane="writer")
    def writer(self) -> None:
        for value in range(1, self.writes + 1):
            if not self.no_odd and not self.late_odd:
                self.count = self.after(self.count)
            self.first = value
            if self.late_odd:
                self.count = self.after(self.count)
            self.second = value
            self.count = self.after(self.count)

    @process(per="readers", lane="reader {}")
    def reader(self, me: int) -> None:
        while True:
            with atomic("read_seqbegin(): waits for an even count"):
                begin = self.count
                wait(self.ignore_odd or self.no_odd or begin in range(0, self.top + 1, 2))
            self.read(me)
            with atomic("read_seqretry(): looks at the count again"):
                if self.no_recheck or self.count == begin:
                    self.uses[me] = True
                begin = 0  # not looked at again; a dead value would only tell states apart
            with atomic("is done with them, or tries again"):
                self.uses[me] = False
                self.got_first[me] = 0
                self.got_second[me] = 0

    def read(self, me: int) -> None:
        with atomic("reads the first word"):
            self.got_first[me] = self.first
        with atomic("reads the second word"):
            self.got_second[me] = self.second

    @never("torn-read", "no reader uses words of two different writes")
    def torn_read(self) -> bool:
        return any(self.uses[r] and self.got_first[r] != self.got_second[r] for r in range(self.readers))

    @sometimes("scene-torn", "a reader has read words of two different writes, and will find out")
    def torn(self) -> bool:
        return any(not self.uses[r] and self.got_second[r] > self.got_first[r] > 0 for r in range(self.readers))

    @sometimes("scene-used", "a reader uses the words of a later write")
    def used(self) -> bool:
        return any(self.uses[r] and self.got_first[r] == 2 for r in range(self.readers))
