"""lazytlb.return-path: every way back to user mode, by which instruction, and whether it synchronises the core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from nostale.contract import FRESH, STALE, Binding, Bound, Evidence, Grade, Step, Table, Witness
from nostale.lint import (
    MACHINES,
    Audited,
    AuditRule,
    Came,
    Class,
    Effect,
    Effects,
    Entered,
    EntryKind,
    Finding,
    Flow,
    How,
    Occurrence,
    Site,
    Target,
    enter,
    find_entries,
    tell_way,
)
from nostale.systems.lazytlb.contract import RETURN_PATH

_PROTECTED = frozenset({Class.NOINSTR, Class.ENTRY, Class.CPUIDLE, Class.THUNK})
_RETURNS = frozenset({Effect.IRET, Effect.SYSRET, Effect.SYSEXIT, Effect.ERETU})
_START_WHY = "whoever ran in user mode has been interrupted by what rewrote its text, and so synchronised"
_FORK_WHY = "a new task has been switched to: user text may have been rewritten since this CPU last fetched it"
_DOUBT = (
    "cannot tell whether what ran before in the kernel has synchronised the core: the code that switches tasks "
    "(sync_core_before_usermode(), the CR3 write of a switch to another mm) is not followed"
)
_NAMED = 3


@dataclass(frozen=True, slots=True)
class _Back:
    """A shortest way from one entry back to user mode through one instruction."""

    entered: Entered
    finding: Finding
    effect: Effect

    @property
    def length(self) -> int:
        return self.entered.ways.length(self.finding)

    @property
    def place(self) -> str:
        return self.entered.flow.image.place(self.finding.address)


@dataclass(frozen=True, slots=True)
class _Events:
    flow: Flow
    effects: Effects

    def __call__(self, site: Site) -> Sequence[Occurrence]:
        what, transfer, found = self.effects.at(site.address), site.transfer, []
        if self.effects.serialises(site.address):
            found.append(Occurrence("sync", f"{what} serialises"))
        if transfer is not None and transfer.how in (How.CALL, How.TAIL, How.JUMP):
            outside = next((one for one in transfer.targets if one.kind not in _PROTECTED), None)
            if outside is not None or not transfer.complete:
                name = outside.name if outside is not None else transfer.callee
                found.append(Occurrence("kernel", f"{name} runs and may switch tasks"))
        if transfer is not None and transfer.how is How.RESUME and what in _RETURNS:
            found.append(Occurrence("back", f"{what}"))
            if what is not Effect.IRET:
                why = f"{what} does not serialise, and nothing on this way has since then"
                found.append(Occurrence("return", f"{what} to user mode", why, grade=Grade.MAY, doubt=_DOUBT))
        return found


def _enters(site: Site, target: Target) -> bool:
    return target.kind in _PROTECTED


def audit(flow: Flow, sync_at: str) -> Audited:
    """Follow every entry from user mode, and a task's first run, to where it goes back. `sync_at` is not used."""
    effects = Effects(flow.image)
    entries = [one for one in find_entries(flow.image, effects) if one.kind is not EntryKind.FRED_KERNEL]
    evidence, backs = [], {}
    forks = [one for one in entries if one.kind is EntryKind.FORK]
    others = [one for one in entries if one.kind is not EntryKind.FORK]
    run = partial(enter, flow, automaton=RETURN_PATH.automaton, events=partial(_Events, effects=effects))
    for machine in MACHINES:
        group = [one for one in run(machine, others, start=FRESH, enters=_enters) if one.came is Came.USER]
        group += run(machine, forks, start=STALE, enters=_enters)
        if any(one.came is Came.USER for one in group):
            backs[machine.name] = list(_backs(group, effects))
            evidence.append((machine.name, _evidence(group, backs[machine.name], f"{machine.name}: {machine.why}")))
    return Audited(tuple(evidence), (_table(backs),) if evidence else ())


def _backs(group: Sequence[Entered], effects: Effects) -> list[_Back]:
    found = []
    for one in group:
        for finding in one.ways.findings:
            effect = effects.at(finding.address)
            if finding.occurrence.event == "back" and effect is not None:
                found.append(_Back(one, finding, effect))
    return sorted(found, key=lambda back: (back.finding.address, back.length, back.entered.name))


def _evidence(group: Sequence[Entered], backs: Sequence[_Back], assumed: str) -> Evidence:
    """Return one witness for each instruction that goes back unsynchronised: a shortest way to it."""
    best: dict[int, list[tuple[int, Entered, Finding]]] = {}
    for one in group:
        for finding in one.ways.findings:
            if finding.occurrence.event == "return":
                best.setdefault(finding.address, []).append((one.ways.length(finding), one, finding))
    witnesses = [_witness(best[address]) for address in sorted(best)]
    stuck = sorted({f"{one.flow.image.place(at)}: {why}" for one in group for at, why in one.ways.stuck.items()})
    if not backs:
        stuck.append("no way back to user mode was found")
    places = len({back.finding.address for back in backs})
    bounds = (f"{places} instructions that go back to user mode, on every way from {len(group)} entries",)
    return Evidence(tuple(witnesses), tuple(stuck), bounds, (assumed,))


