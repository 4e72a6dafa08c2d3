"""Code that was never executed is written, published and run: does anybody have to be told?

The writer fills memory through an alias, cleans and invalidates caches where the architecture wants it, and stores a
pointer; another thread loads the pointer and jumps. What matters is what the executing CPU may have fetched before:

- `unmapped`: nothing was mapped at the address, and no translation is left. It is mapped when the code is there.
- `nx`: it was mapped, not executable, until the code is there (text_poke_early() of a module, v6.12).
- `rox-filled`: mapped and executable all along, filled with INT3 (a bpf_prog_pack before its first use).
- `rox-reused`: the same, and another program ran there before (a slot of a bpf_prog_pack that was freed).

x86: instruction fetch is coherent with stores but for what was fetched ahead. arm64: DC CVAU and IC IVAU, broadcast,
make the caches follow; what was fetched ahead goes by an ISB on each PE. riscv: FENCE.I does both for its own hart.
User-space code generators do the same with mprotect() and membarrier(SYNC_CORE) in the place of kernel IPIs.
Source: SDM vol. 3, "Handling Self- and Cross-Modifying Code"; Arm ARM, "Concurrent modification and execution of
instructions"; RISC-V unprivileged ISA, "Zifencei"; the thread on bcachefs's code generation, June 2023.
"""

from __future__ import annotations

from enum import IntEnum

from nostale.prove import (
    Model,
    atomic,
    choose,
    flag,
    never,
    one_of,
    param,
    process,
    removable,
    rule,
    sometimes,
    variant,
    wait,
)

_LOCAL = {"x86": "CPUID", "arm64": "ISB", "riscv": "FENCE.I"}
HISTORIES = ("unmapped", "nx", "rox-filled", "rox-reused")


class Code(IntEnum):
    """What stands at the address, or in a CPU's front end."""

    NOTHING = 0
    OLD = 1  # INT3 filler, or the program before
    NEW = 2


class FreshCode(Model):
    """One CPU writes and publishes code, another one runs it."""

    system = "codegen"
    requirements = ("TI-10", "CG-5", "CG-6", "CG-7", "CG-9", "CG-10", "CG-13", "CG-15", "CG-19")
    title = "code that is new at its address is published and run"
    not_modelled = (
        "data-side reordering of the pointer (it is published with release and loaded with acquire), code of several "
        "lines, who may write (see wx-phases), the lifetime of what stood there before (see double-buffer)"
    )

    arch = param("x86", "the architecture", choices=("x86", "arm64", "riscv"))
    history = param("unmapped", "what the address was before", choices=HISTORIES)
    speculation = param(True, "whether CPUs fetch ahead of need wherever they may execute")
    sync = param("none", "what the writer does to the other CPUs before it publishes", choices=("none", "ipi"))
    runs_on = param("other", "which CPU runs the code", choices=("other", "writer"))

    map_first = variant("it is mapped, executable, before the code is there")
    no_shootdown = variant("an old translation of the address, to old code, is still kept")
    publish_first = variant("the pointer is published before the code is written")
    no_maintenance = variant("no cache is cleaned or invalidated; x86 does not need it", expect="holds")
    no_local_sync = variant(
        "the writer's own CPU does not synchronise; it matters where it runs the code", expect="holds"
    )
    silent_sync = variant("the call that should synchronise the others fails, and nobody looks", expect="holds")

    def build(self) -> None:
        self.coherent = self.arch == "x86"  # instruction fetch sees stores by itself
        before = self.history.startswith("rox") or self.no_shootdown
        self.memory = one_of(Code, first=Code.OLD)
        self.executable = flag(first=before)
        # Whether the instruction cache may still give the old contents of the frame.
        self.cache_is_old = flag(first=not self.coherent)
        self.ahead: int = one_of(Code)  # what the executing CPU has fetched before it jumped
        self.published = flag()
        self.ipi = flag()
        self.ran: int = one_of(Code)
        self.faulted = flag()

    def assumptions(self) -> tuple[str, ...]:
        told = {
            "x86": "instruction fetch is coherent with stores, but for what was fetched since the last serialising one",
            "arm64": "DC CVAU, IC IVAU and their DSBs act on every PE; an ISB drops what was fetched ahead",
            "riscv": "FENCE.I makes its own hart see what was stored before, and drops what it fetched ahead",
        }
        return (f"{self.arch}: {told[self.arch]}",)

    @process(lane="writer")
    def writer(self) -> None:
        if self.map_first:
            self.map_it()
        if self.publish_first:
            self.publish()
        with atomic("writes the code through an alias"):
            self.memory = Code.NEW
        if not self.no_maintenance and self.arch == "arm64":
            self.clean()
        if self.runs_on == "writer" and not self.no_local_sync:
            self.local_sync()
        if not self.map_first and self.history in ("unmapped", "nx"):
            self.map_it()
        if self.sync == "ipi":
            self.tell()
        if not self.publish_first:
            self.publish()

    @removable("cache maintenance")
    def clean(self) -> None:
        with atomic("DC CVAU, DSB ISH, IC IVAU, DSB ISH"):
            self.cache_is_old = False

    @removable("core sync")
    def local_sync(self) -> None:
        with atomic(f"{_LOCAL[self.arch]} on the writer's CPU"):
            self.synchronise()

    def map_it(self) -> None:
        with atomic("maps it executable"):
            self.executable = True

    @removable("core sync")
    def tell(self) -> None:
        with atomic("sends the IPI to every CPU"):
            self.ipi = not self.silent_sync
        with atomic("every CPU has answered"):
            wait(not self.ipi)

    def publish(self) -> None:
        with atomic("publishes the pointer"):
            self.published = True

    def synchronise(self) -> None:
        """What a core synchronisation does for the CPU that runs the code."""
        self.ahead = Code.NOTHING
        if self.arch == "riscv":
            self.cache_is_old = self.memory == Code.OLD

    def may_fetch(self, code: int) -> bool:
        return (self.memory == code) or (code == Code.OLD and self.cache_is_old)

    @rule(lane="executing CPU")
    def fetch_ahead(self) -> None:
        """Fetches ahead of need."""
        code = choose((Code.OLD, Code.NEW))
        wait(self.speculation and self.executable)
        wait(self.ahead == Code.NOTHING)
        wait(self.may_fetch(code))
        self.ahead = code

    @rule(lane="executing CPU")
    def run_before(self) -> None:
        """Runs the program that stands there, to its end."""
        wait(self.history == "rox-reused" and self.memory == Code.OLD and not self.published)
        self.ahead = Code.OLD

    @rule(lane="executing CPU")
    def take_ipi(self) -> None:
        """Takes the IPI, and synchronises its core."""
        wait(self.ipi)
        self.ipi = False
        self.synchronise()

    @process(lane="executing CPU")
    def runs(self) -> None:
        with atomic("loads the pointer"):
            wait(self.published)
        with atomic("jumps there"):
            self.faulted = not self.executable
            code = choose((Code.OLD, Code.NEW))
            wait(self.ahead == code or (self.ahead == Code.NOTHING and self.may_fetch(code)))
            self.ran = code

    @never("old-code", "nobody who has the pointer runs what stood there before", "a trap that nobody claims, or worse")
    def runs_old(self) -> bool:
        return self.ran == Code.OLD

    @never("fault", "nobody who has the pointer jumps to where nothing may be executed", "the code is not there yet")
    def jumps_too_early(self) -> bool:
        return self.faulted

    @sometimes("scene-runs", "the new code runs")
    def runs_new(self) -> bool:
        return self.ran == Code.NEW
