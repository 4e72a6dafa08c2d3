"""CPUs that execute one instruction whose bytes change under them, over and over.

An instruction is fetched in two parts, its first byte and the rest, each of any version that `fetch.InstructionBytes`
allows. Interrupts enter between instructions. An INT3 in the first byte traps instead of executing. Source: SDM vol. 3,
"Handling Self- and Cross-Modifying Code" and "Interrupt 3"; arch/x86/kernel/alternative.c, poke_int3_handler(), v6.12.
Not modelled: interrupts and NMIs inside an instruction, other instructions, speculation beyond the fetched bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from nostale.prove.hardware.fetch import InstructionBytes
from nostale.prove.hardware.ipi import CallFunction
from nostale.prove.language import Component, array, choose, event, never, one_of, rule, sometimes, upto, wait


class At(IntEnum):
    """Where an executing CPU is."""

    BOUNDARY = 0  # between instructions, where interrupts enter
    DECODING = 1  # it has fetched the first byte
    TORN = 2  # it has executed bytes of two instructions
    LOST = 3  # it has trapped on an INT3 that nobody claims any more


class ExecutingCpus(Component):
    """CPUs that execute `text` and synchronise when `call` asks them to.

    Args:
        cpus: how many.
        text: the instruction, of two parts.
        call: by which they are asked to run sync_core().
        int3: the value of the first byte that traps.
        claimed: the model's helper that says whether somebody still claims the trap.
        sync, use: the contract's events for a core sync, and for executing what depends on the change.
    """

    assumes = (
        "delivery of an interrupt or exception does not serialise by itself; sync_core() in the handler does",
        "interrupts enter between instructions; the trap's return does not serialise (as with FRED's ERETS)",
    )

    def __init__(
        self,
        cpus: int,
        text: InstructionBytes,
        call: CallFunction,
        int3: IntEnum,
        claimed: Callable[[], bool],
        *,
        sync: str,
        use: str,
    ) -> None:
        self.cpus, self.int3, self.claimed, self.sync_event, self.use_event = cpus, int3, claimed, sync, use
        self._text, self._call = text, call
        self.at = array(cpus, lambda: one_of(At))
        self.version = array(cpus, lambda: upto(len(text.versions) - 1))

    @rule(per="cpus", lane="CPU {}")
    def do_sync_core(self, cpu: int) -> None:
        """Takes the IPI between two instructions; do_sync_core() serialises."""
        wait(self.at[cpu] != At.DECODING)
        self._call.take(cpu)
        self._text.sync(cpu)
        event(self.sync_event, cpu=cpu)

    @rule(per="cpus", lane="CPU {}")
    def fetch_first(self, cpu: int) -> None:
        """Fetches the first byte, of any version since its last synchronisation."""
        wait(self.at[cpu] == At.BOUNDARY)
        version = choose(self._text.versions)
        self._text.may_fetch(cpu, version)
        self.version[cpu] = version
        self.at[cpu] = At.DECODING

    @rule(per="cpus", lane="CPU {}")
    def execute(self, cpu: int) -> None:
        """Fetches the bytes after the first and executes the instruction."""
        wait(self.at[cpu] == At.DECODING)
        first = self._text.byte[0][self.version[cpu]]
        wait(first != self.int3)
        version = choose(self._text.versions)
        self._text.may_fetch(cpu, version)
        self._text.may_follow(self.version[cpu], version)
        if first == self._text.byte[1][version]:
            self.at[cpu] = At.BOUNDARY
        else:
            self.at[cpu] = At.TORN
            event(self.use_event, cpu=cpu, address=0)
        self.version[cpu] = 0

    @rule(per="cpus", lane="CPU {}")
    def trap(self, cpu: int) -> None:
        """Traps on INT3: poke_int3_handler() emulates the instruction, while there is a patch to claim it."""
        wait(self.at[cpu] == At.DECODING)
        wait(self._text.byte[0][self.version[cpu]] == self.int3)
        if self.claimed():
            self.at[cpu] = At.BOUNDARY
        else:
            self.at[cpu] = At.LOST
            event(self.use_event, cpu=cpu, address=0)
        self.version[cpu] = 0

    @never(
        "no-torn-instruction", "no CPU executes bytes of two instructions", "what runs is an instruction nobody wrote"
    )
    def torn(self) -> bool:
        return any(at == At.TORN for at in self.at)

    @never("no-lost-trap", "no CPU traps on an INT3 after the patch is done", "an INT3 that nobody claims is an oops")
    def lost(self) -> bool:
        return any(at == At.LOST for at in self.at)

    @sometimes("scene-trap", "a CPU runs into the INT3 while the patch is under way")
    def traps(self) -> bool:
        return any(
            self.at[cpu] == At.DECODING and self._text.byte[0][self.version[cpu]] == self.int3
            for cpu in range(self.cpus)
        )

    @sometimes("scene-stale", "a CPU still decodes the old first byte after INT3 stands in memory")
    def stale(self) -> bool:
        return any(self.at[cpu] == At.DECODING and self.version[cpu] < self._text.now for cpu in range(self.cpus))
