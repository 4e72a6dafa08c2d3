"""Function calls by inter-processor interrupt.

What orders the sender's stores before the interrupt is the locked llist_add() of the call, not the interrupt: an x2APIC
write drains no store buffer (SDM vol. 3, "Memory Ordering in x2APIC Mode"; arch/x86/include/asm/barrier.h,
weak_wrmsr_fence()). So the fence is a step of its own, the model's. Source: kernel/smp.c, v6.12.
Not modelled: CPUs that come and go, calls to the sender's own CPU (they run at once), a full queue's cost.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from nostale.prove.language import Component, array, flag, one_of, rule, wait


class CallFunction(Component):
    """One function called on `cpus` CPUs at once, and waited for: smp_call_function_many() with wait, in short."""

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


class Call(IntEnum):
    """Where a call (a csd) is."""

    FREE = 0
    LOCKED = 1  # the sender fills it in
    QUEUED = 2  # on the target's list
    TAKEN = 3  # the target's handler has taken it off
    RUN = 4  # the function has run; the sender may still be waiting


class Handler(IntEnum):
    """How far the target's handler is."""

    OUT = 0
    ENTERED = 1
    TOOK = 2  # it has taken the list, once


class CallQueue(Component):
    """Calls from any CPU to any other, step by step, with one call a pair at a time.

    The sender: `lock`, its fence if it needs one, `queue`, `send`, and where it waits, `wait(answered(...))`.
    The target, by itself: delivery, the handler takes the whole list, runs each function, acknowledges it.

    Args:
        cpus: how many.
        ready: asked with (cpu,) whether an interrupt may be delivered there now: the model's own helper.
        function: called with (cpu, sender): what the call does on `cpu`.
    """

    def __init__(self, cpus: int, ready: Callable[[int], bool], function: Callable[[int, int], None]) -> None:
        self.cpus, self.ready, self.function = cpus, ready, function
        self.call: list[list[int]] = [array(cpus, lambda: one_of(Call)) for _ in range(cpus)]
        self.owes = [array(cpus, flag) for _ in range(cpus)]
        self.pending = array(cpus, flag)
        self.handler: list[int] = array(cpus, lambda: one_of(Handler))

    def lock(self, sender: int, target: int) -> None:
        """csd_lock(): go on when the last call of this pair has been acknowledged."""
        wait(self.call[target][sender] == Call.FREE)
        self.call[target][sender] = Call.LOCKED

    def queue(self, sender: int, target: int) -> None:
        """llist_add(): locked, so the model drains the sender's store buffer in the same step.

        An interrupt is owed only if the list was empty: who finds it filled relies on the one who filled it.
        """
        self.owes[target][sender] = self.list_is_empty(target)
        self.call[target][sender] = Call.QUEUED

    def list_is_empty(self, target: int) -> bool:
        """Whether no call waits on the target's list."""
        return not any(self.call[target][sender] == Call.QUEUED for sender in range(self.cpus))

    def send(self, sender: int, target: int) -> None:
        """Send the interrupt if one is owed; one that is pending already swallows it."""
        self.pending[target] = self.pending[target] or self.owes[target][sender]
        self.owes[target][sender] = False

    def answered(self, sender: int, target: int) -> bool:
        """Whether the target has acknowledged this pair's call."""
        return self.call[target][sender] == Call.FREE

    @rule(per="cpus", lane="CPU {}")
    def deliver(self, cpu: int) -> None:
        """Takes the call-function interrupt."""
        wait(self.pending[cpu] and self.handler[cpu] == Handler.OUT)
        wait(self.ready(cpu))
        self.pending[cpu] = False
        self.handler[cpu] = Handler.ENTERED

    @rule(per="cpus", lane="CPU {}")
    def take_all(self, cpu: int) -> None:
        """Takes every call off its list (llist_del_all)."""
        wait(self.handler[cpu] == Handler.ENTERED)
        self.handler[cpu] = Handler.TOOK
        for sender in range(self.cpus):
            self.call[cpu][sender] = Call.TAKEN if self.call[cpu][sender] == Call.QUEUED else self.call[cpu][sender]

    @rule(per=("cpus", "cpus"), lane="CPU {}")
    def run(self, cpu: int, sender: int) -> None:
        """Runs the function that CPU {sender} asked for."""
        wait(self.call[cpu][sender] == Call.TAKEN)
        self.function(cpu, sender)
        self.call[cpu][sender] = Call.RUN

    @rule(per=("cpus", "cpus"), lane="CPU {}")
    def acknowledge(self, cpu: int, sender: int) -> None:
        """Acknowledges the call to CPU {sender} (csd_unlock)."""
        wait(self.call[cpu][sender] == Call.RUN)
        self.call[cpu][sender] = Call.FREE

    @rule(per="cpus", lane="CPU {}")
    def end(self, cpu: int) -> None:
        """Leaves the handler: what it took off is done; what came since has an interrupt of its own."""
        wait(self.handler[cpu] == Handler.TOOK)
        wait(not any(self.call[cpu][sender] in (Call.TAKEN, Call.RUN) for sender in range(self.cpus)))
        self.handler[cpu] = Handler.OUT
