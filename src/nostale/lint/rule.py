"""What a rule is: a contract bound to instructions, and everything its page and `explain` say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nostale.contract import Binding, Contract, Evidence, Grade, Source, Table
from nostale.lint.flow import Flow
from nostale.lint.image import Class
from nostale.lint.targets import Transfer


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An abstract event at an instruction.

    Args:
        event: one of the contract's.
        what: what happened there, in kernel words; "" for the event's own sentence.
        why: why it matters, when it has no edge.
        callee: where control goes, for transfers.
        grade: how good the evidence is where it differs from the binding's.
        doubt: what would have to be known, when it is less than exact.
    """

    event: str
    what: str = ""
    why: str = ""
    callee: str | None = None
    grade: Grade | None = None
    doubt: str = ""


Occurrences = tuple[Occurrence, ...]
Classify = Callable[[Transfer, str], Occurrences]
Places = Callable[[Flow], Mapping[int, Occurrences]]
Look = Callable[[Flow], Evidence | None]


@dataclass(frozen=True, slots=True)
class Regions:
    """Annotated ranges that the code of an image tells by itself, where its source does not mark them.

    Args:
        before: events that take effect before an instruction does anything, by its address.
        after: events that take effect when the call at an instruction has come back, by its address.
        doubt: what would have to be known to tell whether an address lies in one; "" where nothing has to.
    """

    before: Mapping[int, Occurrences]
    after: Mapping[int, Occurrences]
    doubt: Callable[[int], str]


Told = Callable[[Flow], Regions | None]


def nowhere_else(flow: Flow) -> Mapping[int, Occurrences]:
    """Return no places: every event is a transfer or an annotation."""
    return {}


def only_marked(flow: Flow) -> None:
    """Return no regions: there are none but those that the source marks."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What every kind of rule says of itself: its page, its `explain` and its row of the catalogue are made of it.

    Args:
        binding: the contract in this engine's terms; its `start` is the state at each entry.
        what: what it does, in a paragraph.
        why: why it is bad.
        example: source or assembly that breaks it.
        remedy: how to mend it.
    """

    binding: Binding
    what: str
    why: str
    example: str
    remedy: str

    @property
    def contract(self) -> Contract:
        """What must hold."""
        return self.binding.contract

    @property
    def id(self) -> str:
        """The contract's."""
        return self.contract.id

    @property
    def title(self) -> str:
        """The contract's promise, in one line."""
        return self.contract.title

    @property
    def requirements(self) -> tuple[str, ...]:
        """Ids of the source threads' demands."""
        return self.contract.requirements

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where it comes from."""
        return self.contract.sources


@dataclass(frozen=True, slots=True)
class Rule(Stated):
    """A rule along paths: the contract's automaton is run over every instruction of some sections.

    Args:
        scope: the sections whose code is walked.
        marks: (section of annotations, event): the event takes effect before the instruction that is named.
        classify: the events of a transfer, told the section that it is in.
        counted: what the automaton's state is, for a reader.
        places: the events that the image's tables put at an instruction, by address.
        regions: the ranges that the code tells by itself, None where it tells none.
    """

    scope: frozenset[Class]
    marks: tuple[tuple[str, str], ...]
    classify: Classify
    counted: str = "state"
    places: Places = nowhere_else
    regions: Told = only_marked


@dataclass(frozen=True, slots=True)
class ImageRule(Stated):
    """A rule over an image as a whole, which looks by itself.

    Args:
        look: what it saw, to be judged; None where the image has nothing that the rule is about.
    """

    look: Look


@dataclass(frozen=True, slots=True)
class Audited:
    """What an audit saw.

    Args:
        evidence: of each machine that was assumed, told by name, in the order in which results are wanted.
        tables: what they come to together.
        coverage: what was looked at, in numbers and names.
    """

    evidence: tuple[tuple[str, Evidence], ...]
    tables: tuple[Table, ...] = ()
    coverage: Mapping[str, int | list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditRule(Stated):
    """A rule with a verdict for each machine that is assumed, such as one with page table isolation and one without.

    Args:
        audit: what it saw, to be judged for each; it is told the sync point that the user named.
    """

    audit: Callable[[Flow, str], Audited]
