"""entry.swapgs-fence: both arms of a branch that decides on SWAPGS, up to the first use of GS."""

from __future__ import annotations

from dataclasses import dataclass, field

from nostale.contract import Binding, Bound, Evidence, Grade, Witness
from nostale.lint import Assumed, Class, Effects, Flow, ImageRule, Occurrence, Paths, Scope, Site, Target, tell_way
from nostale.lint.features import FENCE_SWAPGS_KERNEL, FENCE_SWAPGS_USER, FRED, PTI, XENPV
from nostale.outside.instruction import Kind
from nostale.outside.x86_effects import Effect
from nostale.systems.entry.contract import SWAPGS_FENCE

# arch/x86/kernel/cpu/bugs.c, spectre_v1_select_mitigation(), v6.12: with PTI the write of CR3 is the fence of an entry
# from user mode.
_MACHINES = (
    Assumed("no PTI", frozenset({FENCE_SWAPGS_USER, FENCE_SWAPGS_KERNEL}), frozenset({PTI, FRED, XENPV})),
    Assumed("PTI", frozenset({PTI, FENCE_SWAPGS_KERNEL}), frozenset({FENCE_SWAPGS_USER, FRED, XENPV})),
)
_NEAR = 16  # instructions from a branch to the SWAPGS that it decides on
_GS = 0x65
_PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x66, 0x67, 0xF0, 0xF2, 0xF3))


def look(flow: Flow) -> Evidence | None:
    """Look at the assembly of kernel entry, for each machine that needs the fences; None where there is no SWAPGS."""
    effects = Effects(flow.image)
    sections = [part for part in flow.image.sections if part.kind is Class.ENTRY]
    if not any(Effect.SWAPGS in effects.within(part).values() for part in sections):
        return None
    found: dict[int, Witness] = {}
    stuck: dict[str, None] = {}
    begun: set[int] = set()
    for machine in _MACHINES:
        under = flow.under(machine)
        scope = Scope(under, frozenset({Class.ENTRY}))
        events = _Events(under, effects)
        paths = Paths(under, SWAPGS_FENCE.automaton, events.at, _enters)
        begun |= {*scope.first, *scope.later}
        for entry in dict.fromkeys((*scope.first, *scope.later)):
            ways = paths.of(entry, "resolved")
            stuck |= dict.fromkeys(f"{flow.image.place(at)}: {why}" for at, why in ways.stuck.items())
            for one in ways.findings:
                why = f"an entry; {machine.name}, and the mitigation is on"
                told = tell_way(under, SWAPGS_FENCE, ways, one, start_why=why, counted="the branch")
                if one.address not in found or len(told) < len(found[one.address].path):
                    found[one.address] = Witness("gs", told)
        for part in sections:
            for each in flow.image.decoded(part.start, part.end):
                if each[2] is Kind.BRANCH and each[0] not in events.visited and events.decides(under.site(each[0])):
                    stuck[f"{flow.image.place(each[0])}: decides on SWAPGS and is on no path from any entry"] = None
    bounds = (f"every path from {len(begun)} places where kernel entry code begins, with PTI and without",)
    return Evidence(tuple(found[at] for at in sorted(found)), tuple(stuck), bounds)


def _enters(site: Site, target: Target) -> bool:
    return target.kind in (Class.ENTRY, Class.NOINSTR)


