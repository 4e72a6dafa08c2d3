"""A CPU that comes into the kernel and leaves it, with NMIs at any step, and another one that patches a site.

Entry paths are arch/x86/entry/ and kernel/entry/common.c of v6.12: irqentry_enter_from_user_mode() for a system call,
an interrupt, and #MC, #DB and INT3 from user mode; irqentry_nmi_enter() for NMIs, which leaves the state as it is;
ct_irq_enter() for an interrupt in the idle loop, which leaves it at IDLE; guest_state_exit_irqoff() after a VM exit.
How the CPU is told of the patch, and where it catches up, are the designs': see `deferral`.
"""

from __future__ import annotations

from enum import IntEnum

from nostale.contract import Binding, Bound, Grade
from nostale.prove import (
    Bind,
    Model,
    atomic,
    event,
    flag,
    interrupt,
    one_of,
    param,
    process,
    rule,
    sometimes,
    upto,
    wait,
)
from nostale.systems.isolation.contract import DEFERRED_SYNC


class State(IntEnum):
    """enum ctx_state: where context tracking believes the CPU to be."""

    KERNEL = 0
    IDLE = 1
    USER = 2
    GUEST = 3


_COMES_IN = {
    "syscall": "SYSCALL: the kernel is entered",
    "irq": "an interrupt hits user mode: the kernel is entered",
    "mc": "#MC from user mode: the kernel is entered",
    "db": "#DB from user mode: the kernel is entered",
    "int3": "INT3 in user mode: the kernel is entered",
    "idle-irq": "an interrupt hits the idle loop",
    "guest-exit": "VM exit: the host runs again",
}
ENTRIES = tuple(_COMES_IN)
SITES = ("normal", "noinstr", "entry")

IN_PROVE = Binding(
    DEFERRED_SYNC,
    engine="prove",
    bound={
        "change": Bound("text_poke() has stored the new instruction", Grade.EXACT),
        "sync": Bound("a serialising instruction, in the IPI's handler or on the way in", Grade.EXACT),
        "use": Bound("execution of the patched site", Grade.EXACT),
        "done": Bound("the patcher returns", Grade.EXACT),
    },
    start="fresh",
    start_why="nothing has been patched yet",
)


