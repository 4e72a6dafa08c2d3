"""How a CPU that is away is told of a text patch: by IPI, by a work bit, or by nobody until it loads the kernel's CR3.

- `TellEverybody`: mainline. text_poke_sync() interrupts every CPU (arch/x86/kernel/alternative.c, v6.12).
- `WorkBit`: the series "context_tracking,x86: Defer some IPIs until a user->kernel transition", v4 to v7.
  ct_set_cpu_work() sets a bit in the word that holds the context-tracking state, by cmpxchg, while the CPU is away;
  ct_work_flush() runs in ct_kernel_enter_state() and serialises if it finds the bit.
- `Cr3CatchUp`: its v8. No bits: every way in that loads the kernel's CR3 has serialised by that; a per-CPU signal,
  kernel_cr3_loaded, tells the patcher who is past it. Where no CR3 is loaded the signal is never cleared.

Each read-modify-write of the word is one step, and full barriers: x86's locked operations (asm/atomic.h).
"""

from __future__ import annotations

from enum import IntEnum

from nostale.prove import atomic, event, flag, interrupt, never, one_of, param, removable, sometimes, variant, wait
from nostale.systems.isolation.away import Away, State

HOOKS = ("enter_from_user_mode", "ct_kernel_enter_state", "late")


class Saw(IntEnum):
    """What the patcher saw of the CPU before it acted on it."""

    NOTHING = 0
    AWAY = 1
    HERE = 2


class TellEverybody(Away):
    """Mainline: whoever patches interrupts every CPU and waits."""

    title = "mainline: every CPU is interrupted for every text patch"
    no_ipi = variant("nobody is interrupted")
    no_wait = variant("the patcher does not wait for the answers")

    def tell(self) -> None:
        if not self.no_ipi:
            with atomic("text_poke_sync(): sends the IPI"):
                self.ipi = True
        if not self.no_wait:
            self.answered()


class WorkBit(Away):
    """The CPU that is away gets a bit instead of an interrupt, and serialises when it comes in."""

    requirements = ("TI-8", "TI-9b", "TI-20")
    title = "v4 to v7: a CPU that is away finds a work bit when it comes in"

    hook = param("ct_kernel_enter_state", "where the bit is looked for", choices=HOOKS)
    bit = param("kept", "until after the sync, or taken by the step that finds it", choices=("kept", "taken"))
    primitive = param("SERIALIZE", "what sync_core() is", choices=("SERIALIZE", "IRET"))
    fallback = param(True, "whether a patch of noinstr or entry text interrupts everybody at once")

    by_state = variant("the CPU is spared by its state (USER, IDLE or GUEST), not by whether RCU watches (v4)")
    inverted = variant("the CPU is spared when RCU watches")
    look_first = variant("the patcher looks at the word and sets the bit in a second step")
    bit_lost = variant("the CPU clears the bit before it says that it is in the kernel")
    latch_late = variant("an NMI says that it executes after the hook; it matters with IRET", expect="holds")

    def build(self) -> None:
        super().build()
        self.work = flag()  # CT_WORK_SYNC, in the same word
        self.saw = one_of(Saw)
        self.found = flag()
        self.nmi_found = flag()
        self.overrun = flag()

    def assumptions(self) -> tuple[str, ...]:
        return (*super().assumptions(), "IRET inside an NMI unmasks NMIs; SERIALIZE does not")

    def tell(self) -> None:
        if self.everybody_is_told():
            with atomic("the site is noinstr or entry text: text_poke_sync() sends the IPI"):
                self.ipi = True
        elif self.look_first:
            with atomic("looks whether the CPU is away"):
                self.saw = Saw.AWAY if self.may_spare() else Saw.HERE
            with atomic("sets the work bit of a CPU that it saw away, else sends the IPI"):
                self.work = self.work or self.saw == Saw.AWAY
                self.ipi = self.saw == Saw.HERE
                self.saw = Saw.NOTHING
        else:
            with atomic("ct_set_cpu_work(): cmpxchg sets the bit if the CPU is away; else the IPI is sent"):
                self.ipi = not self.may_spare()
                self.work = self.work or self.may_spare()
        self.answered()

    def may_spare(self) -> bool:
        return (self.state != State.KERNEL) if self.by_state else self.watching if self.inverted else not self.watching

    def way_in(self) -> None:
        if self.bit_lost:
            with atomic("clears the work bit, too early"):
                self.work = False

    def flush(self) -> None:
        if self.hook == "ct_kernel_enter_state" or (self.hook == "enter_from_user_mode" and self.away == State.USER):
            self.catch_up()

    def flush_late(self) -> None:
        if self.hook == "late":
            self.catch_up()

    @removable("core sync")
    def catch_up(self) -> None:
        with atomic("ct_work_flush(): is there work?"):
            self.found = self.work
            self.work = self.work and self.bit == "kept"
        with atomic(f"ct_work_flush(): sync_core() by {self.primitive}, if there is"):
            if self.found:
                event("sync", cpu=0)
        with atomic("ct_work_flush(): done; a bit that was found and kept is cleared"):
            self.work = self.work and not self.found
            self.found = False

    def nmi_way_in(self) -> None:
        if not self.latch_late:
            self.close_latch()

    def close_latch(self) -> None:
        with atomic("asm_exc_nmi: says on its stack that an NMI is executing"):
            self.nmi_latch = True

    def nmi_flush(self) -> None:
        if self.hook == "ct_kernel_enter_state":
            self.catch_up_in_nmi()
        if self.latch_late:
            self.close_latch()

    @removable("core sync")
    def catch_up_in_nmi(self) -> None:
        with atomic("ct_work_flush(): is there work?"):
            self.nmi_found = self.work
            self.work = self.work and self.bit == "kept"
        with atomic(f"ct_work_flush(): sync_core() by {self.primitive}, if there is"):
            if self.nmi_found:
                event("sync", cpu=0)
                self.nmi_masked = self.primitive != "IRET"
        with atomic("ct_work_flush(): done; a bit that was found and kept is cleared"):
            self.work = self.work and not self.nmi_found
            self.nmi_found = False

    @interrupt(into="nmi", budget="nmis", lane="NMI in the NMI")
    def second_nmi(self) -> None:
        with atomic("another NMI comes; it runs if the latch is open, else it is left for the first to repeat"):
            wait(not self.nmi_masked)
            self.overrun = self.overrun or not self.nmi_latch

    @never("one-nmi", "no NMI runs inside another's handler", "the inner one overwrites what the outer returns to")
    def overruns(self) -> bool:
        return self.overrun

    @sometimes(
        "scene-spared", "the patcher returns from its last patch while the CPU has a bit to find, if it gets any"
    )
    def spared(self) -> bool:
        return self.everybody_is_told() or (self.work and self.patched == self.patches)

    def everybody_is_told(self) -> bool:
        return self.site != "normal" and self.fallback


