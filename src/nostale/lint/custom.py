"""A user's own contract along the paths of an image: an automaton from a `.dot` file, its events bound by TOML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from nostale.contract import (
    Automaton,
    BadInput,
    Binding,
    Bound,
    Contract,
    Event,
    Evidence,
    Grade,
    Role,
    Source,
    Witness,
)
from nostale.contract import read_dot as read_automaton
from nostale.contract.bindfile import event_rows, nearest_of, read_bindings, row_of, text_of, texts_of
from nostale.lint.flow import Flow, Site
from nostale.lint.image import Class, Image
from nostale.lint.machine import X86_64
from nostale.lint.paths import Paths
from nostale.lint.rule import ImageRule, Occurrence, Occurrences
from nostale.lint.story import tell_way
from nostale.lint.symbols import FUNC
from nostale.lint.targets import How, Target, Transfer
from nostale.outside.operands import texts

_KEY = ("path",)
_LISTED = 12
_EVENT = {"calls", "instructions", "marks", "returns", "unseen", "what"}
_TOP = {"title", "why", "remedy", "start", "entries", "sections", "follow", "events"}
_HOW_TO_BIND = "bind it by calls, instructions, marks or returns, or say why not with unseen"


@dataclass(frozen=True, slots=True)
class Bind:
    """How one event is seen.

    Args:
        calls: patterns of the symbols that are called or jumped to.
        instructions: patterns of an instruction's first word or of its whole text, in AT&T syntax.
        marks: sections of annotations, `.long label - .` each.
        returns: patterns of the functions whose returns it is.
        unseen: why it is bound to nothing.
        what: what happened, for the path; "" for the event's name.
    """

    calls: tuple[str, ...] = ()
    instructions: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    returns: tuple[str, ...] = ()
    unseen: str = ""
    what: str = ""

    @property
    def by(self) -> str:
        """In words."""
        parts = [
            f"{name} {', '.join(patterns)}"
            for name, patterns in (
                ("a call of", self.calls),
                ("an instruction", self.instructions),
                ("an entry of", self.marks),
                ("a return of", self.returns),
            )
            if patterns
        ]
        return " or ".join(parts) or "nothing"


@dataclass(frozen=True, slots=True)
class Custom:
    """A contract with its binding, as the two files have it.

    Args:
        entries: patterns of the functions and labels that paths begin at.
        sections: patterns of the sections that they lie in.
        follow: whether calls are followed into functions of the image.
    """

    automaton: Automaton
    events: Mapping[str, Bind]
    entries: tuple[str, ...]
    sections: tuple[str, ...]
    start: str
    follow: bool
    title: str
    why: str
    remedy: str


def custom_rule(dot: str, dot_where: str, bind: str, bind_where: str) -> ImageRule:
    """Make a rule of a `.dot` file and the TOML that binds its events.

    Raises:
        BadInput: one of them is not what it must be, or an event is not bound.
    """
    custom = _read(read_automaton(dot, dot_where), bind, bind_where)
    name = "".join(each if each.isalnum() else "-" for each in custom.automaton.name.lower()).strip("-")
    contract = Contract(
        id=f"user.{name or 'contract'}",
        title=custom.title,
        why=custom.why,
        remedy=custom.remedy,
        keys=_KEY,
        observer="path",
        events=tuple(Event(event, Role.OTHER, _KEY, one.what or event) for event, one in custom.events.items()),
        requirements=(),
        sources=(Source(dot_where), Source(bind_where)),
        automaton=custom.automaton,
    )
    bounds = {
        event: Bound(one.by, Grade.UNSEEN if one.unseen else Grade.EXACT, one.unseen)
        for event, one in custom.events.items()
    }
    return ImageRule(
        binding=Binding(contract, "lint", bounds, custom.start, f"{bind_where} begins there"),
        what=f"Runs the automaton of {dot_where} along the paths that {bind_where} names.",
        why=custom.why,
        example="",
        remedy=custom.remedy,
        look=lambda flow: _Look(flow, custom, contract, bind_where).evidence(),
    )


@dataclass(slots=True)
class _Look:
    """One contract over one image."""

    flow: Flow
    custom: Custom
    contract: Contract
    where: str
    marks: dict[int, Occurrences] = field(default_factory=dict)
    plain: dict[int, Occurrences] = field(default_factory=dict)
    scanned: set[int] = field(default_factory=set)
    doubtful: set[int] = field(default_factory=set)  # calls that might be an event
    handed_on: set[int] = field(default_factory=set)  # tail calls that were followed: their return is the callee's

    def evidence(self) -> Evidence:
        image, custom = self.flow.image, self.custom
        starts = list(self._starts())
        if not starts:
            place = f" in {', '.join(custom.sections)}" if custom.sections != ("*",) else ""
            why = f"the image has no function {', '.join(custom.entries)}{place}: there was nothing to look at"
            return Evidence((), (why,))
        self._mark()
        paths = Paths(self.flow, custom.automaton, self._events_at, self._enters)
        found: dict[tuple[int, str], tuple[int, Witness]] = {}
        not_seen: dict[str, None] = {}
        reached: set[int] = set()
        for start in starts:
            ways = paths.of(start, custom.start)
            reached |= ways.reached
            for one in ways.findings:
                key, length = (one.address, one.occurrence.event), ways.length(one)
                if key not in found or length < found[key][0]:
                    told = tell_way(self.flow, self.contract, ways, one, start_why="", counted="state")
                    grades = {} if one.occurrence.grade is None else {one.occurrence.event: one.occurrence.grade}
                    found[key] = (length, Witness(one.occurrence.event, told, grades, one.occurrence.doubt))
            not_seen |= dict.fromkeys(f"{image.place(at)}: {why}" for at, why in ways.stuck.items())
        if custom.follow and self.doubtful:
            not_seen[f"where {len(self.doubtful)} calls go, at {_listed(image, self.doubtful)}"] = None
        if self.handed_on:
            places = _listed(image, self.handed_on)
            not_seen[f"returns that a followed tail call makes for its caller, at {places}"] = None
        witnesses = tuple(found[key][1] for key in sorted(found))
        bounds = (f"{len(reached)} instructions on every path from {len(starts)} entries",)
        return Evidence(witnesses, tuple(not_seen), bounds, self._assumed(reached))

    def _starts(self) -> Iterable[int]:
        image, seen = self.flow.image, set()
        for section in image.sections:
            if section.kind is Class.DATA or not _matches(section.name, self.custom.sections):
                continue
            for symbol in image.symbols.labels.between(section.start, section.end):
                # Labels inside of functions are named only on purpose, not by a pattern for everything.
                named = (symbol.kind == FUNC and ".cold" not in symbol.name) or symbol.name in self.custom.entries
                if symbol.address is None or symbol.address in seen or not named:
                    continue
                if _matches(symbol.name, self.custom.entries):
                    seen.add(symbol.address)
                    yield symbol.address

    def _mark(self) -> None:
        for event, bind in self.custom.events.items():
            for table in bind.marks:
                for address, count in self.flow.annotated(table).items():
                    one = Occurrence(event, bind.what, f"an entry of {table}")
                    self.marks[address] = self.marks.get(address, ()) + (one,) * count

    def _enters(self, site: Site, target: Target) -> bool:
        # A jump into another section is the same function's; it is gone along with whether calls are followed or not.
        jumps = site.transfer is not None and site.transfer.how is How.JUMP
        return jumps or (self.custom.follow and target.kind not in (None, Class.DATA, Class.THUNK))

    def _events_at(self, site: Site) -> Occurrences:
        before = (*self.marks.get(site.address, ()), *self._by_text(site.address))
        if site.transfer is None:
            return before
        return (*before, *self._by_transfer(site.address, site.transfer))

    def _by_text(self, address: int) -> Occurrences:
        """Return the events that are instructions; a function's are found all at once."""
        if not any(one.instructions for one in self.custom.events.values()):
            return ()
        image = self.flow.image
        if image.machine is not X86_64:
            raise BadInput(
                self.where,
                f"binds instructions, and {image.where} is {image.machine.name}",
                remedy="bind calls or marks",
            )
        if address not in self.scanned:
            function, instruction = image.symbols.functions.containing(address), image.instruction(address)
            start, end = address, address + (instruction[1] if instruction else 0)
            if function is not None and function.address is not None and function.address not in self.scanned:
                start, end = function.address, function.end
            for at, text in texts(image.read(start, end - start), start):
                self.scanned.add(at)
                if found := self._meant(text):
                    self.plain[at] = found
        return self.plain.get(address, ())

    def _meant(self, text: str) -> Occurrences:
        return tuple(
            Occurrence(event, bind.what or text, f"{event} is not allowed here")
            for event, bind in self.custom.events.items()
            if _matches(text, bind.instructions) or _matches(text.split()[0], bind.instructions)
        )

    def _by_transfer(self, address: int, transfer: Transfer) -> Occurrences:
        found: list[Occurrence] = []
        function = self.flow.function(address)
        name = function.name if function else self.flow.image.place(address)
        if transfer.how is not How.RETURN and transfer.how is not How.RESUME:
            found += self._called(transfer)
            if not transfer.complete:
                self.doubtful.add(address)
        leaves = transfer.how in (How.RETURN, How.RESUME) or (transfer.how is How.TAIL and transfer.returns)
        for event, bind in self.custom.events.items():
            if leaves and _matches(name, bind.returns):
                if transfer.how is How.TAIL and any(self._follows(one) for one in transfer.targets):
                    self.handed_on.add(address)
                    continue
                found.append(Occurrence(event, bind.what or f"{name} returns", f"{event} is not allowed here"))
        return tuple(found)

    def _follows(self, target: Target) -> bool:
        return self.custom.follow and target.kind not in (None, Class.DATA, Class.THUNK)

    def _called(self, transfer: Transfer) -> list[Occurrence]:
        found = []
        names = [one.name for one in transfer.targets] or [transfer.callee]
        for event, bind in self.custom.events.items():
            met = [one for one in (transfer.callee, *names) if _matches(one, bind.calls)]
            if not met:
                continue
            one = Occurrence(
                event, bind.what or f"{event}: {transfer.how} of {met[0]}", f"{event} is not allowed here", met[0]
            )
            certain = transfer.complete and all(_matches(name, bind.calls) for name in names)
            if not certain and not _matches(transfer.callee, bind.calls):
                doubt = f"{transfer.callee} may go elsewhere: {transfer.missing or 'it has other targets'}"
                one = replace(one, grade=Grade.MAY, doubt=doubt)
            found.append(one)
        return found

    def _assumed(self, reached: set[int]) -> tuple[str, ...]:
        found = []
        through = len(self.doubtful & reached)
        if through and not self.custom.follow:
            found.append(f"{through} calls whose targets the image does not tell are none of the events")
        if not self.custom.follow:
            found.append("a function that is called is none of the events but by its name: calls are not followed")
        return tuple(found)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, each) for each in patterns)