class Away(Model):
    """What all designs share; a subclass says how the CPU is told and where it catches up."""

    system = "isolation"
    not_modelled = (
        "the steps of the INT3 protocol (see codegen), several CPUs that come and go, the IPI's own way in (one step "
        "here), interrupts that nest other than NMIs, speculation past a serialising instruction, CPU hotplug"
    )

    entry = param("syscall", "how the CPU comes in", choices=ENTRIES)
    site = param("normal", "where the patched site is: entry text comes before any CR3 is loaded", choices=SITES)
    pti = param(True, "whether the ways in from user mode load another CR3")
    patches = param(2, "how often the site is patched")
    nmis = param(1, "NMIs that may come, at any step")

    def build(self) -> None:
        self.away = {"idle-irq": State.IDLE, "guest-exit": State.GUEST}.get(self.entry, State.USER)
        self.changes_cr3 = self.pti and self.away == State.USER
        self.state = one_of(State, first=self.away)
        self.watching = flag()  # CT_RCU_WATCHING, in the same word as the state
        self.irqs_on = flag(first=True)
        self.ipi = flag()
        self.patched = upto(self.patches)
        self.nmi_masked = flag()
        self.nmi_latch = flag()
        self.nmi_found_irqs_on = flag()
        self.nmi_found_watching = flag()

    def contracts(self) -> tuple[Bind, ...]:
        return (Bind(IN_PROVE, {"cpu": 1}),)

    def assumptions(self) -> tuple[str, ...]:
        return (
            "before the patcher returns the old text may run: the INT3 protocol copes with that",
            "an interrupt, exception, VM exit or SYSCALL does not serialise by itself",
        )

    @process(lane="patcher")
    def patcher(self) -> None:
        while self.patched < self.patches:
            with atomic("text_poke(): the new instruction is in memory"):
                self.patched += 1
                event("change")
            self.tell()
            with atomic("the patcher returns"):
                event("done")

    def tell(self) -> None:
        """Tell the CPU, or decide not to; come back when it has answered."""

    def answered(self) -> None:
        with atomic("everybody who was asked has answered"):
            wait(not self.ipi)

    def way_in(self) -> None:
        """What comes first on a way in from user mode."""

    def flush(self) -> None:
        """Catch up, where RCU has been told."""

    def flush_late(self) -> None:
        """Catch up after kernel text has run."""

    def way_out(self) -> None:
        """What comes last on a way to user mode."""

    def nmi_way_in(self) -> None:
        """What comes first in an NMI."""

    def nmi_flush(self) -> None:
        """Catch up in an NMI, where RCU has been told."""

    def nmi_way_out(self) -> None:
        """What comes last in an NMI."""

    @process(lane="CPU 1")
    def cpu(self) -> None:
        while True:
            with atomic(_COMES_IN[self.entry]):
                self.irqs_on = False
            self.run_entry_text()
            self.way_in()
            self.run_noinstr()
            with atomic("ct_kernel_enter_state(): RCU watches from here"):
                self.watching = True
                if self.entry != "idle-irq":
                    self.state = State.KERNEL
            self.flush()
            with atomic("the handler runs the patched site"):
                event("use", cpu=0)
            self.flush_late()
            with atomic("interrupts are on for a while"):
                self.irqs_on = True
            with atomic("interrupts are off, on the way out"):
                self.irqs_on = False
            with atomic("ct_kernel_exit_state(): RCU no longer watches"):
                self.watching = False
                self.state = self.away
            self.run_noinstr()
            self.way_out()
            self.run_entry_text()
            with atomic("back to where it came from"):
                self.irqs_on = True

    def run_entry_text(self) -> None:
        if self.site == "entry":
            with atomic("entry text runs the patched site"):
                event("use", cpu=0)

    def run_noinstr(self) -> None:
        if self.site == "noinstr":
            with atomic("noinstr code runs the patched site"):
                event("use", cpu=0)

    @interrupt(into="cpu", budget="nmis", lane="NMI on CPU 1")
    def nmi(self) -> None:
        with atomic("an NMI comes"):
            self.nmi_masked = True
            self.nmi_found_irqs_on = self.irqs_on
            self.irqs_on = False
        self.run_entry_text()
        self.nmi_way_in()
        self.run_noinstr()
        with atomic("ct_nmi_enter(): RCU watches from here"):
            self.nmi_found_watching = self.watching
            self.watching = True
        self.nmi_flush()
        with atomic("the NMI's handler runs the patched site"):
            event("use", cpu=0)
        with atomic("ct_nmi_exit()"):
            self.watching = self.nmi_found_watching
            self.nmi_found_watching = False
        self.run_noinstr()
        self.nmi_way_out()
        self.run_entry_text()
        with atomic("IRET: back to what the NMI hit"):
            self.irqs_on = self.nmi_found_irqs_on
            self.nmi_found_irqs_on = False
            self.nmi_latch = False
            self.nmi_masked = False

    @rule(lane="CPU 1")
    def take_ipi(self) -> None:
        """Takes the IPI: do_sync_core() serialises."""
        wait(self.ipi)
        wait(self.irqs_on)
        self.ipi = False
        event("sync", cpu=0)

    @sometimes("scene-all-patched", "the patcher returns from its last patch")
    def all_patched(self) -> bool:
        return self.patched == self.patches and not self.ipi

    @sometimes("scene-nmi-blind", "an NMI comes before RCU has been told, if any comes")
    def nmi_blind(self) -> bool:
        return self.nmis == 0 or (self.nmi_masked and not self.watching)
