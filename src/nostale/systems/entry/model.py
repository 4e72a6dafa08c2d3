"""Kernel entry from user mode on x86, with an NMI at any step: when may instrumentable code run?"""

from __future__ import annotations

from nostale.contract import Binding, Bound, Grade
from nostale.prove import (
    Bind,
    Model,
    atomic,
    event,
    flag,
    interrupt,
    never,
    param,
    process,
    sometimes,
    variant,
)
from nostale.systems.entry.contract import NOINSTR_ESCAPE

IRQ, NMI = 0, 1  # the two contexts: an interrupt from user mode, and an NMI on top of it or of user mode

IN_PROVE = Binding(
    NOINSTR_ESCAPE,
    engine="prove",
    bound={
        "enter": Bound("the first step of an entry", Grade.EXACT),
        "begin": Bound("instrumentation_begin()", Grade.EXACT),
        "end": Bound("instrumentation_end()", Grade.EXACT),
        "escape": Bound("a call of instrumentable code", Grade.EXACT),
    },
    start=NOINSTR_ESCAPE.automaton.initial,
    start_why="no context has been entered yet",
)


class IrqEntry(Model):
    """An interrupt hits user mode and enters through irqentry_enter(), v6.12; NMIs enter at any step.

    lint checks that code keeps to the annotations; this checks that the annotations mean what they say: where one
    claims that instrumentable code may run, RCU is watching.
    """

    system = "entry"
    title = "instrumentable code runs only where RCU is watching"
    not_modelled = (
        "lockdep, CR3 and GS, the stacks, INT3 and #DB in the entry code, #MC, nested NMIs, preemption, entry from "
        "kernel mode and from idle; one CPU"
    )

    nmis = param(2, "NMIs that may come")
    drop_begin = variant("irqentry_enter() lacks one instrumentation_begin()")
    early_begin = variant("instrumentation_begin() stands before RCU is told")
    nmi_untold = variant("the NMI does not tell RCU (no ct_nmi_enter())")

    def build(self) -> None:
        self.watching = flag()
        self.was_watching = flag()
        self.blind = flag()
        self.entering = flag()
        self.in_nmi = flag()

    def contracts(self) -> tuple[Bind, ...]:
        return (Bind(IN_PROVE, {"context": 2}),)

    def assumptions(self) -> tuple[str, ...]:
        return ("an NMI enters between any two steps of the interrupted entry and runs to its end",)

    def instrumentable(self, context: int) -> None:
        event("escape", context=context)
        self.blind = self.blind or not self.watching

    def instrumented_range(self, what: str) -> None:
        with atomic(f"{what}: instrumentation_begin()"):
            event("begin", context=IRQ)
        with atomic(f"{what} runs instrumentable code"):
            self.instrumentable(IRQ)
        with atomic(f"{what}: instrumentation_end()"):
            event("end", context=IRQ)

    @process(lane="interrupt")
    def irqentry(self) -> None:
        while True:
            with atomic("an interrupt hits user mode: RCU is not watching"):
                event("enter", context=IRQ)
                self.entering = True
            if self.early_begin:
                self.instrumented_range("trace_hardirqs_off(), too early,")
            with atomic("__ct_user_exit(): RCU watches from here"):
                self.watching = True
                self.entering = False
            if self.drop_begin:
                with atomic("irqentry_enter() runs instrumentable code"):
                    self.instrumentable(IRQ)
            self.instrumented_range("irqentry_enter()")
            self.instrumented_range("the handler")
            with atomic("__ct_user_enter(): RCU no longer watches"):
                self.watching = False

    @interrupt(into="irqentry", budget="nmis", lane="NMI")
    def nmi(self) -> None:
        with atomic("an NMI comes"):
            self.was_watching = self.watching
            self.in_nmi = True
            event("enter", context=NMI)
        if not self.nmi_untold:
            with atomic("ct_nmi_enter(): RCU watches from here"):
                self.watching = True
        with atomic("irqentry_nmi_enter(): instrumentation_begin()"):
            event("begin", context=NMI)
        with atomic("the NMI's handler runs"):
            self.instrumentable(NMI)
        with atomic("irqentry_nmi_exit(): instrumentation_end()"):
            event("end", context=NMI)
        with atomic("ct_nmi_exit(), and back to what was interrupted"):
            self.watching = self.was_watching
            self.was_watching = False
            self.in_nmi = False

    @never(
        "no-blind-instrumentation",
        "no instrumentable code runs where RCU is not watching",
        "a tracer or probe that uses RCU there reads what may be freed under it",
    )
    def runs_blind(self) -> bool:
        return self.blind

    @sometimes("scene-nmi-in-entry", "an NMI comes after the interrupt and before RCU is told")
    def nmi_in_entry(self) -> bool:
        return self.in_nmi and self.entering
