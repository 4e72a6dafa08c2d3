"""The ticket lock with its calls and returns: the same states as the public TLA+ model of it."""

from nostale.prove import Model, array, atomic, flag, never, param, process, sometimes, upto, variant, wait


class TicketLockCalls(Model):
    """The arm64 kernel's ticket lock, each step of `spin_lock()` and `spin_unlock()` told apart from its call.

    The steps are those of ticketlock.tla in Catalin Marinas's kernel-tla, without trylock: call spin_lock(); take a
    ticket; see it called, and return; be inside; call spin_unlock(); call the next number; return. That model has 5,316
    distinct states with four CPUs and four tickets, and so has this one: an oracle in a tool of another making.
    """

    title = "a ticket lock lets one CPU in at a time"
    not_modelled = "trylock, memory ordering, exclusives"

    cpus = param(4, "CPUs that take the lock again and again")
    tickets = param(4, "numbers until they wrap")
    torn_take = variant("a ticket is taken by a load and a store instead of one atomic add")

    def build(self) -> None:
        self.next = upto(self.tickets - 1)
        self.owner = upto(self.tickets - 1)
        self.inside = array(self.cpus, flag)

    def after(self, ticket: int) -> int:
        return ticket + 1 if ticket < self.tickets - 1 else 0

    @process(per="cpus", lane="CPU {}")
    def cpu(self, me: int) -> None:
        while True:
            with atomic("calls spin_lock()"):
                pass
            if self.torn_take:
                ticket = self.next
                self.next = self.after(ticket)
            else:
                with atomic("takes a ticket"):
                    ticket = self.next
                    self.next = self.after(ticket)
            with atomic("its number is called: spin_lock() returns"):
                wait(self.owner == ticket)
                self.inside[me] = True
                ticket = 0  # spin_lock()'s local is gone with the call
            with atomic("has been inside"):
                self.inside[me] = False
            with atomic("calls spin_unlock()"):
                pass
            with atomic("calls the next number"):
                self.owner = self.after(self.owner)
            with atomic("spin_unlock() returns"):
                pass

    @never("two-inside", "no two CPUs are inside together")
    def two_inside(self) -> bool:
        return sum(self.inside[cpu] for cpu in range(self.cpus)) > 1

    @sometimes("scene-full", "every ticket is out")
    def full(self) -> bool:
        return self.next == self.owner and any(self.inside)
