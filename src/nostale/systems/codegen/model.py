"""Live patching of one instruction on x86: INT3, inter-processor interrupts and stale bytes."""

from __future__ import annotations

from enum import IntEnum

from nostale.contract import FRESH, Binding, Bound, Grade
from nostale.prove import (
    Bind,
    Model,
    array,
    atomic,
    choose,
    event,
    flag,
    never,
    one_of,
    param,
    process,
    removable,
    rule,
    sometimes,
    upto,
    variant,
    wait,
)
from nostale.prove.hardware.fetch import FETCHES, InstructionBytes
from nostale.prove.hardware.ipi import CallFunction
from nostale.prove.hardware.tso import StoreBuffer
from nostale.systems.codegen.contract import SYNC_BEFORE_EXECUTE


class Part(IntEnum):
    """The two parts of the instruction."""

    FIRST = 0  # its first byte, the one that INT3 covers
    TAIL = 1  # the bytes after it


class Byte(IntEnum):
    """What a part of the instruction holds."""

    OLD = 0
    INT3 = 1
    NEW = 2


class At(IntEnum):
    """Where an executing CPU is."""

    BOUNDARY = 0  # between instructions, where interrupts enter
    DECODING = 1  # it has fetched the first byte
    TORN = 2  # it has executed bytes of two instructions
    LOST = 3  # it has trapped on an INT3 that nobody claims any more


IN_PROVE = Binding(
    SYNC_BEFORE_EXECUTE,
    engine="prove",
    bound={
        "patch": Bound("a store to the instruction, and again when it leaves the store buffer", Grade.EXACT),
        "sync": Bound("sync_core() in the IPI's handler", Grade.EXACT),
        "execute": Bound("execution of bytes of two versions, or of an INT3 after the patch is done", Grade.EXACT),
        "done": Bound("the patcher returns", Grade.EXACT),
    },
    start=FRESH,
    start_why="nothing has been patched yet",
)


