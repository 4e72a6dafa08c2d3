"""A CPU that is left alone in user mode: its synchronisation is put off until it enters the kernel."""

from nostale.prove import Model, atomic, flag, never, param, process, removable, rule, sometimes, variant, wait


class DeferredSync(Model):
    """A patcher changes kernel text. It spares a CPU in user mode the IPI and leaves it a note instead."""

    title = "a CPU that is spared the IPI runs no stale kernel text"
    not_modelled = "NMIs, several CPUs, and text that runs before the CPU can look for the note"

    patches = param(2, "how often the text is changed")
    look_first = variant("the patcher looks where the CPU is, and leaves the note in a step after that")
    say_late = variant("the CPU looks for the note before it says that it is in the kernel")
    no_ipi = variant("a CPU in the kernel gets no IPI")

    def build(self) -> None:
        self.in_kernel = flag()
        self.note = flag()
        self.ipi = flag()
        self.stale = flag()
        self.runs_text = flag()
        self.patched = flag()

    def assumptions(self) -> tuple[str, ...]:
        return ("the step that says `in the kernel` is a full barrier: the look for the note comes after it",)

    @process(lane="patcher")
    def patcher(self) -> None:
        for _ in range(self.patches):
            with atomic("changes the text: what the CPU has fetched is stale"):
                self.stale = True
                self.patched = False
            if self.look_first:
                spared = not self.in_kernel
                if spared:
                    self.note = True
            else:
                with atomic("leaves a note, if the CPU is in user mode: one cmpxchg"):
                    spared = not self.in_kernel
                    if spared:
                        self.note = True
            if not self.no_ipi:
                if not spared:
                    self.ipi = True
                    wait(not self.ipi)
            self.patched = True

    @process(lane="CPU 1")
    def cpu(self) -> None:
        while True:
            if self.say_late:
                self.look_for_note()
                self.in_kernel = True
            else:
                self.in_kernel = True
                self.look_for_note()
            self.runs_text = True
            self.runs_text = False
            self.in_kernel = False

    @removable("look")
    def look_for_note(self) -> None:
        if self.note:
            with atomic("finds the note: sync_core()"):
                self.note = False
                self.stale = False

    @rule(lane="CPU 1")
    def take_ipi(self) -> None:
        """Takes the IPI: sync_core()."""
        wait(self.ipi)
        self.ipi = False
        self.stale = False

    @never("stale-text", "the CPU runs no stale text once the patcher has returned")
    def stale_text(self) -> bool:
        return self.patched and self.stale and self.runs_text

    @sometimes("scene-spared", "the patcher returns while the CPU is stale, with a note")
    def spared_cpu(self) -> bool:
        return self.patched and self.stale and self.note

    @sometimes("scene-ipi", "an IPI is on its way to the CPU in the kernel")
    def interrupted(self) -> bool:
        return self.ipi and self.in_kernel

    @sometimes("scene-fresh", "the CPU runs the new text")
    def fresh(self) -> bool:
        return self.patched and not self.stale and self.runs_text
