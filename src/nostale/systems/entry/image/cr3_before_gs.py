"""entry.cr3-before-gs: paranoid entries, hit on the user's page tables, up to where these are the kernel's."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from nostale.contract import Binding, Bound, Evidence, Grade, Witness
from nostale.lint import (
    Assumed,
    Came,
    Class,
    Effects,
    Flow,
    ImageRule,
    Occurrence,
    Paths,
    Site,
    Target,
    find_entries,
    hits_anywhere,
    tell_way,
)
from nostale.lint.features import FRED, FSGSBASE, PTI, XENPV
from nostale.outside.x86_effects import Effect
from nostale.systems.entry.contract import CR3_BEFORE_GS
from nostale.systems.entry.image.gs import through_gs

# Without PTI there is one set of page tables; with FRED there is no paranoid entry, and PTI is off.
_MACHINES = (
    Assumed("PTI, FSGSBASE", frozenset({PTI, FSGSBASE}), frozenset({FRED, XENPV})),
    Assumed("PTI, no FSGSBASE", frozenset({PTI}), frozenset({FSGSBASE, FRED, XENPV})),
)


def look(flow: Flow) -> Evidence | None:
    """Follow each entry that can hit anywhere as if it had hit kernel entry code, on each machine with two CR3s."""
    effects = flow.effects
    entries = [one for one in find_entries(flow.image, effects) if hits_anywhere(one)]
    switches = any(
        Effect.CR3_WRITE in effects.within(part).values() for part in flow.image.sections if part.kind is Class.ENTRY
    )
    if not entries or not switches:
        return None
    found: dict[tuple[int, str], Witness] = {}
    stuck: dict[str, None] = {}
    for machine in _MACHINES:
        under = flow.under(replace(machine, came=Came.ENTRY))
        paths = Paths(under, CR3_BEFORE_GS.automaton, _Events(under, effects).at, _enters)
        for entry in entries:
            ways = paths.of(entry.address, "user's")
            stuck |= dict.fromkeys(f"{flow.image.place(at)}: {why}" for at, why in ways.stuck.items())
            if not any(effects.at(at) is Effect.CR3_WRITE for at in ways.reached):
                stuck[f"{entry.name}: no path to a write of CR3 is known ({machine.name})"] = None
            for one in ways.findings:
                why = f"{entry.kind} hit kernel entry code on the user's page tables; {machine.name}"
                told = tell_way(under, CR3_BEFORE_GS, ways, one, start_why=why, counted="page tables")
                key = (one.address, one.occurrence.event)
                if key not in found or len(told) < len(found[key].path):
                    found[key] = Witness(one.occurrence.event, told)
    bounds = (f"every path from {', '.join(one.name for one in entries)}, with FSGSBASE and without",)
    return Evidence(tuple(found[key] for key in sorted(found)), tuple(stuck), bounds)


def _enters(site: Site, target: Target) -> bool:
    return target.kind is Class.ENTRY


_RBX = 3
# AND of a register with ~PTI_USER_PGTABLE_AND_PCID_MASK, bits 11 and 12 of CR3: arch/x86/entry/calling.h, v6.12.
_ADJUSTED = re.compile(rb"(?:\x48\x25|[\x48\x49]\x81[\xe0-\xe7])\xff\xe7\xff\xff\Z")
_ADJUST_BYTES = 7


@dataclass(frozen=True, slots=True)
class _Events:
    flow: Flow
    effects: Effects

    def at(self, site: Site) -> tuple[Occurrence, ...]:
        what = self.effects.at(site.address)
        if what is Effect.CR3_WRITE:
            return (Occurrence("switch" if self._cleared(site.address) else "restore"),)
        why = "kernel memory is not mapped in the user's page tables"
        if through_gs(self.flow.image, site.address):
            return (Occurrence("gs", "memory through GS on the user's page tables", why),)
        if what is Effect.WRGSBASE and not self._saved(site.address):
            return (Occurrence("gs", "WRGSBASE of a value that kernel memory holds", why),)
        for target in site.transfer.targets if site.transfer else ():
            if target.kind not in (Class.ENTRY, Class.THUNK, Class.ALTERNATIVE):
                return (Occurrence("gs", f"{target.name}() on the user's page tables", why, target.name),)
        return ()

    def _cleared(self, address: int) -> bool:
        """Return whether what is written to CR3 had the user's bits cleared just before: ADJUST_KERNEL_CR3."""
        return bool(_ADJUSTED.search(self.flow.image.read(address - _ADJUST_BYTES, _ADJUST_BYTES)))

    def _saved(self, address: int) -> bool:
        """Return whether WRGSBASE restores what RDGSBASE saved: paranoid_exit does so from %rbx, after CR3."""
        one = self.flow.image.instruction(address)
        code = self.flow.image.read(address, one[1]) if one is not None else b""
        return bool(code) and code[-1] & 7 == _RBX and not code[1] & 1


CR3_BEFORE_GS_RULE = ImageRule(
    binding=Binding(
        CR3_BEFORE_GS,
        "lint",
        {
            "switch": Bound("MOV to CR3 of a value whose bits 11 and 12 were cleared just before", Grade.EXACT),
            "restore": Bound("any other MOV to CR3", Grade.EXACT),
            "gs": Bound(
                "an operand in %gs, a WRGSBASE other than of %rbx, which holds what was saved, or a call or jump out "
                "of entry assembly",
                Grade.EXACT,
            ),
        },
        start="user's",
        start_why="the entry hit kernel entry code on the user's page tables",
        assumptions=(
            "page table isolation is on and the entry finds the user's CR3; without it there is one set of page tables",
            "SWAPGS and RDGSBASE touch no memory: their place does not matter to the page tables",
            "C code returns with the CR3 that it was called with, and uses GS",
        ),
    ),
    what="Follows the entries that can hit anywhere (NMI, #MC, #DB, #DF) as if they had hit kernel entry code on the "
    "user's page tables: once on a CPU with FSGSBASE, whose kernel GSBASE comes from a table in kernel memory, and "
    "once on one without. Up to the write of CR3 nothing may be used through GS, no GSBASE computed and no C code "
    "called; after the write that restores the interrupted CR3, on the way back, likewise.",
    why=CR3_BEFORE_GS.why,
    example="""\
	rdgsbase %rbx
	movq	pcpu_unit_offsets(%rip), %rax
	wrgsbase %rax                     # violated: CR3 is still the user's
	movq	%cr3, %rax
	andq	$~0x1800, %rax
	movq	%rax, %cr3
""",
    remedy=CR3_BEFORE_GS.remedy,
    look=look,
)
