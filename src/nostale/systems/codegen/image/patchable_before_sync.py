"""codegen.patchable-before-sync: what may be patched at run time and runs on a kernel entry before its sync point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial

from nostale.contract import BadInput, Binding, Bound, Evidence, Grade, Step, Table, Witness
from nostale.lint import (
    MACHINES,
    Audited,
    AuditRule,
    Class,
    Effect,
    Effects,
    Entered,
    EntryKind,
    Finding,
    Flow,
    Hop,
    How,
    Machine,
    Occurrence,
    Patchable,
    Patched,
    PatchSite,
    Site,
    Target,
    Transfer,
    enter,
    find_entries,
    from_user,
    missing_kinds,
    tell_hops,
    tell_way,
)
from nostale.systems.codegen.contract import PATCHABLE_BEFORE_SYNC

_PROTECTED = frozenset({Class.NOINSTR, Class.ENTRY, Class.CPUIDLE, Class.THUNK})
_START_WHY = "text may have been patched since this CPU last fetched it, and nobody has told it"
CR3, SERIALIZE = "cr3", "serialize"
_NAMED = 3  # entries named in a cell
_USER, _OTHER = "from user mode", "from idle or a guest"


@dataclass(frozen=True, slots=True)
class _Reached:
    """One patch site on a shortest way from one entry; `later`: only after instrumentable code has run unsynced."""

    site: PatchSite
    entered: Entered
    finding: Finding
    later: bool

    @property
    def length(self) -> int:
        return self.entered.ways.length(self.finding)


@dataclass(slots=True)
class _Events:
    """The events of instructions, for the control flow of one machine."""

    flow: Flow
    effects: Effects
    patchable: Patchable
    sync_at: str
    known: dict[int, tuple[Site, Sequence[Occurrence]]]  # most sites are the very same on every machine
    returns_of: tuple[int, int] | None = field(init=False)

    def __post_init__(self) -> None:
        self.returns_of = None if self.sync_at in (CR3, SERIALIZE) else _extent(self.flow, self.sync_at)

    def __call__(self, site: Site) -> Sequence[Occurrence]:
        known = self.known.get(site.address)
        if known is None or known[0] is not site:
            known = self.known[site.address] = site, self._found(site)
        return known[1]

    def _found(self, site: Site) -> Sequence[Occurrence]:
        found = []
        for one in self.sites(site):
            found += [Occurrence("patchable", _what(one)), Occurrence("later", _what(one))]
        if self._syncs(site):
            found.append(Occurrence("sync", f"sync point: {self.effects.at(site.address) or self.sync_at}"))
        outside = _outside(site)
        if outside:
            found += [Occurrence("unsynced", f"goes to {outside.name}, which may be traced, probed and patched")]
            found += [Occurrence("leave")]
        return found

    def sites(self, site: Site) -> tuple[PatchSite, ...]:
        """Return what may patch an instruction while the kernel runs."""
        return self.patchable.at(site.address, self.flow.home(site.address))

    def _syncs(self, site: Site) -> bool:
        if self.sync_at == CR3:
            return self.effects.at(site.address) is Effect.CR3_WRITE
        if self.sync_at == SERIALIZE:
            return bool(self.effects.serialises(site.address))
        assert self.returns_of is not None
        start, end = self.returns_of
        if start == end:
            return site.address == start
        returns = site.transfer is not None and site.transfer.how is How.RETURN
        return returns and start <= self.flow.home(site.address) < end


def _extent(flow: Flow, name: str) -> tuple[int, int]:
    """Return where a function that is the sync point lies; of a label, its place twice."""
    symbol = flow.image.symbols.named(name)
    if symbol is None or symbol.address is None:
        parts = (part for part in flow.image.sections if part.kind in _PROTECTED)
        known = {one.name for part in parts for one in flow.image.symbols.labels.between(part.start, part.end)}
        near = get_close_matches(name, sorted(known), 1)
        remedy = f"did you mean {near[0]}?" if near else f"give {CR3}, {SERIALIZE} or a symbol of the image"
        raise BadInput(flow.image.where, f"no symbol {name!r} to synchronise at", remedy=remedy)
    return symbol.address, symbol.end if symbol.size_bytes else symbol.address


def _outside(site: Site) -> Target | None:
    """Return where an instruction leaves protected code for, None where it does not."""
    transfer = site.transfer
    if transfer is None or transfer.how not in (How.CALL, How.TAIL, How.JUMP):
        return None
    return next((one for one in transfer.targets if one.kind not in _PROTECTED), None)


def _enters(site: Site, target: Target) -> bool:
    return target.kind in _PROTECTED


def _what(site: PatchSite) -> str:
    if site.by is Patched.KPROBE:
        return f"an instruction of {site.name} that a kprobe may be put on"
    return f"{site.by} {site.name}"


def audit(flow: Flow, sync_at: str) -> Audited:
    """Follow every entry on every machine up to the sync point.

    Raises:
        BadInput: `sync_at` is not a symbol of the image.
    """
    effects = flow.effects
    entries = find_entries(flow.image, effects)
    # A task's first run is none of these: it comes by a context switch, on a CPU that entered the kernel elsewhere.
    hit = [one for one in entries if one.kind is not EntryKind.FORK]
    if sync_at not in (CR3, SERIALIZE):
        _extent(flow, sync_at)
    evidence, reached, looked = [], {}, {}
    patchable = Patchable(flow.image)
    known: dict[int, tuple[Site, Sequence[Occurrence]]] = {}
    # What a machine without any entry of this kernel does is no question; a module has none, and runs on every machine.
    elsewhere = any(from_user(one) for one in entries)
    for machine in MACHINES:
        automaton = PATCHABLE_BEFORE_SYNC.automaton
        make = partial(_Events, effects=effects, patchable=patchable, sync_at=sync_at, known=known)
        got = enter(flow, machine, hit, automaton, "stale", make, enters=_enters, until=frozenset({"fresh"}))
        for origin in (_USER, _OTHER):
            group = [one for one in got if (origin == _USER) == (from_user(one.entry) or one.came is not None)]
            if not group or (origin == _OTHER and elsewhere and not any(from_user(one.entry) for one in got)):
                continue
            name = f"{machine.name}, {origin}, sync at {sync_at}"
            looked[name], reached[name] = group, list(_reached(group, patchable))
            evidence.append((name, _evidence(machine, group, reached[name], sync_at)))
    return Audited(
        tuple(evidence),
        (_keys(looked, reached), _entries(looked, reached)) if evidence else (),
        {
            "kernel_entries": len(entries),
            "kernel_entries_not_found": [str(kind) for kind in missing_kinds(entries)] if entries else [],
        },
    )


def _reached(group: Sequence[Entered], patchable: Patchable) -> Iterable[_Reached]:
    for one in group:
        for finding in one.ways.findings:
            if finding.occurrence.event in ("patchable", "later"):
                for site in patchable.at(finding.address, one.flow.home(finding.address)):
                    if _what(site) == finding.occurrence.what:
                        yield _Reached(site, one, finding, finding.occurrence.event == "later")


def _evidence(machine: Machine, group: Sequence[Entered], reached: Sequence[_Reached], sync_at: str) -> Evidence:
    """Return one witness a key, for sites that no instrumentable code precedes, and one for what has no sync point."""
    early = [one for one in reached if not one.later]
    found = [_witness(sites) for sites in _by_site(one for one in early if one.site.by is not Patched.KPROBE).values()]
    probed = [one for one in early if one.site.by is Patched.KPROBE]
    found += [_witness(sorted(some, key=_nearest)) for some in _parted(probed)]
    witnesses = [one for one in found if one is not None]
    unsynced = [
        (one.ways.length(finding), one, finding)
        for one in group
        for finding in one.ways.findings
        if finding.occurrence.event == "unsynced"
    ]
    if unsynced:
        witnesses.append(_exposed(unsynced, sync_at))
    returned = [one for one in group if "stale" in one.ways.exits]
    if returned:
        witnesses.append(_returned(returned))
    unknown = sorted(
        {f"{one.flow.image.place(at)}: {call.missing}" for one in group for at, call in _unresolved(one).items()}
    )
    stuck = sorted({f"{one.flow.image.place(at)}: {why}" for one in group for at, why in one.ways.stuck.items()})
    count = len({one.entry for one in group})
    walked = len(set().union(*(one.ways.reached for one in group)))
    bounds = (f"{count} entries, {walked} instructions before the sync point or instrumentable code",)
    return Evidence(tuple(witnesses), (*unknown, *stuck), bounds, (f"{machine.name}: {machine.why}",))


def _unresolved(one: Entered) -> dict[int, Transfer]:
    """Return the calls before instrumentable code whose targets are not all known."""
    found = {}
    for at, call in one.ways.open.items():
        if not call.complete and "stale" in one.ways.states(at):
            found[at] = call
    return found


def _by_site(reached: Iterable[_Reached]) -> dict[tuple[Patched, str], list[_Reached]]:
    found: dict[tuple[Patched, str], list[_Reached]] = {}
    for one in reached:
        found.setdefault((one.site.by, one.site.name), []).append(one)
    return {key: sorted(found[key], key=_nearest) for key in sorted(found)}


def _nearest(one: _Reached) -> tuple[int, str]:
    return one.length, one.entered.name


def _parted(probed: Sequence[_Reached]) -> list[list[_Reached]]:
    """Part instructions that are open to kprobes from those that may be: each is one finding, whatever their number."""
    parts = ([one for one in probed if one.site.certain == certain] for certain in (True, False))
    return [part for part in parts if part]


def _witness(sites: Sequence[_Reached]) -> Witness | None:
    """Return what stands for all ways to one key: a shortest. None for a key that cannot change after boot."""
    nearest = sites[0]
    if nearest.site.ro_after_init:
        return None
    entered = nearest.entered
    path = tell_way(
        entered.flow, PATCHABLE_BEFORE_SYNC, entered.ways, nearest.finding, start_why=_START_WHY, counted="text"
    )
    names = list(dict.fromkeys(one.entered.name for one in sites))
    places = len({one.finding.address for one in sites})
    within = ", ".join(sorted({one.site.name for one in sites}))
    last = path[-1]
    what = f" in {within}" if nearest.site.by is Patched.KPROBE else ""
    why = f"{places} such instruction{'s'[: places != 1]}{what}, on the way from {_some(names)}"
    path = (*path[:-1], replace(last, why=why, callee=None))
    doubt = _doubt(nearest.site)
    return Witness("patchable", path, {"patchable": Grade.MAY} if doubt else {}, doubt)


def _doubt(site: PatchSite) -> str:
    if site.by in (Patched.STATIC_KEY, Patched.STATIC_CALL) and site.ro_after_init is None:
        return f"cannot tell whether {site.name} is __ro_after_init: this image does not define it"
    if not site.certain:
        return "cannot tell whether this kernel lets kprobes into its idle code: the linker script decides"
    return ""


def _exposed(unsynced: Sequence[tuple[int, Entered, Finding]], sync_at: str) -> Witness:
    """Return the shortest way on which instrumentable code runs before any sync point."""
    _, entered, finding = min(unsynced, key=lambda one: (one[0], one[1].name))
    path = tell_way(entered.flow, PATCHABLE_BEFORE_SYNC, entered.ways, finding, start_why=_START_WHY, counted="text")
    names = list(dict.fromkeys(one.name for _, one, _ in unsynced))
    last = path[-1]
    why = f"no sync point ({sync_at}) before instrumentable code on some way from {_some(names)}"
    return Witness("unsynced", (*path[:-1], replace(last, why=why, callee=None)))


def _returned(returned: Sequence[Entered]) -> Witness:
    """Return a way on which an entry goes back, unsynced, to whoever called the function that it lies in."""
    entered = returned[0]
    hops = entered.ways.way_out("stale")
    steps = tell_hops(entered.flow, PATCHABLE_BEFORE_SYNC, entered.ways, hops, start_why=_START_WHY, counted="text")
    place = entered.flow.image.place(hops[-1].address)
    why = f"the CPU goes on in the caller without a sync point; so on the way from {_some(_names(returned))}"
    path = (*steps, Step(steps[0].observer, place, "returns to its caller", why))
    return Witness(
        "unsynced", path, {"unsynced": Grade.MAY}, "what its callers run before a sync point was not followed"
    )


def _names(group: Iterable[Entered]) -> list[str]:
    return list(dict.fromkeys(one.name for one in group))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more entries" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _keys(looked: dict[str, list[Entered]], reached: dict[str, list[_Reached]]) -> Table:
    """Return the audit itself: what stands in the way of deferring the IPIs of text patching."""
    by_machine = {name: _by_site(found) for name, found in reached.items()}
    sites = {key for found in by_machine.values() for key in found}
    rows = []
    for key in sorted(sites):
        per = {name: found.get(key, []) for name, found in by_machine.items()}
        first = min((found[0] for found in per.values() if found), key=lambda one: (one.later, one.length))
        sealed = {True: "yes", False: "no", None: "-" if key[0] in (Patched.FTRACE, Patched.KPROBE) else "not known"}
        cells = [_cell(found, len(_names(looked[name]))) for name, found in per.items()]
        rows.append((key[1], str(key[0]), sealed[first.site.ro_after_init], *cells, _short(first)))
    heads = (
        "what is patched",
        "by",
        "ro_after_init",
        *(name.rsplit(", sync", 1)[0] for name in looked),
        "a shortest way",
    )
    title = "Patched at run time and run before the sync point, and from which entries"
    return Table(PATCHABLE_BEFORE_SYNC.id, title, heads, tuple(rows))


def _cell(found: Sequence[_Reached], entries: int) -> str:
    if not found:
        return "-"
    early = _names(one.entered for one in found if not one.later)
    names = early or _names(one.entered for one in found)
    text = (
        f"all {entries}"
        if len(names) == entries
        else (", ".join(names) if len(names) <= 2 else f"{len(names)} entries")
    )
    return text if early else f"after instrumentable code: {text}"


def _short(one: _Reached) -> str:
    hops: list[Hop] = one.entered.ways.trail(one.finding)
    flow = one.entered.flow
    names = [one.entered.entry.name]
    names += [flow.image.place(flow.home(hop.address)).split("+")[0] for hop in hops]
    return " → ".join(dict.fromkeys(names)) + f" ({one.length} instructions)"


def _entries(looked: dict[str, list[Entered]], reached: dict[str, list[_Reached]]) -> Table:
    """Return what each entry comes to on each machine."""
    names = dict.fromkeys((one.entry.kind, one.name) for group in looked.values() for one in group)
    early: dict[tuple[str, str], set[str]] = {}
    for machine, some in reached.items():
        for each in some:
            if not each.later:
                early.setdefault((machine, each.entered.name), set()).add(each.site.name)
    rows = []
    for kind, name in names:
        cells = []
        for machine, group in looked.items():
            here = [one for one in group if one.name == name]
            sites = early.get((machine, name), ())
            cells.append(_comes_to(here[0], len(sites)) if here else "-")
        rows.append((name, str(kind), *cells))
    heads = ("entry", "kind", *(name.rsplit(", sync", 1)[0] for name in looked))
    return Table(PATCHABLE_BEFORE_SYNC.id, "What each entry runs before its sync point", heads, tuple(rows))


def _comes_to(one: Entered, sites: int) -> str:
    exposed = any(finding.occurrence.event == "unsynced" for finding in one.ways.findings)
    found = f"{sites} patchable" if sites else "nothing patchable"
    if exposed:
        return f"{found}, no sync before instrumentable code"
    return f"{found}, returns unsynced" if "stale" in one.ways.exits else found


PATCHABLE_BEFORE_SYNC_RULE = AuditRule(
    binding=Binding(
        PATCHABLE_BEFORE_SYNC,
        "lint",
        {
            "patch": Bound("the start state at every entry", Grade.ASSUMED),
            "sync": Bound("the sync point that was named: a CR3 write, what serialises, or a symbol", Grade.EXACT),
            "patchable": Bound(
                "a jump label, a static call, an entry of __mcount_loc, an instruction open to kprobes",
                Grade.EXACT,
                "whether a key is __ro_after_init shows only where the image defines it",
            ),
            "unsynced": Bound("a call, tail call or jump to code outside of protected sections", Grade.EXACT),
            "leave": Bound("the same", Grade.EXACT),
            "later": Bound("as patchable", Grade.EXACT),
        },
        start="stale",
        start_why=_START_WHY,
        assumptions=(
            "boot-time alternatives are in place and stay: they are applied before other CPUs run",
            "delivery of an interrupt or exception does not serialise by itself",
            "a test of the saved CS's privilege, or of CR3's user bit, asks what the entry interrupted",
        ),
    ),
    what="Finds every kernel entry of the image and follows each, call by call, up to the sync point, once for "
    "each machine: with page table isolation, without, with FRED, under Xen PV. What may be patched at run time "
    "and runs before the sync point is listed by key: static keys, static calls, ftrace sites, instructions open "
    "to kprobes, with __ro_after_init told apart, which cannot change after boot. Boot-time alternatives are not "
    "run-time patches: the arm that the machine has is followed. Where control comes to instrumentable code before "
    "any sync point (a SYSCALL without page table isolation has no serialising instruction at all) that is said, "
    "and the list is of protected code only: .noinstr.text, .entry.text and .cpuidle.text. An arm64 image is not "
    "asked: there taking an exception synchronises the context by itself (Arm ARM DDI 0487, SCTLR_EL1.EIS, which Linux "
    "sets), so that what the vector runs is fetched afresh once the patcher's DSB is through: nothing runs before the "
    "sync point. Waking up from WFI without an exception, as with interrupts masked, is not covered.",
    why=PATCHABLE_BEFORE_SYNC.why,
    example="""\
entry:	testb	$3, 8(%rsp)
	jz	from_kernel
1:	.byte	0x0f, 0x1f, 0x44, 0, 0     # violated: a jump label before the CR3 write
	mov	%cr3, %rax
	and	$~0x1800, %rax
	mov	%rax, %cr3                 # --sync-at cr3
	call	handler                    # what is patchable in here is fetched afresh
""",
    remedy=PATCHABLE_BEFORE_SYNC.remedy,
    audit=audit,
)
