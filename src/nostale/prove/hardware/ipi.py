"""Function calls by inter-processor interrupt that the sender waits for: smp_call_function_many() with wait.

The fence is a step of its own: what orders the sender's stores before the interrupt is the locked llist_add() of the
call, not the interrupt (an x2APIC write drains no store buffer). Source: kernel/smp.c, v6.12.
Not modelled: a queue per CPU with several calls in it, the cost of a call, CPUs that come and go.
"""

from __future__ import annotations

from nostale.prove.language import Component, array, flag, wait


class CallFunction(Component):
    """One function called on `cpus` CPUs at once."""

    def __init__(self, cpus: int) -> None:
        self.cpus = cpus
        self.asked = array(cpus, flag)
        self.done = array(cpus, flag)

    def send(self) -> None:
        """Ask every CPU."""
        for cpu in range(self.cpus):
            self.asked[cpu] = True
            self.done[cpu] = False

    def all_done(self) -> bool:
        """Whether every CPU has run the function."""
        return all(self.done)

    def take(self, cpu: int) -> None:
        """`cpu` takes the interrupt and has run the function; go on only if it was asked to."""
        wait(self.asked[cpu])
        self.asked[cpu] = False
        self.done[cpu] = True