class Cr3CatchUp(Away):
    """Every way in that loads the kernel's CR3 has serialised; whoever is not past it is not interrupted."""

    requirements = ("TI-9b", "TI-20")
    title = "v8: loading the kernel's CR3 is the catch-up, and a signal tells who is past it"

    late_signal = variant("the signal is set after the kernel's CR3 is loaded")
    early_clear = variant("the signal is cleared before the user's CR3 is loaded")
    nmi_clears = variant("an NMI that found the user's CR3 clears the signal on its way out, whatever it found")

    def build(self) -> None:
        super().build()
        self.signal = flag(first=not self.changes_cr3)  # kernel_cr3_loaded
        self.user_cr3 = flag(first=self.changes_cr3)
        self.nmi_found_signal = flag()
        self.nmi_found_user_cr3 = flag()

    def tell(self) -> None:
        with atomic("kernel_cr3_loaded? only then the IPI is sent"):
            self.ipi = self.signal
        self.answered()

    def way_in(self) -> None:
        if self.changes_cr3:
            if not self.late_signal:
                with atomic("kernel_cr3_loaded = 1"):
                    self.signal = True
            self.load_kernel_cr3()
            if self.late_signal:
                with atomic("kernel_cr3_loaded = 1"):
                    self.signal = True

    @removable("core sync")
    def load_kernel_cr3(self) -> None:
        with atomic("SWITCH_TO_KERNEL_CR3: MOV to CR3 serialises"):
            self.user_cr3 = False
            event("sync", cpu=0)

    def way_out(self) -> None:
        if self.changes_cr3:
            if self.early_clear:
                with atomic("kernel_cr3_loaded = 0"):
                    self.signal = False
            with atomic("SWITCH_TO_USER_CR3: MOV to CR3 serialises"):
                self.user_cr3 = True
                event("sync", cpu=0)
            if not self.early_clear:
                with atomic("kernel_cr3_loaded = 0"):
                    self.signal = False

    def nmi_way_in(self) -> None:
        if self.changes_cr3:
            with atomic("paranoid_entry(): which CR3 is it, and what does the signal say?"):
                self.nmi_found_user_cr3 = self.user_cr3
                self.nmi_found_signal = self.signal
            with atomic("kernel_cr3_loaded = 1"):
                self.signal = True
            with atomic("SAVE_AND_SWITCH_TO_KERNEL_CR3: serialises, if it was the user's"):
                if self.nmi_found_user_cr3:
                    self.user_cr3 = False
                    event("sync", cpu=0)

    def nmi_way_out(self) -> None:
        if self.changes_cr3:
            with atomic("the signal is put back as it was found"):
                self.signal = self.nmi_found_signal
                if self.nmi_clears and self.nmi_found_user_cr3:
                    self.signal = False
                self.nmi_found_signal = False
            with atomic("RESTORE_CR3: the one that was found; writing it serialises"):
                if self.nmi_found_user_cr3:
                    self.user_cr3 = True
                    event("sync", cpu=0)
                self.nmi_found_user_cr3 = False

    @sometimes("scene-spared", "the patcher has returned from its last patch without an interrupt")
    def spared(self) -> bool:
        return self.patched == self.patches and not self.signal