class TextPoke(Model):
    """One instruction is replaced while other CPUs execute it, as text_poke_bp_batch() does it in v6.12."""

    system = "codegen"
    title = "INT3 live patching: nobody executes a mixture of the old and the new instruction"
    not_modelled = (
        "NMIs and interrupts inside an instruction, the patcher executing the instruction itself, batches of several "
        "addresses, the temporary mapping, CPU hotplug, devices; one patch only"
    )

    cpus = param(2, "CPUs that execute the instruction while it is patched")
    depth = param(2, "stores that the patcher's store buffer holds")
    fetch = param("independent", "how the bytes of one instruction may mix", choices=FETCHES)
    no_int3 = variant("the first byte is replaced straight away, with no INT3 before it")
    no_tail_sync = variant("no CPU is made to synchronise between the tail and the first byte")
    no_final_sync = variant("the patcher returns without making every CPU synchronise")

    def build(self) -> None:
        self.text = InstructionBytes((Byte.OLD, Byte.OLD), 3, self.cpus, self.fetch)
        self.buffer = StoreBuffer(self.depth, Part, Byte, self.visible)
        self.call = CallFunction(self.cpus)
        self.at = array(self.cpus, lambda: one_of(At))
        self.version = array(self.cpus, lambda: upto(3))
        self.done = flag()

    def contracts(self) -> tuple[Bind, ...]:
        return (Bind(IN_PROVE, {"cpu": self.cpus, "address": 1}),)

    def assumptions(self) -> tuple[str, ...]:
        return (
            f"fetch = {self.fetch}: {_FETCHED[self.fetch]}",
            "delivery of an interrupt or exception does not serialise by itself; sync_core() in the handler does",
            "interrupts enter between instructions; the trap's return does not serialise (as with FRED's ERETS)",
        )

    # A view is stale from the store on, and again when the store becomes visible: a CPU that synchronises in between
    # has not seen it.
    def poke(self, place: int, value: int) -> None:
        self.buffer.store(place, value)
        event("patch", address=0)

    def visible(self, place: int, value: int) -> None:
        self.text.change(place, value)
        event("patch", address=0)

    @process(lane="patcher")
    def patcher(self) -> None:
        if not self.no_int3:
            with atomic("step 1: text_poke() puts INT3 over the first byte"):
                self.poke(Part.FIRST, Byte.INT3)
            self.sync_every_cpu()
        with atomic("step 2: text_poke() writes the bytes after the first"):
            self.poke(Part.TAIL, Byte.NEW)
        if not self.no_tail_sync:
            self.sync_every_cpu()
        with atomic("step 3: text_poke() replaces the first byte"):
            self.poke(Part.FIRST, Byte.NEW)
        if not self.no_final_sync:
            self.sync_every_cpu()
        with atomic("drops the last reference and returns: an INT3 is nobody's from here on"):
            self.done = True
            event("done", address=0)

    @removable("sync")
    def sync_every_cpu(self) -> None:
        """text_poke_sync(): on_each_cpu(do_sync_core), and wait for all of them."""
        with atomic("text_poke_sync(): the locked llist_add() drains the store buffer"):
            wait(self.buffer.drained())
        with atomic("text_poke_sync(): sends the IPI to every CPU"):
            self.call.send()
        with atomic("text_poke_sync(): every CPU has answered"):
            wait(self.call.all_done())

    @rule(per="cpus", lane="CPU {}")
    def do_sync_core(self, cpu: int) -> None:
        """Takes the IPI between two instructions; do_sync_core() serialises."""
        wait(self.at[cpu] != At.DECODING)
        self.call.take(cpu)
        self.text.sync(cpu)
        event("sync", cpu=cpu)

    @rule(per="cpus", lane="CPU {}")
    def fetch_first(self, cpu: int) -> None:
        """Fetches the first byte, of any version since its last synchronisation."""
        wait(self.at[cpu] == At.BOUNDARY)
        version = choose(self.text.versions)
        self.text.may_fetch(cpu, version)
        self.version[cpu] = version
        self.at[cpu] = At.DECODING

    @rule(per="cpus", lane="CPU {}")
    def execute(self, cpu: int) -> None:
        """Fetches the bytes after the first and executes the instruction."""
        wait(self.at[cpu] == At.DECODING)
        first = self.text.byte[Part.FIRST][self.version[cpu]]
        wait(first != Byte.INT3)
        version = choose(self.text.versions)
        self.text.may_fetch(cpu, version)
        self.text.may_follow(self.version[cpu], version)
        if first == self.text.byte[Part.TAIL][version]:
            self.at[cpu] = At.BOUNDARY
        else:
            self.at[cpu] = At.TORN
            event("execute", cpu=cpu, address=0)
        self.version[cpu] = 0

    @rule(per="cpus", lane="CPU {}")
    def trap(self, cpu: int) -> None:
        """Traps on INT3: poke_int3_handler() emulates the instruction, while there is a patch to claim it."""
        wait(self.at[cpu] == At.DECODING)
        wait(self.text.byte[Part.FIRST][self.version[cpu]] == Byte.INT3)
        if self.done:
            self.at[cpu] = At.LOST
            event("execute", cpu=cpu, address=0)
        else:
            self.at[cpu] = At.BOUNDARY
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
            self.at[cpu] == At.DECODING and self.text.byte[Part.FIRST][self.version[cpu]] == Byte.INT3
            for cpu in range(self.cpus)
        )

    @sometimes("scene-stale", "a CPU still decodes the old first byte after INT3 stands in memory")
    def stale(self) -> bool:
        return any(self.at[cpu] == At.DECODING and self.version[cpu] < self.text.now for cpu in range(self.cpus))

    @sometimes("scene-done", "the patcher returns")
    def returns(self) -> bool:
        return self.done


_FETCHED = {
    "independent": "each byte may be of any version since the CPU's last synchronisation (the weakest machine)",
    "ordered": "a later byte is at least as new as an earlier one (coherent fetch order)",
    "line": "all bytes come from one version (the instruction crosses no fetch line)",
}
