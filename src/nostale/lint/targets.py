"""Where calls and jumps may go: direct targets, static calls, function pointers in named slots."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from nostale.lint.image import Class, Image
from nostale.lint.machine import X86_64
from nostale.lint.references import Reference
from nostale.lint.symbols import Symbol
from nostale.outside.instruction import Instruction, Kind

TRAMPOLINE, KEY = "__SCT__", "__SCK__"  # include/linux/static_call_types.h
RETURN_THUNK = "__x86_return_thunk"
INDIRECT_THUNKS = ("__x86_indirect_thunk_", "__x86_indirect_call_thunk_", "__x86_indirect_jump_thunk_")
# Tables of function pointers that the kernel fills in at boot and from then on calls directly, with the initialisers
# that are copied over them (arch/x86/kernel/paravirt.c, arch/x86/xen/{enlighten_pv,irq,mmu_pv}.c).
_BOOT_TABLES = {"pv_ops": ("xen_cpu_ops", "xen_irq_ops", "xen_mmu_ops")}
_ARGUMENTS_BYTES = 32  # how far apart the arguments of one call of static_call_update() are loaded


class How(StrEnum):
    """What a transfer does to the function that makes it."""

    CALL = "call"
    TAIL = "tail call"
    JUMP = "jump"  # into another section, the same function's as far as its state goes
    RETURN = "return"
    RESUME = "return to the interrupted context"


class Via(StrEnum):
    """How the target is chosen."""

    DIRECT = "direct"
    STATIC_CALL = "static call"
    SLOT = "slot"  # a function pointer at a named place
    POINTER = "pointer"  # a function pointer in a register or at a computed place


@dataclass(frozen=True, slots=True)
class Target:
    """A function that may be reached.

    Args:
        address, kind: None where the image does not define it.
        table: of what a pointer's slot holds, the table that it is copied from at boot; "" elsewhere.
    """

    name: str
    address: int | None
    kind: Class | None
    table: str = ""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Control that leaves a function or a section.

    Args:
        callee: what a reader is shown: the function, `static_call NAME`, `*SLOT`, or `{dynamic}`.
        targets: the ones that are known.
        complete: whether there can be no others.
        missing: what would have to be known to make them complete.
        assumption: what completeness takes for granted.
        returns: whether control comes back to whoever called.
    """

    how: How
    via: Via
    callee: str
    targets: tuple[Target, ...] = ()
    complete: bool = True
    missing: str = ""
    assumption: str = ""
    returns: bool = True