@dataclass(slots=True)
class _Events:
    flow: Flow
    effects: Effects
    visited: set[int] = field(default_factory=set)

    def at(self, site: Site) -> tuple[Occurrence, ...]:
        self.visited.add(site.address)
        what = self.effects.at(site.address)
        if what is Effect.SWAPGS:
            return (Occurrence("swap"),)
        if what in (Effect.LFENCE, Effect.WRGSBASE) or self.effects.serialises(site.address):
            return (Occurrence("fence", f"{what}: a fence"),)
        found = []
        if self._through_gs(site.address):
            why = "the branch on SWAPGS may have been mispredicted: GS may still be the user's, or already be it again"
            found.append(Occurrence("gs", "memory through GS before a fence", why))
        if self.decides(site):
            found.append(Occurrence("decide", "decides whether SWAPGS runs"))
        for target in site.transfer.targets if site.transfer else ():
            if target.kind is Class.TEXT and self._uses_gs(target):
                why = "C code reads its variables through GS"
                found.append(Occurrence("gs", f"{target.name}() before a fence", why, target.name))
        return tuple(found)

    def _uses_gs(self, target: Target) -> bool:
        """Return whether a function reads or writes through GS itself; what untrains return prediction does not."""
        function = self.flow.function(target.address) if target.address is not None else None
        if function is None or function.address is None:
            return True
        return any(self._through_gs(one[0]) for one in self.flow.image.decoded(function.address, function.end))

    def decides(self, site: Site) -> bool:
        """Return whether one arm of a branch goes to a SWAPGS that the other arm does not come to."""
        if site.kind is not Kind.BRANCH or len(site.edges) != 2:
            return False
        one, other = (edge.to for edge in site.edges)
        swaps = (self._leads(one), other), (self._leads(other), one)
        return any(swap is not None and not self._comes_to(swap, rest) for swap, rest in swaps)

    def _leads(self, address: int) -> int | None:
        """Return the SWAPGS that straight code from a place runs before anything else that matters here."""
        for _ in range(_NEAR):
            if self.effects.at(address) is Effect.SWAPGS:
                return address
            edges = self.flow.site(address).edges
            if len(edges) != 1 or self._through_gs(address):
                return None
            address = edges[0].to
        return None

    def _comes_to(self, swap: int, address: int) -> bool:
        """Return whether some way from a place comes to that SWAPGS before it leaves: the arms meet again before it."""
        waiting, met = [address], {address}
        for at in waiting:  # grows while it is gone through
            if at == swap:
                return True
            fresh = [edge.to for edge in self.flow.site(at).edges if edge.to not in met]
            met.update(fresh)
            waiting += fresh
        return False

    def _through_gs(self, address: int) -> bool:
        one = self.flow.image.instruction(address)
        for byte in self.flow.image.read(one[0], one[1]) if one is not None else b"":
            if byte == _GS:
                return True
            if byte not in _PREFIXES:
                return False
        return False


SWAPGS_FENCE_RULE = ImageRule(
    binding=Binding(
        SWAPGS_FENCE,
        "lint",
        {
            "decide": Bound("a conditional branch one arm of which goes straight to SWAPGS", Grade.EXACT),
            "swap": Bound("SWAPGS", Grade.EXACT),
            "fence": Bound("LFENCE, a serialising instruction such as the write of CR3, or WRGSBASE", Grade.EXACT),
            "gs": Bound(
                "an operand in %gs, or a call of a function outside of protected code that has one", Grade.EXACT
            ),
        },
        start="resolved",
        start_why="hardware does not predict the entry itself",
        assumptions=(
            "the CPU has X86_BUG_SWAPGS and its mitigation is on: X86_FEATURE_FENCE_SWAPGS_KERNEL, and without PTI "
            "X86_FEATURE_FENCE_SWAPGS_USER",
            "WRGSBASE sets a base that the kernel computed, so that the branch does not matter any more",
        ),
    ),
    what="Follows every path of the entry assembly with the alternatives of a machine that needs the fences, once with "
    "page table isolation and once without. Where a conditional branch goes on one arm to SWAPGS and on the other not, "
    "either arm must come to a fence before memory is read or written through GS, in the noinstr code that it calls "
    "too. A SWAPGS that no branch decides on, as that of SYSCALL, needs none.",
    why=SWAPGS_FENCE.why,
    example="""\
	testl	%edx, %edx
	js	1f
	swapgs
1:	# FENCE_SWAPGS_KERNEL_ENTRY is missing
	movq	%gs:cpu_current_top_of_stack, %rax   # violated
""",
    remedy=SWAPGS_FENCE.remedy,
    look=look,
)
