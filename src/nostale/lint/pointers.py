"""What a pointer holds when it is called, where the image shows it: one assignment before the call, or all of them.

A register is followed back to its assignment in the same straight piece of code. A static variable is known when every
place of the image that names it either reads it or stores a known function; one whose address is taken is not.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nostale.lint.image import Class, Image
from nostale.lint.machine import X86_64
from nostale.lint.references import Reference
from nostale.lint.switch import switch_targets
from nostale.lint.symbols import Symbol
from nostale.lint.targets import How, Target, Targets, Transfer, Via, pointer
from nostale.outside.instruction import Instruction, Kind
from nostale.outside.operands import Operands, operands

if TYPE_CHECKING:
    from nostale.lint.tables import Tables

_CLOBBERED = frozenset({"rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"})  # by a call, System V ABI 3.2.1
_FURTHEST_BYTES = 12  # from a PC-relative field to the end of its instruction
_LOOK_BACK = 32  # instructions
_ONLY_READ = frozenset({"call", "jmp", "push", "cmp", "test"})  # what they write is not their memory operand

Place = tuple[Symbol, int]


@dataclass(slots=True)
class Pointers:
    """Finds, for one image, what indirect calls and jumps go through."""

    image: Image
    targets: Targets
    tables: Tables
    _joins: dict[int, frozenset[int]] = field(default_factory=dict)
    _stored: dict[tuple[int, int], list[Target] | None] = field(default_factory=dict)

    def indirect(self, one: Instruction, how: How, function: Symbol | None) -> Transfer:
        """Return the transfer of an indirect call or jump, through a register or a slot."""
        if self.image.machine is not X86_64:
            return pointer(how)  # its registers are not followed yet
        used = operands(self.image.read(one[0], one[1]))
        if used.destination:
            return self.register(one, used.destination, how, function)
        place = self._place(one, used)
        return self._held(place, how) if place else pointer(how)

    def register(self, one: Instruction, register: str, how: How, function: Symbol | None) -> Transfer:
        """Return the transfer at `one` to where `register` points."""
        value = self._value(one[0], register, function) if function else None
        if isinstance(value, Target):
            return Transfer(how, Via.POINTER, "{dynamic}", (value,))
        return pointer(how) if value is None else self._held(value, how)

    def _held(self, place: Place, how: How) -> Transfer:
        """Return the transfer through a slot; of a static variable with all its stores."""
        symbol, offset = place
        transfer = self.targets.held(symbol, offset, how)
        if transfer.complete or symbol.bind != "local" or symbol.address is None:
            return transfer
        stored = self._stores(symbol, offset)
        if stored is None:
            return transfer
        found = {one.name: one for one in (*transfer.targets, *stored)}
        return replace(transfer, targets=tuple(found[name] for name in sorted(found)), complete=bool(found))

    def _value(self, address: int, register: str, function: Symbol) -> Target | Place | None:
        """Return the function or slot that `register` was last given before `address`, None where paths may differ."""
        assert function.address is not None
        joins = self._joined(function)
        before = [one for one in self.image.decoded(function.address, address) if one[0] < address]
        if address in joins:
            return None
        for one in reversed(before[-_LOOK_BACK:]):
            kind = one[2]
            if kind not in (Kind.NEXT, Kind.PAD, Kind.BRANCH, Kind.CALL, Kind.CALL_INDIRECT):
                return None
            if kind in (Kind.CALL, Kind.CALL_INDIRECT) and register in _CLOBBERED:
                return None
            used = operands(self.image.read(one[0], one[1]))
            if register in used.writes:
                if used.mnemonic == "mov" and used.destination == register and used.source:
                    register = used.source
                else:
                    return self._assigned(one, used, register)
            if one[0] in joins:
                return None
        return None

    def _assigned(self, one: Instruction, used: Operands, register: str) -> Target | Place | None:
        if used.destination != register or used.mnemonic not in ("mov", "lea"):
            return None
        if used.reads_memory:
            return self._place(one, used)
        reference = next(self.image.references(one[0], one[0] + one[1]), None)
        if reference is None or (used.takes_address and not used.plain):
            return None
        return self.targets.of(reference, one[0] + one[1])

    def _place(self, one: Instruction, used: Operands) -> Place | None:
        return self.targets.place(one) if used.plain else None

    def _joined(self, function: Symbol) -> frozenset[int]:
        """Return the places of a function that more than the instruction before them leads to."""
        assert function.address is not None
        found = self._joins.get(function.address)
        if found is None:
            body = self.image.decoded(function.address, function.end)
            joins = {one[0] for one in body if self.image.symbols.starting(one[0]) is not None}
            for one in body:
                if one[2] in (Kind.JUMP, Kind.BRANCH):
                    joins.add(self.targets.near(one).address or 0)
                elif one[2] is Kind.JUMP_INDIRECT:
                    joins.update(switch_targets(self.image, one, function))
            joins.update(target for target, _ in self.tables.jump_labels.values())
            joins.update(to for fixups in self.tables.fixups.values() for to in fixups)
            joins.update(group.start for group in self.tables.alternatives.values())
            joins.update(group.end for group in self.tables.alternatives.values())
            found = self._joins[function.address] = frozenset(joins)
        return found

    def _stores(self, symbol: Symbol, offset: int) -> list[Target] | None:
        """Return every function that this image stores in a static variable; None where one is not known."""
        assert symbol.address is not None
        key = (symbol.address, offset)
        if key not in self._stored:
            self._stored[key] = self._all_stores(symbol.address, symbol.address + offset, symbol.end)
        return self._stored[key]

    def _all_stores(self, start: int, slot: int, end: int) -> list[Target] | None:
        found: list[Target] = []
        for reference in self.image.references_into(start - _FURTHEST_BYTES, end):
            if self.image.class_at(reference.at) is Class.DATA:
                if start <= (reference.address or 0) < end:
                    return None  # somebody holds the variable's address
                continue
            one = self.image.instruction_around(reference.at)
            if one is None:
                return None
            to = (reference.address or 0) + (one[0] + one[1] - reference.at if reference.relative else 0)
            if not start <= to < end:
                continue
            used = operands(self.image.read(one[0], one[1]))
            first = next(self.image.references(one[0], one[0] + one[1]))
            if not used.plain or used.takes_address or first.at != reference.at:
                return None  # its address is taken: by lea, as an immediate, or to be indexed
            if used.mnemonic in _ONLY_READ or not used.writes_memory:
                continue
            if to != slot:
                continue
            stored = self._store(one, used, reference)
            if stored is None:
                return None
            found += stored
        return found

    def _store(self, one: Instruction, used: Operands, reference: Reference) -> list[Target] | None:
        """Return what one store puts into the variable: a function, or nothing where it is NULL."""
        if used.mnemonic != "mov":
            return None
        if used.source:
            function = self.image.symbols.functions.containing(one[0])
            value = self._value(one[0], used.source, function) if function else None
            return [value] if isinstance(value, Target) else None
        others = [each for each in self.image.references(one[0], one[0] + one[1]) if each.at != reference.at]
        if others:
            return [self.targets.of(others[0], others[0].at)]
        return [] if used.immediate == 0 else None
