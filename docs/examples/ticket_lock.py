"""The ticket lock: take the next number, wait until it is called."""

from nostale.prove import Model, array, atomic, flag, never, param, process, sometimes, upto, variant, wait


class TicketLock(Model):
    """Tickets wrap, as they do in the kernel's 16 bits; there must be as many as CPUs."""

    title = "a ticket lock lets one CPU in at a time, and nobody waits for a number that never comes"
    not_modelled = "memory ordering: the loads and stores are sequentially consistent; who comes first is served first"

    cpus = param(3, "CPUs that take the lock again and again")
    torn_take = variant("a ticket is taken by a load and a store instead of one atomic add")
    few_tickets = variant("there is one ticket fewer than CPUs")

    def build(self) -> None:
        self.tickets = self.cpus - 1 if self.few_tickets else self.cpus
        self.next = upto(self.tickets - 1)
        self.owner = upto(self.tickets - 1)
        self.inside = array(self.cpus, flag)

    def after(self, ticket: int) -> int:
        return ticket + 1 if ticket < self.tickets - 1 else 0

    @process(per="cpus", lane="CPU {}")
    def cpu(self, me: int) -> None:
        while True:
            if self.torn_take:
                ticket = self.next
                self.next = self.after(ticket)
            else:
                with atomic("takes a ticket"):
                    ticket = self.next
                    self.next = self.after(ticket)
            with atomic("its number is called: goes in"):
                wait(self.owner == ticket)
                self.inside[me] = True
                ticket = 0  # used up; a number nobody looks at again would only tell states apart
            self.inside[me] = False
            self.owner = self.after(self.owner)

    @never("two-inside", "no two CPUs are inside together")
    def two_inside(self) -> bool:
        return sum(self.inside[cpu] for cpu in range(self.cpus)) > 1

    @sometimes("scene-wrapped", "the numbers wrap while somebody is inside")
    def wrapped(self) -> bool:
        return self.next < self.owner and any(self.inside)

    @sometimes("scene-full", "every ticket is out: everybody waits or is inside")
    def full(self) -> bool:
        return self.next == self.owner and any(self.inside)
