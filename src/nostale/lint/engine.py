"""Run rules over an image and say what was looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from nostale.contract import Answer, Evidence, Grade, Holds, Result, Witness, judge
from nostale.lint.flow import Flow, Site
from nostale.lint.image import Image, Section
from nostale.lint.rule import Occurrence, Rule
from nostale.lint.story import tell
from nostale.lint.tables import annotated
from nostale.lint.targets import How, Via
from nostale.lint.walk import Walked, walk
from nostale.outside.x86 import Kind

_LISTED = 12  # places named in a sentence; the number of all of them stands beside


def lint(image: Image, rules: Sequence[Rule]) -> Answer:
    """Check every path of an image against each rule.

    Args:
        image: from `load_image`.
        rules: in the order in which their results are wanted.

    Returns:
        Results in rule order: violations by address, then doubts by address. Coverage is of all rules together.

    Raises:
        BadInput: a table of the image does not hold together.
    """
    flow = Flow(image)
    runs = [_Run(flow, rule) for rule in rules]
    results = tuple(result for run in runs for result in run.results())
    return Answer("lint", image.where, _coverage(flow, runs), results)


@dataclass(slots=True)
class _Run:
    """One rule over one image."""

    flow: Flow
    rule: Rule
    sections: list[Section] = field(init=False)
    marks: dict[int, tuple[Occurrence, ...]] = field(init=False)
    present: list[str] = field(init=False)
    walked: Walked = field(init=False)

    def __post_init__(self) -> None:
        image, rule = self.flow.image, self.rule
        self.sections = [one for one in image.sections if one.kind in rule.scope and one.end > one.start]
        self.present = [table for table, _ in rule.marks if image.section_named(table) is not None]
        self.marks = {}
        for table, event in rule.marks:
            for address, count in annotated(image, table).items():
                self.marks[address] = self.marks.get(address, ()) + (Occurrence(event),) * count
        first, later = entries(self.flow, self.sections)
        self.walked = walk(self.flow, rule.contract.automaton, rule.binding.start, self.events_at, first, later)

    def events_at(self, site: Site) -> Sequence[Occurrence]:
        """Return the events of an instruction: annotations first, they hold from its first byte on."""
        marks = self.marks.get(site.address, ())
        if site.transfer is None:
            return marks
        return (*marks, *self.rule.classify(site.transfer, self._section(site.address)))

    def results(self) -> list[Result]:
        """Judge what was seen."""
        rule = self.rule
        verdicts = judge(rule.binding, self._evidence())
        return [
            Result(
                rule.id,
                rule.title,
                rule.why,
                rule.requirements,
                verdict,
                "" if isinstance(verdict, Holds) else rule.remedy,
            )
            for verdict in verdicts
        ]

    def _section(self, address: int) -> str:
        section = self.flow.image.section_at(self.flow.home(address))
        return section.name if section else "?"

    def _evidence(self) -> Evidence:
        walked = self.walked
        # Annotations are emitted all or none: an image that lacks them may still have had them in its source.
        unseen = {} if self.present else {event: Grade.UNSEEN for _, event in self.rule.marks}
        witnesses = []
        for finding in walked.findings:
            one = finding.occurrence
            grades = unseen if one.grade is None else {**unseen, one.event: one.grade}
            path = tell(self.flow, self.rule, walked, finding, self.events_at)
            doubt = one.doubt or ("the image has no annotations that would allow it" if unseen else "")
            witnesses.append(Witness(one.event, path, grades, doubt))
        bounds = (f"{len(walked.reached)} instructions on every path from {len(walked.entries)} entries",)
        return Evidence(tuple(witnesses), tuple(self._not_seen()), bounds, tuple(self._assumptions()))

    def _not_seen(self) -> list[str]:
        image, walked = self.flow.image, self.walked
        if not self.sections:
            names = ", ".join(sorted(self.rule.scope))
            return [f"the image has no code of class {names}: there was nothing to look at"]
        found = []
        if not self.present:
            tables = ", ".join(table for table, _ in self.rule.marks)
            found.append(f"the image has no {tables}: what its source allows there cannot be told")
        for address, why in sorted(walked.stuck.items()):
            found.append(f"{image.place(address)}: {why}")
        if walked.beyond:
            found.append(f"nesting deeper than is told apart, at {_list(image, walked.beyond)}")
        astray = self._astray()
        if astray:
            found.append(f"tables name what is not the start of an instruction, at {_list(image, astray)}")
        missed = not_reached(self.flow, self.sections, walked.reached)
        if missed:
            found.append(f"{len(missed)} instructions on no path from any entry, at {_list(image, missed)}")
        return found

    def _astray(self) -> list[int]:
        """Return the places in the walked sections that a table names although no instruction begins there."""
        image, tables = self.flow.image, self.flow.tables
        starts = {one[0] for part in self.sections for one in image.decoded(part.start, part.end)}
        named = {*self.marks, *tables.alternatives, *tables.jump_labels, *tables.fixups} - starts - self.walked.reached
        return sorted(one for one in named if any(part.start <= one < part.end for part in self.sections))

    def _assumptions(self) -> list[str]:
        sites = [self.flow.site(address) for address in self.walked.reached]
        found = {site.transfer.assumption for site in sites if site.transfer and site.transfer.assumption}
        reached, groups = self.walked.reached, self.flow.tables.alternatives.values()
        if any(one.start in reached for group in groups if group.always_replaced for one in group.replacements):
            found.add("the CPU has POPCNT, so that the calls it replaces are never made")
        return sorted(found)


def entries(flow: Flow, sections: Sequence[Section]) -> tuple[list[int], list[int]]:
    """Return where paths begin: every function; and, where none came by, each unwind hint, then each global label.

    Code written in assembly has labels, not functions; its hints stand where it can be entered. Those at a symbol come
    first, so that a path begins at a name. A global label that nothing comes to is entered from elsewhere, by hardware
    perhaps, as vmx_vmexit is.
    """
    image = flow.image
    functions = {
        one.address
        for one in image.symbols.symbols
        if one.kind == "func" and one.size_bytes and one.address is not None and ".cold" not in one.name
    }
    first = sorted(one for one in functions if any(part.start <= one < part.end for part in sections))
    hints = [one for one in flow.tables.hints if any(part.start <= one < part.end for part in sections)]
    hints.sort(key=lambda one: (image.symbols.starting(one) is None, one))
    labels = sorted(
        one.address
        for one in image.symbols.symbols
        if one.address is not None and (one.kind == "func" or (one.kind == "notype" and one.bind == "global"))
    )
    return first, hints + [one for one in labels if any(part.start <= one < part.end for part in sections)]


def not_reached(flow: Flow, sections: Sequence[Section], reached: set[int]) -> list[int]:
    """Return the instructions that no path came to, other than fillers and what follows a call that never returns.

    The compiler need not know of such a callee that it does not return, and leaves the code after it in place.
    """
    image, found = flow.image, []
    for section in sections:
        covered, dead = section.start, False
        for address, length, kind, _ in image.decoded(section.start, section.end):
            if address in reached:
                covered = address + length
                transfer = flow.site(address).transfer
                dead = transfer is not None and transfer.how is How.CALL and not transfer.returns
            elif address >= covered and not dead and kind not in (Kind.PAD, Kind.STOP):
                found.append(address)
    return found


def _list(image: Image, addresses: Sequence[int]) -> str:
    places = list(dict.fromkeys(image.place(address) for address in addresses))
    more = f" and {len(places) - _LISTED} more" if len(places) > _LISTED else ""
    return ", ".join(places[:_LISTED]) + more


def _coverage(flow: Flow, runs: Sequence[_Run]) -> dict[str, int | str | bool | list[str]]:
    """Say in numbers what was looked at."""
    image, tables = flow.image, flow.tables
    reached = set().union(*(run.walked.reached for run in runs))
    sections = {section.start: section for run in runs for section in run.sections}
    counts = Counter(
        {name: 0 for how in How for name in (_plural(how),)} | {"static_calls": 0, "static_calls_settled": 0}
    )
    counts.update(indirect_calls=0, indirect_calls_resolved=0)
    for address in reached:
        transfer = flow.site(address).transfer
        if transfer is None:
            continue
        counts[_plural(transfer.how)] += 1
        if transfer.via is Via.STATIC_CALL:
            counts["static_calls"] += 1
            counts["static_calls_settled"] += transfer.complete
        elif transfer.via in (Via.SLOT, Via.POINTER):
            counts["indirect_calls"] += 1
            counts["indirect_calls_resolved"] += transfer.complete
    marks = {table: len(annotated(image, table)) for run in runs for table, _ in run.rule.marks}
    within = {table: sum(1 for at in annotated(image, table) if at in reached) for table in marks}
    return {
        **dict(sorted(counts.items())),
        "indirect_calls_unresolved": counts["indirect_calls"] - counts["indirect_calls_resolved"],
        "sections": [section.name for _, section in sorted(sections.items())],
        "functions": len({flow.function(entry) for run in runs for entry in run.walked.entries} - {None}),
        "entries": len({entry for run in runs for entry in run.walked.entries}),
        "instructions_decoded": image.decoded_count,
        "instructions_walked": len(reached),
        "instructions_not_reached": len(not_reached(flow, list(sections.values()), reached)),
        "not_decodable": sum(1 for address in reached if flow.site(address).kind is Kind.INVALID),
        "pairs": sum(run.walked.pairs for run in runs),
        "annotations": sum(within.values()),
        "annotations_elsewhere": sum(marks.values()) - sum(within.values()),
        "alternatives": sum(1 for start in tables.alternatives if start in reached),
        "jump_labels": sum(1 for place in tables.jump_labels if place in reached),
        "fixups": sum(1 for place in tables.fixups if place in reached),
        "undefined_callees": len(
            {
                target.name
                for address in reached
                if (transfer := flow.site(address).transfer)
                for target in transfer.targets
                if target.address is None
            }
        ),
    }


def _plural(how: How) -> str:
    return {
        How.CALL: "calls",
        How.TAIL: "tail_calls",
        How.JUMP: "jumps_between_sections",
        How.RETURN: "returns",
        How.RESUME: "resumes",
    }[how]
