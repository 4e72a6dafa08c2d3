"""Generate, freeze, check, go live: does what runs equal what was checked?

The protocol asked for in the thread on bcachefs's code generation: no address is writable and executable at once; code
is generated where nobody executes it, made immutable, checked, and only then made executable. A writable translation
that another CPU still keeps outlives the change of the page tables.
Source: Andy Lutomirski and Kees Cook, June 2023; SDM vol. 3, "Caching Translation Information".
"""

from __future__ import annotations

from nostale.prove import Model, atomic, flag, never, param, process, removable, rule, sometimes, upto, variant, wait


class WxPhases(Model):
    """One CPU takes code through the phases; another one, in the attacker's hand, writes wherever it still can."""

    system = "codegen"
    requirements = ("CG-1", "CG-2")
    title = "what runs is what was checked"
    not_modelled = "an attacker who writes page tables, aliases made later, what the check looks for, execution ahead"

    writes = param(2, "how often the attacker writes")
    no_flush = variant("no CPU's writable translations are flushed when the memory is made immutable")
    check_first = variant("the code is checked before it is made immutable")
    keep_alias = variant("the alias through which it was generated stays")
    live_writable = variant("it is made executable while it is writable")

    def build(self) -> None:
        self.content = upto(self.writes)  # how often it was written to since it was generated
        self.checked = upto(self.writes)
        self.is_checked = flag()
        self.writable = flag(first=True)
        self.kept = flag()  # a writable translation in the attacker's TLB
        self.alias = flag(first=True)
        self.live = flag()
        self.both = flag()

    @process(lane="generator")
    def generates(self) -> None:
        if self.check_first:
            self.check()
        if self.live_writable:
            self.go_live()
        with atomic("makes it immutable: the page-table entries are not writable from here"):
            self.writable = False
        if not self.keep_alias:
            with atomic("removes the alias through which it was generated"):
                self.alias = False
        if not self.no_flush:
            self.flush()
        if not self.check_first:
            self.check()
        if not self.live_writable:
            self.go_live()

    @removable("flush")
    def flush(self) -> None:
        with atomic("flushes every CPU's translations, and waits"):
            self.kept = False

    def check(self) -> None:
        with atomic("checks it"):
            self.checked = self.content
            self.is_checked = True

    def go_live(self) -> None:
        with atomic("makes it executable"):
            self.live = True
            self.both = self.writable or self.alias

    @rule(lane="attacker's TLB")
    def keeps(self) -> None:
        """Keeps a writable translation."""
        wait((self.writable or self.alias) and not self.kept)
        self.kept = True

    @rule(lane="attacker")
    def overwrites(self) -> None:
        """Writes to it, through whatever translation there is."""
        wait(self.writable or self.alias or self.kept)
        wait(self.content < self.writes)
        self.content += 1

    @never("unchecked", "nothing runs that was not checked", "the check says nothing about what runs")
    def runs_unchecked(self) -> bool:
        return self.live and self.is_checked and self.checked != self.content

    @never("unchecked-live", "nothing runs before it was checked", "there is no check")
    def runs_before_check(self) -> bool:
        return self.live and not self.is_checked

    @never("w-and-x", "no memory is writable and executable at once", "whoever can write can run what he likes")
    def writable_and_executable(self) -> bool:
        return self.both

    @sometimes("scene-live", "it goes live after somebody has tried")
    def goes_live(self) -> bool:
        return self.live and self.content > 0