def _listed(image: Image, addresses: Iterable[int]) -> str:
    places = list(dict.fromkeys(image.place(at) for at in sorted(addresses)))
    more = f" and {len(places) - _LISTED} more" if len(places) > _LISTED else ""
    return ", ".join(places[:_LISTED]) + more


# The TOML.


def _read(automaton: Automaton, text: str, where: str) -> Custom:
    table = read_bindings(text, where, _TOP)
    rows = event_rows(table, automaton, where, _HOW_TO_BIND)
    start = text_of(table, "start", where, automaton.initial)
    if start not in automaton.states:
        remedy = nearest_of(start, automaton.states)
        raise BadInput(f"{where}: start", f"the automaton has no state {start!r}", remedy=remedy)
    follow = table.get("follow", False)
    if not isinstance(follow, bool):
        raise BadInput(f"{where}: follow", "is neither true nor false", remedy="write true to follow calls")
    return Custom(
        automaton,
        {event: _bind(row, f"{where}: events.{event}") for event, row in rows.items()},
        texts_of(table, "entries", where, ("*",)),
        texts_of(table, "sections", where, ("*",)),
        start,
        follow,
        text_of(table, "title", where, f"every path keeps to {automaton.name}"),
        text_of(table, "why", where, ""),
        text_of(table, "remedy", where, ""),
    )


def _bind(found: Any, where: str) -> Bind:  # noqa: ANN401  # whatever the file has there
    row = row_of(found, where, _EVENT, _HOW_TO_BIND)
    made = Bind(
        texts_of(row, "calls", where, ()),
        texts_of(row, "instructions", where, ()),
        texts_of(row, "marks", where, ()),
        texts_of(row, "returns", where, ()),
        text_of(row, "unseen", where, ""),
        text_of(row, "what", where, ""),
    )
    seen = bool(made.calls or made.instructions or made.marks or made.returns)
    if seen == bool(made.unseen):
        raise BadInput(where, "is both bound and unseen" if seen else "is bound to nothing", remedy=_HOW_TO_BIND)
    return made
