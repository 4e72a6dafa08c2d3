"""Pack a state into words of 64 bits; records of interchangeable members so that comparing numbers compares them."""

from __future__ import annotations

from dataclasses import dataclass

from nostale.prove.ir import Slot, System


@dataclass(frozen=True, slots=True)
class Field:
    """Where a slot stands in the packed state: word, shift and width in bits."""

    word: int
    shift: int
    bits: int


@dataclass(frozen=True, slots=True)
class Record:
    """Where a member of a group stands: one field of `bits`, or whole words from `word` on where it needs more."""

    word: int
    shift: int
    bits: int
    words: int = 1


@dataclass(frozen=True, slots=True)
class Layout:
    """The packed form of a system.

    Args:
        fields: of each slot.
        words: how many a state takes.
        records: of each group, of each member.
    """

    fields: tuple[Field, ...]
    words: int
    records: tuple[tuple[Record, ...], ...]


def layout(system: System) -> Layout:
    """Pack every slot inside one word, the first that has room; a member's side by side, the first slot highest."""
    packer = _Packer({}, [])
    records = tuple(
        tuple(packer.record(member, system.slots) for member in group) for group in system.symmetric if group
    )
    for index, slot in enumerate(system.slots):
        if index not in packer.fields:
            word, shift = packer.room(slot.bits)
            packer.fields[index] = Field(word, shift, slot.bits)
    return Layout(tuple(packer.fields[i] for i in range(len(system.slots))), max(1, len(packer.used)), records)


@dataclass(slots=True)
class _Packer:
    fields: dict[int, Field]
    used: list[int]

    def room(self, bits: int) -> tuple[int, int]:
        for word, used in enumerate(self.used):
            if used + bits <= 64:
                self.used[word] += bits
                return word, used
        self.used.append(bits)
        return len(self.used) - 1, 0

    def record(self, member: tuple[int, ...], slots: tuple[Slot, ...]) -> Record:
        bits = sum(slots[slot].bits for slot in member)
        if bits > 64:
            return self.wide_record(member, slots)
        word, shift = self.room(bits)
        top = shift + bits
        for slot in member:
            top -= slots[slot].bits
            self.fields[slot] = Field(word, top, slots[slot].bits)
        return Record(word, shift, bits)

    def wide_record(self, member: tuple[int, ...], slots: tuple[Slot, ...]) -> Record:
        first, top = len(self.used), 0
        for slot in member:
            bits = slots[slot].bits
            if top < bits:
                self.used.append(64)
                top = 64
            top -= bits
            self.fields[slot] = Field(len(self.used) - 1, top, bits)
        return Record(first, 0, 64, len(self.used) - first)
