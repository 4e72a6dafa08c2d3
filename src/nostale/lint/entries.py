"""Where an x86-64 kernel is entered: found from an image's symbols, its IDT tables and its instructions, and listed.

A kind that is looked for and not found is said: in a part of a kernel it may be elsewhere, in a whole one it is worth
a question.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from nostale.lint.assumed import Assumed
from nostale.lint.effects import PROTECTED, Effects
from nostale.lint.features import FRED, XENPV
from nostale.lint.image import Class, Image
from nostale.lint.machine import X86_64
from nostale.lint.symbols import Symbol
from nostale.outside.x86_effects import Effect


class EntryKind(StrEnum):
    """How the kernel comes to run."""

    SYSCALL = "SYSCALL"
    SYSCALL_COMPAT = "32-bit SYSCALL"
    SYSENTER = "SYSENTER"
    INT80 = "INT 80h"
    NMI = "NMI"
    MACHINE_CHECK = "#MC"
    DEBUG = "#DB"
    DOUBLE_FAULT = "#DF"
    EXCEPTION = "exception"
    INTERRUPT = "interrupt"
    FRED_USER = "FRED from user mode"
    FRED_KERNEL = "FRED from kernel mode"
    FORK = "first run of a task"
    GUEST_EXIT = "guest exit"
    IDLE = "idle wake-up"
    XEN = "Xen PV"


@dataclass(frozen=True, slots=True)
class Entry:
    """One place at which the kernel is entered.

    Args:
        name: the symbol, or the place.
        vector: where an IDT table of the image names it.
    """

    kind: EntryKind
    name: str
    address: int
    vector: int | None = None


_XEN = ("xen_asm_", "xen_entry_")
_FORK = ("ret_from_fork_asm", "ret_from_fork")  # the latter is C where there is the former (since v6.5)
# Names of arch/x86/entry/entry_64.S, entry_64_compat.S, entry_64_fred.S, arch/x86/xen/xen-asm.S and
# arch/x86/kvm/vmx/vmenter.S, v6.1 and v6.12; the first pattern that matches decides.
_NAMES = tuple(
    (kind, re.compile(rf"(?:{pattern})\Z"))
    for kind, pattern in (
        (EntryKind.XEN, "|".join(rf"{prefix}\w+" for prefix in _XEN)),
        (EntryKind.SYSCALL, "entry_SYSCALL_64"),
        (EntryKind.SYSCALL_COMPAT, "entry_SYSCALL_compat|entry_SYSCALL32_ignore"),
        (EntryKind.SYSENTER, "entry_SYSENTER_compat"),
        (EntryKind.INT80, "entry_INT80_compat|asm_int80_emulation"),
        (EntryKind.NMI, "asm_exc_nmi"),
        (EntryKind.MACHINE_CHECK, "asm_exc_machine_check"),
        (EntryKind.DEBUG, "asm_exc_debug"),
        (EntryKind.DOUBLE_FAULT, "asm_exc_double_fault"),
        (EntryKind.FRED_USER, "asm_fred_entrypoint_user"),
        (EntryKind.FRED_KERNEL, "asm_fred_entrypoint_kernel"),
        (EntryKind.EXCEPTION, r"asm_exc_\w+"),
        (
            EntryKind.INTERRUPT,
            r"asm_sysvec_\w+|asm_common_interrupt|asm_spurious_interrupt|(?:irq|spurious)_entries_start",
        ),
        (EntryKind.FORK, "|".join(_FORK)),
        (EntryKind.GUEST_EXIT, "vmx_vmexit"),
    )
)
_IDT_TABLES = ("def_idts", "apic_idts", "early_idts", "early_pf_idts", "ist_idts")  # arch/x86/kernel/idt.c
_IDT_ENTRY_BYTES, _IDT_ADDRESS_AT = 24, 16  # struct idt_data, arch/x86/include/asm/desc_defs.h
_FROM_USER = frozenset(
    {
        EntryKind.SYSCALL,
        EntryKind.SYSCALL_COMPAT,
        EntryKind.SYSENTER,
        EntryKind.INT80,
        EntryKind.EXCEPTION,
        EntryKind.INTERRUPT,
        EntryKind.DEBUG,
    }
    | {EntryKind.NMI, EntryKind.MACHINE_CHECK, EntryKind.DOUBLE_FAULT, EntryKind.FRED_USER}
)


# These hit whatever runs, entry code too. A FRED entry does as well, and needs nothing done by hand.
_ANYWHERE = frozenset({EntryKind.NMI, EntryKind.MACHINE_CHECK, EntryKind.DEBUG, EntryKind.DOUBLE_FAULT})


def find_entries(image: Image, effects: Effects) -> list[Entry]:
    """Return every entry of an x86-64 image, by kind and address; each place once. Of another machine's, none."""
    if image.machine is not X86_64:
        return []
    found: dict[int, Entry] = {}
    vectors = _vectors(image)
    for symbol in _candidates(image):
        kind = next((kind for kind, pattern in _NAMES if pattern.match(symbol.name)), None)
        if kind is not None and symbol.address is not None:
            entry = Entry(kind, symbol.name, symbol.address, vectors.get(symbol.address))
            found.setdefault(symbol.address, entry)
    for address, vector in vectors.items():
        if address not in found and image.class_at(address) in PROTECTED:
            found[address] = Entry(EntryKind.EXCEPTION, image.name(address), address, vector)
    for entry in _woken(image, effects):
        found.setdefault(entry.address, entry)
    order = list(EntryKind)
    return sorted(found.values(), key=lambda one: (order.index(one.kind), one.address))


