"""entry.swapgs-fence: both arms of a branch that decides on SWAPGS, up to the first use of GS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nostale.contract import Binding, Bound, Evidence, Grade, Witness
from nostale.lint import (
    Assumed,
    Class,
    Finding,
    Flow,
    ImageRule,
    Occurrence,
    Paths,
    Scope,
    Site,
    Target,
    Ways,
    tell_way,
)
from nostale.lint.features import FENCE_SWAPGS_KERNEL, FENCE_SWAPGS_USER, FRED, PTI, XENPV
from nostale.outside.instruction import Kind
from nostale.outside.x86_effects import Effect
from nostale.systems.entry.contract import SWAPGS_FENCE
from nostale.systems.entry.image.gs import through_gs

# arch/x86/kernel/cpu/bugs.c, spectre_v1_select_mitigation(), v6.12: with PTI the write of CR3 is the fence of an entry
# from user mode.
_MACHINES = (
    Assumed("no PTI", frozenset({FENCE_SWAPGS_USER, FENCE_SWAPGS_KERNEL}), frozenset({PTI, FRED, XENPV})),
    Assumed("PTI", frozenset({PTI, FENCE_SWAPGS_KERNEL}), frozenset({FENCE_SWAPGS_USER, FRED, XENPV})),
)
_NEAR = 16  # instructions from a branch to the SWAPGS that it decides on


def look(flow: Flow) -> Evidence | None:
    """Look at the assembly of kernel entry, for each machine that needs the fences; None where there is no SWAPGS."""
    sections = [part for part in flow.image.sections if part.kind is Class.ENTRY]
    if not any(Effect.SWAPGS in flow.effects.within(part).values() for part in sections):
        return None
    nearest: dict[int, tuple[int, Flow, Ways, Finding, str]] = {}
    stuck: dict[str, None] = {}
    scope = Scope(flow, frozenset({Class.ENTRY}))
    begun = list(dict.fromkeys((*scope.first, *scope.later)))
    ahead = _Ahead(flow, begun)
    through_gs: dict[int, bool] = {}
    for machine in _MACHINES:
        under = flow.under(machine)
        events = _Events(under, ahead, through_gs)
        paths = Paths(under, SWAPGS_FENCE.automaton, events.at, _enters, passes=ahead.passes)
        stuck |= dict.fromkeys(f"{flow.image.place(at)}: {under.site(at).stuck}" for at in sorted(ahead.stuck))
        ways = paths.of_any([entry for entry in begun if not ahead.passes(entry, "resolved")], "resolved")
        for one in ways.findings:
            length, why = ways.length(one), f"an entry; {machine.name}, and the mitigation is on"
            if one.address not in nearest or length < nearest[one.address][0]:
                nearest[one.address] = length, under, ways, one, why
        for part in sections:
            for each in flow.image.decoded(part.start, part.end):
                if each[2] is Kind.BRANCH and each[0] not in ahead.seen and events.decides(under.site(each[0])):
                    stuck[f"{flow.image.place(each[0])}: decides on SWAPGS and is on no path from any entry"] = None
    found = []
    for _, (_, under, ways, one, why) in sorted(nearest.items()):
        path = tell_way(under, SWAPGS_FENCE, ways, one, start_why=why, counted="the branch")
        found.append(Witness("gs", path))
    bounds = (f"every path from {len(begun)} places where kernel entry code begins, with PTI and without",)
    return Evidence(tuple(found), tuple(stuck), bounds)


def _enters(site: Site, target: Target) -> bool:
    return target.kind in (Class.ENTRY, Class.NOINSTR)


@dataclass(slots=True)
class _Ahead:
    """What may lie ahead of a place in the code that entries come to, whatever the machine: for all of them at once.

    Of an entry nine in ten instructions come before or after all that this rule is about. A machine has some of the
    edges of the control flow that knows of none, so that what is not ahead there is not ahead on any.

    Args:
        seen: every instruction on a way from an entry.
        stuck: where such a way ends that should not.
        near: of them those before a SWAPGS, by at most as much as a branch that decides on it can be.
        deciding: of them those before a branch that is near a SWAPGS, in the functions that they call too.
    """

    flow: Flow
    begun: Iterable[int]
    seen: set[int] = field(init=False)
    stuck: set[int] = field(default_factory=set)
    near: set[int] = field(init=False)
    deciding: set[int] = field(init=False)

    def __post_init__(self) -> None:
        before: dict[int, list[int]] = {}
        self.seen = {edge.to for entry in self.begun for edge in self.flow.arrive(entry)}
        waiting = list(self.seen)
        for address in waiting:  # grows while it is gone through
            site = self.flow.site(address)
            if site.stuck:
                self.stuck.add(address)
            for to in self._following(site):
                before.setdefault(to, []).append(address)
                if to not in self.seen:
                    self.seen.add(to)
                    waiting.append(to)
        swaps = {at for at in self.seen if self.flow.effects.at(at) is Effect.SWAPGS}
        self.near = _back(swaps, before, _NEAR)
        self.deciding = _back({at for at in self.near if self.flow.site(at).kind is Kind.BRANCH}, before, len(before))

    def passes(self, start: int, state: str) -> bool:
        """Return whether a function has nothing to do with this rule: no branch is open, and none is to come.

        It is taken to come back, unless the control flow knows that it does not.
        """
        return state == "resolved" and not any(edge.to in self.deciding for edge in self.flow.arrive(start))

    def _following(self, site: Site) -> Iterator[int]:
        for edge in site.edges:
            yield edge.to
        for target in site.transfer.targets if site.transfer else ():
            if target.address is not None and _enters(site, target):
                for edge in self.flow.arrive(target.address):
                    yield edge.to


def _back(places: set[int], before: Mapping[int, Sequence[int]], most: int) -> set[int]:
    """Return the places and what leads to them in at most so many steps."""
    found, last = set(places), places
    for _ in range(most):
        last = {one for at in last for one in before.get(at, ())} - found
        if not last:
            break
        found |= last
    return found


@dataclass(slots=True)
class _Events:
    flow: Flow
    ahead: _Ahead
    through_gs: dict[int, bool]  # the same on every machine

    def at(self, site: Site) -> tuple[Occurrence, ...]:
        what = self.flow.effects.at(site.address)
        if what is Effect.SWAPGS:
            return (Occurrence("swap"),)
        if what in (Effect.LFENCE, Effect.WRGSBASE) or self.flow.effects.serialises(site.address):
            return (Occurrence("fence", f"{what}: a fence"),)
        found = []
        if self._through_gs(site.address):
            why = "the branch on SWAPGS may have been mispredicted: GS may still be the user's, or already be it again"
            found.append(Occurrence("gs", "memory through GS before a fence", why))
        if site.address in self.ahead.near and self.decides(site):
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
            if self.flow.effects.at(address) is Effect.SWAPGS:
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
        known = self.through_gs.get(address)
        if known is None:
            known = self.through_gs[address] = through_gs(self.flow.image, address)
        return known


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
