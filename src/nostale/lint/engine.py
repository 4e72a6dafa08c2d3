"""Run rules over an image and say what was looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nostale.contract import Answer, Evidence, Grade, Holds, Result, Table, Witness, judge
from nostale.lint.coverage import Coverage, coverage
from nostale.lint.flow import Flow, Site
from nostale.lint.image import Class, Image
from nostale.lint.reach import Scope
from nostale.lint.rule import AuditRule, ImageRule, Occurrence, Regions, Rule, Stated
from nostale.lint.story import tell
from nostale.lint.walk import Walked, walk

SYNC_AT = "cr3"
_LISTED = 12  # places named in a sentence; the number of all of them stands beside


def lint(image: Image, rules: Sequence[Rule | ImageRule | AuditRule], *, sync_at: str = SYNC_AT) -> Answer:
    """Check every path of an image against each rule.

    Args:
        image: from `load_image`.
        rules: in the order in which their results are wanted.
        sync_at: the sync point of kernel entries: `cr3`, `serialize` or a symbol.

    Returns:
        Results in rule order: violations by address, then doubts by address. Coverage is of all rules together.

    Raises:
        BadInput: a table of the image does not hold together.
    """
    flow = Flow(image)
    scopes: dict[frozenset[Class], Scope] = {}
    along = [Run(flow, rule, _scope(scopes, flow, rule.scope)) for rule in rules if isinstance(rule, Rule)]
    evidence = {run.rule.id: run.evidence for run in along}
    results: list[Result] = []
    tables: list[Table] = []
    audited: Coverage = {}
    idle: list[str] = []
    for rule in rules:
        if isinstance(rule, AuditRule):
            seen = rule.audit(flow, sync_at)
            results += [one for machine, part in seen.evidence for one in judged(rule, part, machine)]
            tables += seen.tables
            audited |= seen.coverage
            if not seen.evidence:
                idle.append(rule.id)
            continue
        found = evidence[rule.id]() if isinstance(rule, Rule) else rule.look(flow)
        if found is None:
            idle.append(rule.id)
        else:
            results += judged(rule, found)
    if idle:
        audited["not_about_this_image"] = idle
    if not along:
        looked: Coverage = {"instructions_decoded": image.decoded_count, **audited}
        return Answer("lint", image.where, looked, tuple(results), tables=tuple(tables))
    scope = _scope(scopes, flow, frozenset(kind for run in along for kind in run.rule.scope))
    marks = sorted({table for run in along for table, _ in run.rule.marks})
    looked = {**coverage(flow, scope, marks, [run.walked for run in along]), **audited}
    return Answer("lint", image.where, looked, tuple(results), tables=tuple(tables))


def _scope(scopes: dict[frozenset[Class], Scope], flow: Flow, kinds: frozenset[Class]) -> Scope:
    if kinds not in scopes:
        scopes[kinds] = Scope(flow, kinds)
    return scopes[kinds]


def judged(rule: Stated, evidence: Evidence, machine: str = "") -> list[Result]:
    """Return what may be concluded from what a rule saw, a result each; `machine` is what that was assumed of."""
    return [
        Result(
            rule.id,
            f"{rule.title} ({machine})" if machine else rule.title,
            rule.why,
            rule.requirements,
            verdict,
            "" if isinstance(verdict, Holds) else rule.remedy,
        )
        for verdict in judge(rule.binding, evidence)
    ]


@dataclass(slots=True)
class Run:
    """One rule over one image."""

    flow: Flow
    rule: Rule
    scope: Scope
    marks: dict[int, tuple[Occurrence, ...]] = field(init=False)
    places: Mapping[int, tuple[Occurrence, ...]] = field(init=False)
    regions: Regions | None = field(init=False)
    named: set[int] = field(init=False)  # what an event stands at that is not one of a transfer
    present: bool = field(init=False)
    walked: Walked = field(init=False)

    def __post_init__(self) -> None:
        image, rule = self.flow.image, self.rule
        self.regions = rule.regions(self.flow)
        marked = any(image.section_named(table) is not None for table, _ in rule.marks)
        self.present = marked or self.regions is not None
        self.marks = {}
        for table, event in rule.marks:
            once = (Occurrence(event),)
            for address, count in self.flow.annotated(table).items():
                self.marks[address] = self.marks[address] + once * count if address in self.marks else once * count
        self.places = rule.places(self.flow)
        self.named = {*self.marks, *self.places, *(self.regions.before if self.regions else ())}
        first, later = self.scope.first, self.scope.later
        self.walked = walk(self.flow, rule.contract.automaton, rule.binding.start, self.events_at, first, later)

    def events_at(self, site: Site) -> Sequence[Occurrence]:
        """Return the events of an instruction: annotations first, they hold from its first byte on."""
        at, told = site.address, self.regions
        if site.transfer is None and at not in self.named:  # as most are: a transfer alone is an event by itself
            return ()
        before = (*self.marks.get(at, ()), *self.places.get(at, ()), *(told.before.get(at, ()) if told else ()))
        if site.transfer is None:
            return before
        after = told.after.get(at, ()) if told else ()
        return (*before, *self.rule.classify(site.transfer, self._section(at)), *after)

    def _section(self, address: int) -> str:
        section = self.flow.image.section_at(self.flow.home(address))
        return section.name if section else "?"

    def evidence(self) -> Evidence:
        """Return what was seen, and what was not."""
        walked = self.walked
        # Annotations are emitted all or none: an image that lacks them may still have had them in its source.
        unseen = {} if self.present else {event: Grade.UNSEEN for _, event in self.rule.marks}
        witnesses = []
        for finding in walked.findings:
            one = finding.occurrence
            untold = self.regions.doubt(finding.address) if self.regions else ""
            grade = Grade.MAY if untold else one.grade
            grades = unseen if grade is None else {**unseen, one.event: grade}
            path = tell(self.flow, self.rule, walked, finding, self.events_at)
            doubt = one.doubt or untold or ("the image has no annotations that would allow it" if unseen else "")
            witnesses.append(Witness(one.event, path, grades, doubt))
        bounds = (f"{len(walked.reached)} instructions on every path from {len(walked.entries)} entries",)
        return Evidence(tuple(witnesses), tuple(self._not_seen()), bounds, tuple(self._assumptions()))

    def _not_seen(self) -> list[str]:
        image, walked = self.flow.image, self.walked
        if not self.scope.sections:
            names = ", ".join(sorted(self.rule.scope))
            return [f"the image has no code of class {names}: there was nothing to look at"]
        found = []
        if self.rule.marks and not self.present:
            tables = ", ".join(table for table, _ in self.rule.marks)
            found.append(f"the image has no {tables}: what its source allows there cannot be told")
        for address, why in sorted(walked.stuck.items()):
            found.append(f"{image.place(address)}: {why}")
        if walked.beyond:
            found.append(f"nesting deeper than is told apart, at {_list(image, walked.beyond)}")
        astray = self._astray()
        if astray:
            found.append(f"tables name what is not the start of an instruction, at {_list(image, astray)}")
        missed = self.scope.look(walked.reached).missed
        if missed:
            found.append(f"{len(missed)} instructions on no path from any entry, at {_list(image, missed)}")
        return found

    def _astray(self) -> list[int]:
        """Return the places in the walked sections that a table names although no instruction begins there."""
        tables = self.flow.tables
        named = {*self.marks, *tables.alternatives, *tables.jump_labels, *tables.fixups} - self.walked.reached
        within = {one for part in self.scope.sections for one in named if part.start <= one < part.end}
        return sorted(within - {one[0] for swept in self.scope.swept for one in swept} if within else within)

    def _assumptions(self) -> list[str]:
        transfers = self.scope.look(self.walked.reached).transfers
        found = {transfer.assumption for transfer in transfers if transfer.assumption}
        reached, groups = self.walked.reached, self.flow.tables.alternatives.values()
        if any(one.start in reached for group in groups if group.always_replaced for one in group.replacements):
            found.add("the CPU has POPCNT, so that the calls it replaces are never made")
        return sorted(found)


def _list(image: Image, addresses: Sequence[int]) -> str:
    places = list(dict.fromkeys(image.place(address) for address in addresses))
    more = f" and {len(places) - _LISTED} more" if len(places) > _LISTED else ""
    return ", ".join(places[:_LISTED]) + more
