"""The INT3 protocol of text_poke: a patcher with a store buffer, CPUs that execute what they fetched. The peers' tp6.

Not modelled: more than one patched instruction, interrupts other than the IPI, NMI.
"""

from nostale.prove import Model, array, never, param, rule, upto, wait

INT3_IN, TAIL_IN, HEAD_IN = 1, 3, 2  # what a store in the buffer writes


class TextPoke(Model):
    """An instruction of two bytes is replaced: INT3 first, then the tail, then the head, an IPI after each."""

    cpus = param(6, "CPUs that execute")

    def build(self):
        self.at = upto(15)
        self.head = upto(3)
        self.tail = upto(1)
        self.buffer = array(2, lambda: upto(7))
        self.pc = array(self.cpus, lambda: upto(3))
        self.seen_head = array(self.cpus, lambda: upto(3))
        self.seen_tail = array(self.cpus, lambda: upto(1))
        self.fetched = array(self.cpus, lambda: upto(3))
        self.ipi = array(self.cpus, lambda: upto(1))
        self.acked = array(self.cpus, lambda: upto(1))
        self.phases = 3
        self.stores = 4

    @rule(per="phases", lane="patcher")
    def store_first(self, phase):
        wait(self.at == 4 * phase and self.buffer[0] == 0)
        self.buffer[0] = (INT3_IN, TAIL_IN, HEAD_IN)[phase]
        self.at = 4 * phase + 1

    @rule(per="phases", lane="patcher")
    def store_second(self, phase):
        wait(self.at == 4 * phase and self.buffer[0] != 0 and self.buffer[1] == 0)
        self.buffer[1] = (INT3_IN, TAIL_IN, HEAD_IN)[phase]
        self.at = 4 * phase + 1

    @rule(per="phases", lane="patcher")
    def fence(self, phase):
        wait(self.at == 4 * phase + 1 and self.buffer[0] == 0 and self.buffer[1] == 0)
        self.at = 4 * phase + 2

    @rule(per="phases", lane="patcher")
    def send(self, phase):
        wait(self.at == 4 * phase + 2)
        for cpu in range(self.cpus):
            self.ipi[cpu] = 1
            self.acked[cpu] = 0
        self.at = 4 * phase + 3

    @rule(per="phases", lane="patcher")
    def all_acked(self, phase):
        wait(self.at == 4 * phase + 3 and all(self.acked[cpu] == 1 for cpu in range(self.cpus)))
        self.at = 4 * phase + 4

    @rule(lane="patcher")
    def drain_int3(self):
        wait(self.buffer[0] == INT3_IN)
        self.head = 1
        self.buffer[0] = self.buffer[1]
        self.buffer[1] = 0

    @rule(lane="patcher")
    def drain_head(self):
        wait(self.buffer[0] == HEAD_IN)
        self.head = 2
        self.buffer[0] = self.buffer[1]
        self.buffer[1] = 0

    @rule(lane="patcher")
    def drain_tail(self):
        wait(self.buffer[0] == TAIL_IN)
        self.tail = 1
        self.buffer[0] = self.buffer[1]
        self.buffer[1] = 0

    @rule(per="cpus", lane="CPU {}")
    def refill_head(self, cpu):
        wait(self.seen_head[cpu] != self.head)
        self.seen_head[cpu] = self.head

    @rule(per="cpus", lane="CPU {}")
    def refill_tail(self, cpu):
        wait(self.seen_tail[cpu] != self.tail)
        self.seen_tail[cpu] = self.tail

    @rule(per="cpus", lane="CPU {}")
    def fetch(self, cpu):
        wait(self.pc[cpu] == 0)
        self.fetched[cpu] = self.seen_head[cpu]
        self.pc[cpu] = 1

    @rule(per="cpus", lane="CPU {}")
    def trap(self, cpu):
        wait(self.pc[cpu] == 1 and self.fetched[cpu] == 1)
        self.pc[cpu] = 0
        self.fetched[cpu] = 0

    @rule(per="cpus", lane="CPU {}")
    def execute(self, cpu):
        wait(self.pc[cpu] == 1 and self.fetched[cpu] != 1 and self.whole(cpu))
        self.pc[cpu] = 0
        self.fetched[cpu] = 0

    @rule(per="cpus", lane="CPU {}")
    def execute_torn(self, cpu):
        wait(self.pc[cpu] == 1 and self.fetched[cpu] != 1 and not self.whole(cpu))
        self.pc[cpu] = 3

    @rule(per="cpus", lane="CPU {}")
    def take_ipi(self, cpu):
        wait(self.ipi[cpu] == 1 and self.pc[cpu] == 0)
        self.ipi[cpu] = 0
        self.seen_head[cpu] = self.head
        self.seen_tail[cpu] = self.tail
        self.acked[cpu] = 1

    def whole(self, cpu):
        return (self.fetched[cpu] == 0 and self.seen_tail[cpu] == 0) or (
            self.fetched[cpu] == 2 and self.seen_tail[cpu] == 1
        )

    @never("torn", "no CPU executes half of each")
    def torn(self):
        return any(self.pc[cpu] == 3 for cpu in range(self.cpus))
