"""entry.pairing: a function that calls both halves of a pair does so in turn, on every path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nostale.contract import Binding, Bound, Evidence, Grade, Witness
from nostale.lint import Finding, Flow, How, ImageRule, Occurrence, Paths, Section, Site, Symbol, Ways, tell_way
from nostale.outside.instruction import Kind
from nostale.systems.entry.contract import PAIRING
from nostale.systems.entry.image.protected import SCOPE

# (first half, its counterpart): kernel/entry/common.c, kernel/context_tracking.c, include/linux/hardirq.h and
# arch/arm64/kernel/entry-common.c, v6.1 and v6.12. Not __ct_user_exit() and __ct_user_enter(): a system call leaves by
# the second, a guest is entered by it, so that neither is the first half everywhere (entry.order has them).
PAIRS = (
    ("irqentry_enter", "irqentry_exit"),
    ("irqentry_nmi_enter", "irqentry_nmi_exit"),
    ("irqentry_enter_from_user_mode", "irqentry_exit_to_user_mode"),
    ("syscall_enter_from_user_mode", "syscall_exit_to_user_mode"),
    ("irq_enter_rcu", "irq_exit_rcu"),
    ("ct_irq_enter", "ct_irq_exit"),
    ("ct_nmi_enter", "ct_nmi_exit"),
    ("ct_idle_enter", "ct_idle_exit"),
    ("enter_from_kernel_mode", "exit_to_kernel_mode"),
    ("enter_from_user_mode", "exit_to_user_mode"),
    ("arm64_enter_nmi", "arm64_exit_nmi"),
    ("arm64_enter_el1_dbg", "arm64_exit_el1_dbg"),
)
_TRANSFERS = (Kind.CALL, Kind.JUMP, Kind.BRANCH)
_WHY = {
    "first": "it is called again before its counterpart",
    "second": "its first half was not called on this path",
    "back": "its counterpart was not called on this path",
}


def look(flow: Flow) -> Evidence | None:
    """Look at every function of protected code that calls both halves of a pair; None where none does."""
    called: dict[str, dict[int, Symbol]] = {}
    names = {name for pair in PAIRS for name in pair}
    for section in flow.image.sections:
        if section.kind in SCOPE:
            for name, function in _calls(flow, section, names):
                assert function.address is not None
                called.setdefault(name, {})[function.address] = function
    witnesses: list[Witness] = []
    stuck: dict[str, None] = {}
    count = 0
    for first, second in PAIRS:
        events = _Events(flow, first, second)
        paths = Paths(flow, PAIRING.automaton, events.at, lambda site, target: False)
        both = called.get(first, {}).keys() & called.get(second, {}).keys()
        count += len(both)
        for address in sorted(both):
            ways = paths.of(address, "out")
            stuck |= dict.fromkeys(f"{flow.image.place(at)}: {why}" for at, why in ways.stuck.items())
            for one in ways.findings:
                told = tell_way(
                    flow, PAIRING, ways, one, start_why=f"neither {first}() nor {second}() was called", counted="pair"
                )
                doubt = events.doubt(ways, one)
                grades = {one.occurrence.event: Grade.MAY} if doubt else {}
                witnesses.append(Witness(one.occurrence.event, told, grades, doubt))
    if not count:
        return None
    bounds = (f"every path of {count} uses of a pair in one function",)
    return Evidence(tuple(witnesses), tuple(stuck), bounds)


def _calls(flow: Flow, section: Section, names: set[str]) -> Iterator[tuple[str, Symbol]]:
    for address, _, kind, _ in flow.image.decoded(section.start, section.end):
        if kind not in _TRANSFERS:
            continue
        transfer, function = flow.site(address).transfer, flow.function(address)
        if transfer is not None and transfer.callee in names and function is not None:
            yield transfer.callee, _whole(flow, function)


def _whole(flow: Flow, function: Symbol) -> Symbol:
    """Return the function that a part that the compiler split off belongs to."""
    if ".cold" not in function.name:
        return function
    return flow.image.symbols.named(function.name.split(".cold")[0]) or function


@dataclass(frozen=True, slots=True)
class _Events:
    flow: Flow
    first: str
    second: str

    def doubt(self, ways: Ways, finding: Finding) -> str:
        """Return why a way may be none that runs: a branch on it that decides on the second half knows of the first.

        It is come to with the first half called and without, and leads to the second: whether it asks what the branch
        around the first half asked is decided by data.
        """
        for hop in ways.trail(finding):
            branches = len(self.flow.site(hop.address).edges) > 1
            if branches and len(ways.states(hop.address)) > 1 and self._decides(hop.address):
                place = self.flow.image.place(hop.address)
                return f"cannot tell whether {place} asks what decided on {self.first}()"
        return ""

    def _decides(self, branch: int) -> bool:
        """Return whether some way from a branch comes to the second half."""
        waiting, met = [branch], {branch}
        for at in waiting:  # grows while it is gone through
            site = self.flow.site(at)
            if site.transfer is not None and site.transfer.callee == self.second:
                return True
            fresh = [edge.to for edge in site.edges if edge.to not in met]
            met.update(fresh)
            waiting += fresh
        return False

    def at(self, site: Site) -> tuple[Occurrence, ...]:
        transfer = site.transfer
        if transfer is None:
            return ()
        found: list[Occurrence] = []
        for event, name in (("first", self.first), ("second", self.second)):
            if transfer.callee == name and transfer.how not in (How.RETURN, How.RESUME):
                found.append(Occurrence(event, f"{transfer.how} of {name}()", _WHY[event], name))
        if transfer.how is How.RETURN or (transfer.how is How.TAIL and transfer.returns):
            what = f"returns after {self.first}() without {self.second}()"
            found.append(Occurrence("back", what, _WHY["back"]))
        return tuple(found)


PAIRING_RULE = ImageRule(
    binding=Binding(
        PAIRING,
        "lint",
        {
            "first": Bound("a call of " + " or ".join(f"{one}()" for one, _ in PAIRS), Grade.EXACT),
            "second": Bound("a call of " + " or ".join(f"{one}()" for _, one in PAIRS), Grade.EXACT),
            "back": Bound(
                "a return, or a tail call",
                Grade.EXACT,
                "whether two branches on the path ask the same is decided by data",
            ),
        },
        start="out",
        start_why="a function that calls both halves is entered with neither called",
        assumptions=(
            "a function that calls one half only is a half itself: its counterpart has the other",
            "a call that is inlined leaves no call, and is not seen",
        ),
    ),
    what="Looks at each function of the protected sections that calls both halves of a pair: irqentry_enter() and "
    "irqentry_exit(), their NMI and user-mode forms, irq_enter_rcu(), ct_irq_enter(), ct_nmi_enter() and "
    "ct_idle_enter() with theirs, and arm64's. On every path the halves alternate, the first one first, and none is "
    "open where the function returns or hands on by a tail call. Where each half stands behind a branch of its own, as "
    "in cpuidle_enter_state(), it is unknown whether the two ask the same. What ends in BUG() or panic() does not "
    "return.",
    why=PAIRING.why,
    example="""\
noinstr void exc_example(struct pt_regs *regs)
{
	irqentry_state_t state = irqentry_nmi_enter(regs);

	if (!handle(regs))
		return;                  /* violated: irqentry_nmi_exit() is missing on this path */
	irqentry_nmi_exit(regs, state);
}
""",
    remedy=PAIRING.remedy,
    look=look,
)
