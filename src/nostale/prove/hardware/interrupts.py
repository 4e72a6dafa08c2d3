"""What runs on each CPU: a task, or handlers of interrupts, exceptions and NMIs on top of each other.

A handler of a model is a rule that waits for `running(cpu) == Context.NMI`; it ends with the return it uses. Entries
are within budgets, so that the search ends: a verdict holds for so many of each a CPU.
Source: SDM vol. 3, "Nonmaskable Interrupt (NMI)", "Enabling and Disabling Interrupts"; Intel's FRED specification,
ERETS; arch/x86/entry/entry_64.S, asm_exc_nmi (why an IRET inside an NMI must be expected).
Not modelled: priorities and vectors, interrupt shadows (STI, MOV SS), machine checks and SMIs, lost NMIs (one that
comes while blocked is simply taken later, or never).
"""

from __future__ import annotations

from enum import IntEnum

from nostale.prove.language import Component, array, flag, one_of, upto, wait


class Context(IntEnum):
    """What is on top of a CPU's stack."""

    TASK = 0
    EXCEPTION = 1
    IRQ = 2
    NMI = 3


class Interrupts(Component):
    """Contexts on each CPU.

    Args:
        cpus: how many CPUs; each starts in a task with interrupts on.
        irqs, exceptions, nmis: how many of each may enter on each CPU.
        nesting: how many handlers may be on top of each other.
    """

    def __init__(self, cpus: int, *, irqs: int = 1, exceptions: int = 1, nmis: int = 1, nesting: int = 3) -> None:
        self.cpus, self.nesting, self.budget = cpus, nesting, (0, exceptions, irqs, nmis)
        self.on = array(cpus, lambda: flag(first=True))
        self.nmi_blocked = array(cpus, flag)
        self.level = array(cpus, lambda: upto(nesting))
        self.context: list[list[int]] = array(cpus, lambda: array(nesting + 1, lambda: one_of(Context)))
        self.saved = array(cpus, lambda: array(nesting + 1, lambda: upto(1, shown=False)))
        self.entered = [[upto(most, shown=False) for most in self.budget] for _ in range(cpus)]

    def running(self, cpu: int) -> int:
        """Return the `Context` on top."""
        return self.context[cpu][self.level[cpu]]

    def runs_in(self, cpu: int, context: int) -> bool:
        """Whether such a handler is anywhere on the CPU's stack."""
        return any(self.context[cpu][level] == context for level in range(self.nesting + 1))

    def disable(self, cpu: int) -> None:
        """CLI (local_irq_disable)."""
        self.on[cpu] = False

    def enable(self, cpu: int) -> None:
        """STI (local_irq_enable)."""
        self.on[cpu] = True

    def enter_irq(self, cpu: int) -> None:
        """An interrupt is taken, if interrupts are on; they are off in its handler."""
        wait(self.on[cpu])
        self.enter(cpu, Context.IRQ)

    def enter_exception(self, cpu: int) -> None:
        """An exception is taken, whatever is masked: a fault, a trap on INT3. Interrupts are off in its handler."""
        self.enter(cpu, Context.EXCEPTION)

    def enter_nmi(self, cpu: int) -> None:
        """An NMI is taken, unless NMIs are blocked; they are blocked from here on."""
        wait(not self.nmi_blocked[cpu])
        self.enter(cpu, Context.NMI)
        self.nmi_blocked[cpu] = True

    def enter(self, cpu: int, context: int) -> None:
        """Push a context, within its budget."""
        wait(self.level[cpu] < self.nesting)
        wait(self.entered[cpu][context] < self.budget[context])
        self.entered[cpu][context] += 1
        self.level[cpu] += 1
        self.context[cpu][self.level[cpu]] = context
        self.saved[cpu][self.level[cpu]] = self.on[cpu]
        self.on[cpu] = False

    def iret(self, cpu: int) -> None:
        """IRET: to what was interrupted; unblocks NMIs, whatever handler it ends: also a fault's inside an NMI."""
        self.nmi_blocked[cpu] = False
        self.leave(cpu)

    def erets(self, cpu: int) -> None:
        """ERETS or ERETU of FRED: unblocks NMIs only where it ends an NMI's handler."""
        self.nmi_blocked[cpu] = self.nmi_blocked[cpu] and self.running(cpu) != Context.NMI
        self.leave(cpu)

    def leave(self, cpu: int) -> None:
        """Pop a context and put the interrupt flag back."""
        wait(self.level[cpu] > 0)
        self.on[cpu] = self.saved[cpu][self.level[cpu]] == 1
        self.saved[cpu][self.level[cpu]] = 0
        self.context[cpu][self.level[cpu]] = Context.TASK
        self.level[cpu] -= 1
