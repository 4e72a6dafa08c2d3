"""What a rule is: a contract bound to instructions, and everything its page and `explain` say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nostale.contract import Binding, Contract, Grade, Source
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


Classify = Callable[[Transfer, str], tuple[Occurrence, ...]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the lint engine.

    Args:
        binding: the contract in this engine's terms; its `start` is the state at each entry.
        what: what it does, in a paragraph.
        why: why it is bad.
        example: source or assembly that breaks it.
        remedy: how to mend it.
        scope: the sections whose code is walked.
        marks: (section of annotations, event): the event takes effect before the instruction that is named.
        classify: the events of a transfer, told the section that it is in.
        counted: what the automaton's state is, for a reader.
    """

    binding: Binding
    what: str
    why: str
    example: str
    remedy: str
    scope: frozenset[Class]
    marks: tuple[tuple[str, str], ...]
    classify: Classify
    counted: str = "state"

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
