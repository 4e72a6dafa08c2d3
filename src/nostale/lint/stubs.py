"""Where device interrupts enter an x86-64 kernel: a table of stubs, one a vector, that the IDT points into."""

from __future__ import annotations

from nostale.lint.image import Image, Section

# arch/x86/include/asm/idtentry.h, irq_entries_start, spurious_entries_start, v6.12: IDT_ALIGN is 8 bytes, 16 with
# CONFIG_X86_KERNEL_IBT. arch/x86/kernel/idt.c, idt_setup_apic_and_irq_gates(), computes each gate from the first.
_TABLES = ("irq_entries_start", "spurious_entries_start")
_PITCHES_BYTES = (8, 16)
_PUSH_BYTE, _STUB_BYTES = 0x6A, 2


def interrupt_stubs(image: Image, section: Section) -> list[int]:
    """Return where interrupts enter by the tables of stubs in a section: each pushes its vector, the one before plus 1.

    A table is read as far as that goes on, or not at all where it does not begin so.
    """
    found: list[int] = []
    for name in _TABLES:
        table = image.symbols.named(name)
        if table is None or table.address is None or not section.start <= table.address < section.end:
            continue
        runs = [_run(image, table.address, min(table.end, section.end), pitch) for pitch in _PITCHES_BYTES]
        longest = max(runs, key=len)
        found += longest
    return found


def _run(image: Image, start: int, end: int, pitch: int) -> list[int]:
    found: list[int] = []
    first = _pushed(image, start)
    while first is not None and start < end and _pushed(image, start) == (first + len(found)) & 0xFF:
        found.append(start)
        start += pitch
    return found


def _pushed(image: Image, address: int) -> int | None:
    """Return the byte that a stub pushes first, None where it does something else."""
    code = image.read(address, 4 + _STUB_BYTES)
    code = code[4:] if code[:4] in image.machine.landing_pads else code
    return code[1] if len(code) >= _STUB_BYTES and code[0] == _PUSH_BYTE else None
