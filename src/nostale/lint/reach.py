"""Where paths begin, and what no path comes to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from nostale.lint.flow import Flow
from nostale.lint.image import Class, Image, Section
from nostale.lint.stubs import interrupt_stubs
from nostale.lint.symbols import FUNC, NOTYPE
from nostale.lint.targets import How, Transfer
from nostale.outside.instruction import Instruction, Kind

_VECTORS_BYTES, _SLOT_BYTES, _WORD_BYTES = 2048, 128, 4


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
    """Return where paths begin: every function; and, where none came by, each unwind hint, then each label of a unit.

    Code written in assembly has labels, not functions; its hints stand where it can be entered. Those at a symbol come
    first, so that a path begins at a name. A linked image has no hints: there each stub of an interrupt is an entry,
    and each label with a size, which is what SYM_CODE_START_LOCAL() makes of code that is called, as paranoid_entry. A
    global label that nothing comes to is entered from elsewhere, by hardware perhaps, as vmx_vmexit is.
    """
    image = flow.image
    functions, labels = set(), []
    for part in sections:
        for one in image.symbols.labels.between(part.start, part.end):
            assert one.address is not None
            if one.kind == FUNC and one.size_bytes and ".cold" not in one.name:
                functions.add(one.address)
            if one.kind == FUNC or (one.kind == NOTYPE and (one.bind == "global" or one.size_bytes)):
                labels.append(one.address)
    slots = [slot for part in sections for slot in vector_slots(image, part)]
    first = [*sorted(functions), *slots]
    stubs = [stub for part in sections for stub in interrupt_stubs(image, part)]
    hints = [one for one in flow.tables.hints if any(part.start <= one < part.end for part in sections)]
    hints.sort(key=lambda one: (image.symbols.starting(one) is None, one))
    # The trampoline vectors skip a slot's first instruction (tramp_ventry, arch/arm64/kernel/entry.S, v6.12).
    return first, hints + [slot + _WORD_BYTES for slot in slots] + stubs + sorted(labels)


def vector_slots(image: Image, section: Section) -> list[int]:
    """Return where exceptions enter by a table of vectors of a section: every 128 bytes of it.

    Such a table is a label on 2 KB, as long as that or several of it, as VBAR_EL1 wants it (Arm ARM DDI 0487, D1.3.1).
    """
    found: list[int] = []
    # An object's section has a place on a whole page here, as it will have a place on 2 KB at least when linked.
    for one in image.symbols.labels.between(section.start, section.end) if image.machine.vectors else ():
        assert one.address is not None
        if one.kind == NOTYPE and one.size_bytes and not (one.size_bytes | one.address) % _VECTORS_BYTES:
            found += range(one.address, one.end, _SLOT_BYTES)
    return found


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
        elif address < covered or dead or kind in (Kind.PAD, Kind.STOP, Kind.DATA):
            continue
        elif flow.image.read(address, length) not in flow.image.machine.barriers:
            found.append(address)
    return found
