"""Where paths begin, and what no path comes to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from nostale.lint.flow import Flow
from nostale.lint.image import Class, Section
from nostale.lint.symbols import FUNC, NOTYPE
from nostale.lint.targets import How, Transfer
from nostale.outside.instruction import Instruction, Kind


@dataclass(frozen=True, slots=True)
class Looked:
    """What paths came to, and what they did not.

    Args:
        transfers: of the instructions on some path.
        invalid: how many of these do not decode.
        missed: instructions on no path, other than fillers and what follows a call without return: the compiler need
            not know of a callee that it does not return, and leaves the code after its call in place.
    """

    transfers: list[Transfer]
    invalid: int
    missed: list[int]


@dataclass(slots=True)
class Scope:
    """The code of some classes: looked at once for all rules that walk it.

    Args:
        kinds: the classes.
        sections: that have such code.
        first: where paths begin, all at once.
        later: where they begin if nothing has come by yet.
        swept: every instruction of them, as a linear sweep finds it.
    """

    flow: Flow
    kinds: Collection[Class]
    sections: list[Section] = field(init=False)
    first: list[int] = field(init=False)
    later: list[int] = field(init=False)
    swept: list[list[Instruction]] = field(init=False)
    _known: list[tuple[set[int], Looked]] = field(default_factory=list)

    def __post_init__(self) -> None:
        image = self.flow.image
        self.sections = [one for one in image.sections if one.kind in self.kinds and one.end > one.start]
        self.first, self.later = entries(self.flow, self.sections)
        self.swept = [image.decoded(section.start, section.end) for section in self.sections]

    def look(self, reached: set[int]) -> Looked:
        """Return what stands at the instructions that paths came to, and which they did not come to."""
        for known, looked in self._known:
            if known == reached:
                return looked
        sites = [self.flow.site(address) for address in reached]
        transfers = [site.transfer for site in sites if site.transfer is not None]
        missed = [address for one in self.swept for address in _missed(self.flow, one, reached)]
        looked = Looked(transfers, sum(site.kind is Kind.INVALID for site in sites), missed)
        self._known.append((reached, looked))
        return looked


def entries(flow: Flow, sections: Sequence[Section]) -> tuple[list[int], list[int]]:
    """Return where paths begin: every function; and, where none came by, each unwind hint, then each global label.

    Code written in assembly has labels, not functions; its hints stand where it can be entered. Those at a symbol come
    first, so that a path begins at a name. A global label that nothing comes to is entered from elsewhere, by hardware
    perhaps, as vmx_vmexit is.
    """
    image = flow.image
    functions, labels = set(), []
    for part in sections:
        for one in image.symbols.labels.between(part.start, part.end):
            assert one.address is not None
            if one.kind == FUNC and one.size_bytes and ".cold" not in one.name:
                functions.add(one.address)
            if one.kind == FUNC or (one.kind == NOTYPE and one.bind == "global"):
                labels.append(one.address)
    first = sorted(functions)
    hints = [one for one in flow.tables.hints if any(part.start <= one < part.end for part in sections)]
    hints.sort(key=lambda one: (image.symbols.starting(one) is None, one))
    return first, hints + sorted(labels)


def _missed(flow: Flow, swept: Sequence[Instruction], reached: set[int]) -> list[int]:
    found, covered, dead = [], 0, False
    for address, length, kind, _ in swept:
        if address in reached:
            covered = address + length
            if kind is not Kind.NEXT:
                transfer = flow.site(address).transfer
                dead = transfer is not None and transfer.how is How.CALL and not transfer.returns
            else:
                dead = False
        elif address >= covered and not dead and kind not in (Kind.PAD, Kind.STOP, Kind.DATA):
            found.append(address)
    return found