@dataclass(slots=True)
class Targets:
    """Finds targets in one image."""

    image: Image
    _static: dict[tuple[str, How], Transfer] = field(default_factory=dict)
    _stores: dict[str, dict[int, list[Target | None]]] = field(default_factory=dict)

    def of(self, reference: Reference, end: int) -> Target:
        """Return what a relocated field of an instruction that ends at `end` refers to."""
        adjust = end - reference.at if reference.relative and self.image.machine.from_end else 0
        symbol = reference.symbol
        address = None if symbol.address is None else symbol.address + reference.addend + adjust
        if address is None or (symbol.name and reference.addend + adjust == 0):
            return Target(symbol.name, address, None if address is None else self.image.class_at(address))
        return self.at(address)

    def at(self, address: int) -> Target:
        """Return the target at an address of the image."""
        return Target(self.image.name(address), address, self.image.class_at(address))

    def near(self, one: Instruction) -> Target:
        """Return the target of a near call or jump."""
        address, length, _, near = one
        if self.image.linked:
            return self.at(near)
        reference = next(self.image.references(address, address + length), None)
        return self.at(near) if reference is None else self.of(reference, address + length)

    def static_call(self, name: str, how: How) -> Transfer:
        """Return the transfer through the trampoline of static call `name`, with the targets that the image tells."""
        if (name, how) not in self._static:
            self._static[name, how] = self._static_call(name, how)
        return self._static[name, how]

    def _static_call(self, name: str, how: How) -> Transfer:
        trampoline = self.image.symbols.named(TRAMPOLINE + name)
        key = self.image.symbols.named(KEY + name)
        initial = [self._trampoline_target(trampoline), self._pointer(key.address) if key else None]
        updates = self._updates(key, trampoline) if key and trampoline else []
        found = {target.name: target for target in (*initial, *updates) if target is not None}
        constant = key is not None and key.address is not None and not self._writable(key.address)
        return Transfer(
            how,
            Via.STATIC_CALL,
            f"{TRAMPOLINE}{name}",
            tuple(found[each] for each in sorted(found)),
            constant and bool(found),
            f"every static_call_update({name}), also in code that is not in this image",
        )

    def _updates(self, key: Symbol, trampoline: Symbol) -> list[Target]:
        """Return the functions that this image's own calls of static_call_update() put there, as far as they show.

        A call passes the key, the trampoline and the function, all as constants beside each other. A function that
        comes from elsewhere does not show, which is why this list is never taken to be complete.
        """
        found = []
        for reference in self.image.references_to(key):
            section = self.image.section_at(reference.at)
            start = max(section.start if section else 0, reference.at - _ARGUMENTS_BYTES)
            near = list(self.image.references(start, reference.at + _ARGUMENTS_BYTES))
            if not any(one.symbol.name == trampoline.name or one.address == trampoline.address for one in near):
                continue
            for one in near:
                at = None if one.relative else one.address
                if (
                    at is not None
                    and self.image.symbols.functions.starting(at) is not None
                    and one.address != key.address
                ):
                    found.append(self.of(one, one.at))
        return [target for target in found if not target.name.startswith(TRAMPOLINE)]

    def held(self, symbol: Symbol, offset: int, how: How) -> Transfer:
        """Return the transfer through the pointer at an offset of `symbol`."""
        name = f"*{symbol.name}+{offset:#x}" if offset else f"*{symbol.name}"
        pointers = self._known_pointers(symbol, offset)
        found: dict[str, Target] = {}
        for target in pointers:  # what a slot holds from the start is first, and not only a table's
            if target is not None:
                found.setdefault(target.name, target)
        targets = tuple(found[each] for each in sorted(found))
        if symbol.name in _BOOT_TABLES:
            return Transfer(
                how,
                Via.SLOT,
                name,
                targets,
                bool(found) and None not in pointers,
                f"what else is stored in {symbol.name}+{offset:#x}",
                f"{symbol.name} holds only what its initialisers and the stores in this image put there",
            )
        constant = symbol.address is not None and not self._writable(symbol.address)
        return Transfer(how, Via.SLOT, name, targets, constant and bool(found), f"what {name[1:]} holds at run time")

    def _trampoline_target(self, trampoline: Symbol | None) -> Target | None:
        if trampoline is None or trampoline.address is None:
            return None
        one = self.image.instruction(trampoline.address)
        return self.near(one) if one is not None and one[2] is Kind.JUMP else None

    def _pointer(self, address: int | None) -> Target | None:
        reference = None if address is None else self.image.reference(address)
        return None if reference is None else self.of(reference, reference.at)

    def _writable(self, address: int) -> bool:
        section = self.image.section_at(address)
        return section is None or section.writable

    def place(self, one: Instruction) -> tuple[Symbol, int] | None:
        """Return (symbol, offset) of an operand that is one fixed place in memory: disp32(%rip) or disp32 alone."""
        if self.image.machine is not X86_64:  # loads the pointer with an instruction of its own
            return None
        address, length = one[0], one[1]
        reference = next(self.image.references(address, address + length), None)
        if reference is None:
            return None
        offset = reference.addend + (address + length - reference.at if reference.relative else 0)
        if reference.symbol.name or reference.symbol.address is None:
            return reference.symbol, offset
        holder = self.image.symbols.containing(reference.symbol.address + offset)
        if holder is None or holder.address is None:
            return None
        return holder, reference.symbol.address + offset - holder.address

    def _known_pointers(self, symbol: Symbol, offset: int) -> list[Target | None]:
        """Return what a slot is known to hold; None for a store of something that is not known."""
        found: list[Target | None] = []
        for name in (symbol.name, *_BOOT_TABLES.get(symbol.name, ())):
            table = self.image.symbols.named(name)
            target = self._pointer(table.address + offset) if table and table.address is not None else None
            if target is not None:
                found.append(target if name == symbol.name else replace(target, table=name))
        if symbol.name in _BOOT_TABLES:
            found += self._stores_to(symbol).get(offset, [])
        return found

    def _stores_to(self, symbol: Symbol) -> dict[int, list[Target | None]]:
        """Return the stores to a table in all of the image's code: `mov $function, table+N` and `mov %reg, table+N`."""
        if symbol.name in self._stores:
            return self._stores[symbol.name]
        found: dict[int, list[Target | None]] = {}
        for reference in self.image.references_to(symbol):
            before = self.image.read(reference.at - 3, 3)
            if not reference.relative or len(before) < 3:
                continue
            if before == b"\x48\xc7\x05":  # mov $imm32, disp32(%rip): the immediate follows the displacement
                value = self.image.reference(reference.at + 4)
                stored = self.of(value, value.at) if value else None
                found.setdefault(reference.addend + 8, []).append(stored)
            elif before[1] == 0x89 and before[2] & 0xC7 == 0x05:  # mov %reg, disp32(%rip)
                found.setdefault(reference.addend + 4, []).append(None)
        self._stores[symbol.name] = found
        return found


def pointer(how: How) -> Transfer:
    """Return a transfer to wherever a register or a computed place points."""
    return Transfer(how, Via.POINTER, "{dynamic}", (), False, "what the function pointer may hold at run time")