def _witness(ways: Sequence[tuple[int, Entered, Finding]]) -> Witness:
    _, entered, finding = min(ways, key=lambda one: (one[0], one[1].name))
    begun = _FORK_WHY if entered.entry.kind is EntryKind.FORK else _START_WHY
    path = tell_way(entered.flow, RETURN_PATH, entered.ways, finding, start_why=begun, counted="user text")
    names = sorted({one.name for _, one, _ in ways})
    more = f" and {len(names) - _NAMED} more entries" if len(names) > _NAMED else ""
    last = path[-1]
    why = f"{last.why}; so on a way from {', '.join(names[:_NAMED])}{more}"
    path = (*path[:-1], Step(last.observer, last.place, last.what, why))
    return Witness("return", path, {"return": Grade.MAY}, finding.occurrence.doubt)


def _table(backs: dict[str, list[_Back]]) -> Table:
    """Return every instruction that goes back to user mode, machine by machine."""
    rows = []
    for machine, found in backs.items():
        for address in dict.fromkeys(back.finding.address for back in found):
            here = [back for back in found if back.finding.address == address]
            nearest = min(here, key=lambda back: (back.length, back.entered.name))
            states = set().union(*(back.entered.ways.states(address) for back in here))
            synced = {True: "by itself", False: "no"}[nearest.effect is Effect.IRET]
            if nearest.effect is not Effect.IRET and FRESH in states:
                synced = "before it" if states == {FRESH} else "before it, on some ways"
            names = sorted({back.entered.name for back in here})
            shown = ", ".join(names) if len(names) <= _NAMED else f"{len(names)} entries"
            rows.append((machine, nearest.place, str(nearest.effect), synced, _cr3_writes(here), shown))
    heads = ("machine", "way back", "by", "synchronises", "CR3 write on the shortest ways", "entries")
    return Table(RETURN_PATH.id, "Every way back to user mode", heads, tuple(rows))


def _cr3_writes(backs: Sequence[_Back]) -> str:
    """Name the last CR3 write of each shortest way after the kernel code that may have switched tasks."""
    found = set()
    for back in backs:
        ways, image = back.entered.ways, back.entered.flow.image
        last = "none"
        for hop in ways.trail(back.finding, inside=True)[:-1]:
            events = {one.event: one.what for one in ways.paths.events(hop.address)}
            if "kernel" in events:
                last = "none"
            elif events.get("sync", "").startswith(Effect.CR3_WRITE):
                last = image.place(back.entered.flow.home(hop.address))
        found.add(last)
    return ", ".join(sorted(found))


RETURN_PATH_RULE = AuditRule(
    binding=Binding(
        RETURN_PATH,
        "lint",
        {
            "kernel": Bound("a call out of protected code", Grade.EXACT),
            "sync": Bound("an instruction that the SDM lists as serialising", Grade.EXACT),
            "return": Bound(
                "SYSRET, SYSEXIT or ERETU",
                Grade.EXACT,
                "a core sync in the code that switches tasks may have come before",
            ),
            "back": Bound("IRET, SYSRET, SYSEXIT or ERETU", Grade.EXACT),
        },
        start=FRESH,
        start_why=_START_WHY,
        assumptions=(
            "WRMSR serialises unless it writes SPEC_CTRL, PRED_CMD, an x2APIC register or another that the SDM excepts",
            "a task that runs in user mode is interrupted by whoever rewrites its text (membarrier), and needs no more",
            "an entry from user mode goes back to it: what tests the saved CS says so on the way out as well",
        ),
    ),
    what="Follows every entry from user mode, and a task's first run, to each instruction that goes back, once for "
    "each machine: with page table isolation, without, with FRED, under Xen PV. Calls out of protected code are "
    "stepped over, and after them the core counts as unsynchronised: they may have switched tasks. IRET serialises; "
    "SYSRET, SYSEXIT and ERETU do not, and need something that does between that code and themselves, such as the CR3 "
    "write of page table isolation. Where there is none, that is a doubt, not a violation: the switch itself may have "
    "synchronised, which is not followed.",
    why=RETURN_PATH.why,
    example="""\
	call	do_syscall_64              # may switch tasks
	...                                # no CR3 write: page table isolation is off
	swapgs
	sysretq                            # unknown: it does not serialise
""",
    remedy=RETURN_PATH.remedy,
    audit=audit,
)
