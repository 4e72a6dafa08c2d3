"""The places of an image whose code may be another at run time or at boot, by the tables that say so.

Each table is read when it is asked for. What may be patched at run time (jump labels, static calls, ftrace sites and
whatever a probe may be put on) is told from what is patched once at boot (alternatives, paravirt calls).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from nostale.lint.image import Class, Image
from nostale.lint.machine import ARM64
from nostale.lint.symbols import Symbol
from nostale.lint.tables import jump_entries, jump_key, table_places
from nostale.lint.targets import KEY, TRAMPOLINE
from nostale.outside.instruction import Instruction, Kind

if TYPE_CHECKING:
    from nostale.lint.image import Section

_STATIC_CALL_BYTES, _KEY_OFFSET = 8, 4  # struct static_call_site, include/linux/static_call_types.h
_TAIL, _INIT = 1, 2  # the low bits of its key
_PARAVIRT_BYTES = 16  # struct paravirt_patch_site: arch/x86/include/asm/paravirt_types.h, up to v6.7
_TRANSFERS = (Kind.CALL, Kind.JUMP, Kind.BRANCH)
_RO_AFTER_INIT = ".data..ro_after_init"
# What the kernel refuses to probe as a range beside the table: kernel/kprobes.c, populate_kprobe_blacklist().
_UNPROBED = frozenset({Class.NOINSTR, Class.ENTRY})
_UNPROBED_NAMES = frozenset({".kprobes.text"})


@dataclass(frozen=True, slots=True)
class JumpLabel:
    """A jump or NOP that follows a static key. `ro_after_init` is None where the key lies in another image."""

    at: int
    target: int
    key: str
    ro_after_init: bool | None


@dataclass(frozen=True, slots=True)
class StaticCall:
    """A call or jump through a static call.

    Args:
        at: the instruction.
        key: the name of the static call.
        tail: it is a jump, and returns on behalf of its function.
        init: it lies in code that is freed after boot.
        ro_after_init: whether its key can no longer change then; None where the key lies in another image.
    """

    at: int
    key: str
    tail: bool
    init: bool
    ro_after_init: bool | None


@dataclass(frozen=True)
class PatchSites:
    """The patch sites of one image, each table by the place of its sites."""

    image: Image

    @cached_property
    def jump_labels(self) -> Mapping[int, JumpLabel]:
        """Every entry of __jump_table."""
        return {at: self._label(at, *found) for at, found in self._entries.items()}

    def jump_label(self, address: int) -> JumpLabel | None:
        """Return the jump label at `address`; keys are named only where they are asked for."""
        found = self._entries.get(address)
        return None if found is None else self._label(address, *found)

    @cached_property
    def _entries(self) -> Mapping[int, tuple[int, int]]:
        return {at: (entry, target) for entry, at, target in jump_entries(self.image)}

    def _label(self, at: int, entry: int, target: int) -> JumpLabel:
        name, key = jump_key(self.image, entry)
        return JumpLabel(at, target, name, self._fixed_after_init(key))

    @cached_property
    def static_calls(self) -> Mapping[int, StaticCall]:
        """Every entry of .static_call_sites; objtool makes it, so of an object from before that, calls by name."""
        sections = self.image.sections_named(".static_call_sites")
        found = [one for section in sections for one in self._listed(section)] if sections else self._named()
        return {one.at: one for one in found}

    def static_call(self, address: int) -> StaticCall | None:
        """Return the static call at `address`, without looking at all others where it can be told by itself."""
        if self._has_table or self.image.linked:
            return self.static_calls.get(address)
        one = self.image.instruction(address)
        if one is None or one[2] not in _TRANSFERS:
            return None
        reference = next(self.image.references(address, address + one[1]), None)
        if reference is None or not reference.symbol.name.startswith(TRAMPOLINE):
            return None
        return self._made(one, reference.symbol)

    @cached_property
    def _has_table(self) -> bool:
        return bool(self.image.sections_named(".static_call_sites"))

    @cached_property
    def ftrace(self) -> frozenset[int]:
        """The places where ftrace may put a call: __mcount_loc, in objects for arm64 __patchable_function_entries."""
        names = ["__mcount_loc"]
        if self.image.machine is ARM64:  # on x86 the latter is room before a function, not a site
            names.append("__patchable_function_entries")
        return frozenset(place for name in names for place in table_places(self.image, name))

    @cached_property
    def kprobe_blacklist(self) -> frozenset[int]:
        """The functions that _kprobe_blacklist names."""
        return frozenset(table_places(self.image, "_kprobe_blacklist"))

    @cached_property
    def paravirt(self) -> Mapping[int, int]:
        """The calls of .parainstructions, up to v6.7, with the number of their slot in pv_ops, patched at boot."""
        found = {}
        for section in self.image.sections_named(".parainstructions"):
            content = self.image.content(section)
            for number, at in enumerate(self.image.column(section, _PARAVIRT_BYTES, size_bytes=8)):
                found[at] = content[number * _PARAVIRT_BYTES + 8]
        found.pop(0, None)
        return found

    def probeable(self, address: int) -> bool:
        """Return whether a kprobe may be put on `address`: no range and no function forbids it."""
        section = self.image.section_at(address)
        if section is None or section.kind is Class.DATA or section.kind in _UNPROBED:
            return False
        if section.name in _UNPROBED_NAMES:
            return False
        at = bisect_right(self._unprobed, (address, 1 << 64)) - 1
        return at < 0 or address >= self._unprobed[at][1]

    @cached_property
    def _unprobed(self) -> list[tuple[int, int]]:
        """The functions that may not be probed; one without a size goes on to the next name, as kallsyms has it."""
        found = []
        for start in sorted(self.kprobe_blacklist):
            symbol = self.image.symbols.starting(start)
            end = symbol.end if symbol is not None and symbol.size_bytes else self.image.symbols.labels.following(start)
            found.append((start, end))
        return found

    def _fixed_after_init(self, key: int | None) -> bool | None:
        section = None if key is None else self.image.section_at(key)
        return None if section is None else section.name == _RO_AFTER_INIT

    def _listed(self, section: Section) -> list[StaticCall]:
        places = self.image.column(section, _STATIC_CALL_BYTES)
        found = []
        for number, at in enumerate(places):
            if not at:
                continue
            named = self.image.field(section.start + number * _STATIC_CALL_BYTES + _KEY_OFFSET, 4)
            flags = (named.addend if named.address is None else named.address) & (_TAIL | _INIT)
            address = None if named.address is None else named.address & ~(_TAIL | _INIT)
            name = named.name if address is None else self.image.name(address)
            # A module that may not see the key names the trampoline in its place.
            key = name.removeprefix(KEY).removeprefix(TRAMPOLINE)
            fixed = None if name.startswith(TRAMPOLINE) else self._fixed_after_init(address)
            found.append(StaticCall(at, key, bool(flags & _TAIL), bool(flags & _INIT), fixed))
        return found

    def _named(self) -> list[StaticCall]:
        """Return the calls and jumps to trampolines, by the names of these."""
        found = []
        for symbol in self.image.symbols.prefixed(TRAMPOLINE):
            for reference in self.image.references_to(symbol):
                one = self.image.instruction_around(reference.at)
                call = None if one is None else self._made(one, symbol)
                if call is not None:
                    found.append(call)
        return sorted(found, key=lambda one: one.at)

    def _made(self, one: Instruction, trampoline: Symbol) -> StaticCall | None:
        """Return the static call that an instruction is that refers to a trampoline, None where it is no transfer."""
        section = self.image.section_at(one[0])
        if one[2] not in _TRANSFERS or section is None:
            return None
        name = trampoline.name.removeprefix(TRAMPOLINE)
        key = self._keys.get(KEY + name)
        fixed = self._fixed_after_init(key.address if key else None)
        return StaticCall(one[0], name, one[2] is not Kind.CALL, section.name.startswith(".init."), fixed)

    @cached_property
    def _keys(self) -> Mapping[str, Symbol]:
        return {one.name: one for one in self.image.symbols.prefixed(KEY)}
