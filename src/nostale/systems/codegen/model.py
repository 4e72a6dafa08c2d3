"""Live patching of one instruction on x86: INT3, inter-processor interrupts and stale bytes."""

from __future__ import annotations

from enum import IntEnum

from nostale.contract import FRESH, Binding, Bound, Grade
from nostale.prove import Bind, Model, atomic, event, flag, param, process, removable, sometimes, variant, wait
from nostale.prove.hardware.execute import ExecutingCpus
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

    system, title = "codegen", "INT3 live patching: nobody executes a mixture of the old and the new instruction"
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
    interchangeable = ("cpus",)

    def build(self) -> None:
        self.text = InstructionBytes((Byte.OLD, Byte.OLD), 3, self.cpus, self.fetch)
        self.buffer = StoreBuffer(self.depth, Part, Byte, self.visible)
        self.call = CallFunction(self.cpus)
        self.cpu = ExecutingCpus(self.cpus, self.text, self.call, Byte.INT3, self.claimed, sync="sync", use="execute")
        self.done = flag()

    @process(lane="patcher")
    def patcher(self) -> None:
        if not self.no_int3:
            self.poke("step 1: text_poke() puts INT3 over the first byte", Part.FIRST, Byte.INT3)
            self.sync_every_cpu()
        self.poke("step 2: text_poke() writes the bytes after the first", Part.TAIL, Byte.NEW)
        if not self.no_tail_sync:
            self.sync_every_cpu()
        self.poke("step 3: text_poke() replaces the first byte", Part.FIRST, Byte.NEW)
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

    # Stale from the store on, and again when it becomes visible: who synchronises in between has not seen it.
    def poke(self, what: str, part: int, byte: int) -> None:
        with atomic(what):
            self.buffer.store(part, byte)
            event("patch", address=0)

    def visible(self, part: int, byte: int) -> None:
        self.text.change(part, byte)
        event("patch", address=0)

    def claimed(self) -> bool:
        return not self.done

    @sometimes("scene-done", "the patcher returns")
    def returns(self) -> bool:
        return self.done

    def contracts(self) -> tuple[Bind, ...]:
        return (Bind(IN_PROVE, {"cpu": self.cpus, "address": 1}),)

    def assumptions(self) -> tuple[str, ...]:
        return (self.text.assumes, *self.cpu.assumes)