def missing_kinds(entries: Iterable[Entry]) -> list[EntryKind]:
    """Return the kinds that an image has no entry of."""
    there = {one.kind for one in entries}
    return [kind for kind in EntryKind if kind not in there]


def possible(entry: Entry, assumed: Assumed) -> bool:
    """Return whether a machine can be entered there: an IDT is not used with FRED, nor a native entry under Xen PV."""
    if XENPV in assumed.on:
        return entry.kind in (EntryKind.XEN, EntryKind.FORK, EntryKind.IDLE)
    if entry.kind is EntryKind.XEN:
        return XENPV not in assumed.off
    if FRED in assumed.on:
        return entry.kind in (
            EntryKind.FRED_USER,
            EntryKind.FRED_KERNEL,
            EntryKind.FORK,
            EntryKind.GUEST_EXIT,
            EntryKind.IDLE,
        )
    return entry.kind not in (EntryKind.FRED_USER, EntryKind.FRED_KERNEL) or FRED not in assumed.off


def from_user(entry: Entry) -> bool:
    """Return whether the entry can come from user mode."""
    return entry.kind in _FROM_USER or entry.kind is EntryKind.XEN


def hits_anywhere(entry: Entry) -> bool:
    """Return whether an entry by the IDT can hit kernel entry code before that has established anything."""
    return entry.kind in _ANYWHERE


def _candidates(image: Image) -> Iterator[Symbol]:
    """Yield the names in entry code, and by name those elsewhere: a new task and Xen PV begin in any code."""
    for section in image.sections:
        if section.kind in (Class.ENTRY, Class.NOINSTR):
            yield from image.symbols.labels.between(section.start, section.end)
    fork = next((one for name in _FORK if (one := image.symbols.named(name)) is not None), None)
    if fork is not None:
        yield fork
    for prefix in _XEN:
        yield from (one for one in image.symbols.prefixed(prefix) if _is_code(image, one))


def _is_code(image: Image, symbol: Symbol) -> bool:
    return symbol.address is not None and image.class_at(symbol.address) not in (None, Class.DATA)


def _vectors(image: Image) -> dict[int, int]:
    """Return the vector of each place that an IDT table of the image names."""
    found: dict[int, int] = {}
    for name in _IDT_TABLES:
        table = image.symbols.named(name)
        if table is None or table.address is None:
            continue
        for at in range(table.address, table.end - _IDT_ENTRY_BYTES + 1, _IDT_ENTRY_BYTES):
            handler = image.reference(at + _IDT_ADDRESS_AT)
            if handler is not None and handler.address is not None:
                found.setdefault(handler.address, image.signed(at, 4))
    return found


def _woken(image: Image, effects: Effects) -> list[Entry]:
    """Return the places after what waits or runs a guest: VMRUN, HLT and MWAIT in protected code."""
    found = []
    for section in image.sections:
        if section.kind not in PROTECTED:
            continue
        for place, what in effects.within(section).items():
            one = image.instruction(place)
            assert one is not None
            guest = what is Effect.VMENTER and image.read(place, 3) == b"\x0f\x01\xd8"  # VMRUN comes back behind itself
            if guest or what in (Effect.HLT, Effect.MWAIT):
                after = place + one[1]
                found.append(Entry(EntryKind.GUEST_EXIT if guest else EntryKind.IDLE, image.place(after), after))
    return found
