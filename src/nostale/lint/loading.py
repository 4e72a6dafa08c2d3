"""From a checked ELF file to an image: where its sections lie in the flat space, and what each range is for.

A linked image has one .text: what objects have as sections of their own are parts of it between symbols of the linker
script. They get the names of those sections, so that whoever asks for .noinstr.text or __jump_table finds it in both.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from nostale.contract import BadInput
from nostale.lint.image import Image, Section, Segment, class_of_section
from nostale.lint.machine import BY_ELF_NUMBER, Machine
from nostale.lint.symbols import BINDS, FUNC, KINDS, MAPPING, NOTYPE, OBJECT, Columns, SymbolTable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nostale.outside import elf

_PAGE = 4096
_FIRST_PLACE = 1 << 20
_LAST_PLACE = 1 << 64
# (name that objects have, first symbol, symbol after it): include/asm-generic/vmlinux.lds.h and
# arch/{x86,arm64}/kernel/vmlinux.lds.S, v6.1 and v6.12. Where two overlap, the smaller one names the part: since v6.2
# .cpuidle.text lies within .noinstr.text, and tables within what is read-only after init; of equal ones the later.
_RANGES = (
    (".noinstr.text", "__noinstr_text_start", "__noinstr_text_end"),
    (".entry.text", "__entry_text_start", "__entry_text_end"),
    (".cpuidle.text", "__cpuidle_text_start", "__cpuidle_text_end"),
    (".kprobes.text", "__kprobes_text_start", "__kprobes_text_end"),
    (".hyp.text", "__hyp_text_start", "__hyp_text_end"),
    (".idmap.text", "__idmap_text_start", "__idmap_text_end"),
    (".static_call.text", "__static_call_text_start", "__static_call_text_end"),
    (".text..__x86.indirect_thunk", "__indirect_thunk_start", "__indirect_thunk_end"),
    (".data..ro_after_init", "__start_ro_after_init", "__end_ro_after_init"),
    (".altinstructions", "__alt_instructions", "__alt_instructions_end"),
    (".parainstructions", "__parainstructions", "__parainstructions_end"),
    (".retpoline_sites", "__retpoline_sites", "__retpoline_sites_end"),
    (".return_sites", "__return_sites", "__return_sites_end"),
    (".static_call_sites", "__start_static_call_sites", "__stop_static_call_sites"),
    ("__jump_table", "__start___jump_table", "__stop___jump_table"),
    ("__ex_table", "__start___ex_table", "__stop___ex_table"),
    ("__bug_table", "__start___bug_table", "__stop___bug_table"),
    ("__mcount_loc", "__start_mcount_loc", "__stop_mcount_loc"),
    ("_kprobe_blacklist", "__start_kprobe_blacklist", "__stop_kprobe_blacklist"),
)
# Thunks that x86's linker script puts where their addresses alias, away from the others.
_ALIASING_THUNKS = ("srso_alias_untrain_ret", "srso_alias_safe_ret")
_RODATA = ("__start_rodata", "__end_rodata")


def load_image(path: str | Path) -> Image:
    """Read a kernel image: vmlinux, vmlinux.o, an .o or a .ko, of x86-64 or arm64, plain or packed by xz or zstd.

    Raises:
        BadInput: unreadable, damaged, of another machine, or without symbols.
    """
    from nostale.outside.elf import read_elf

    return build_image(read_elf(Path(path)))


def build_image(file: elf.Elf) -> Image:
    """Lay the sections of a checked file out in the flat space and name its symbols.

    Raises:
        BadInput: of another machine, neither relocatable nor linked, or linked without symbols.
    """
    from nostale.outside import elf

    machine = BY_ELF_NUMBER.get(file.machine)
    if machine is None:
        name = elf.MACHINE_NAMES.get(file.machine, f"machine {file.machine}")
        raise BadInput(file.where, f"an image for {name}", remedy="only x86-64 and arm64 images are read")
    if file.type not in (elf.TYPE_RELOCATABLE, elf.TYPE_EXECUTABLE, elf.TYPE_SHARED):
        form = elf.TYPE_NAMES.get(file.type, f"file of type {file.type}")
        raise BadInput(file.where, f"a {form}, not a kernel image", remedy="give vmlinux, vmlinux.o, an .o or a .ko")
    if file.linked and not len(file.symbols):
        raise BadInput(
            file.where,
            "a linked image without symbols",
            cause="it was stripped",
            remedy="give the unstripped vmlinux; distributions have it in a package of debugging symbols",
        )
    whole = _as_linked(file) if file.linked else _one_after_the_other(file)
    starts = {one.index: 0 if file.linked else one.start for one in whole}
    symbols = SymbolTable(_columns(file, starts, machine))
    sections = _cut(whole, symbols) if file.linked else whole
    segments = tuple(
        Segment(
            one.index,
            one.address,
            one.address + one.size_bytes,
            bool(one.flags & elf.SEGMENT_WRITE),
            bool(one.flags & elf.SEGMENT_EXEC),
        )
        for one in file.segments
    )
    return Image(file.where, machine, tuple(sections), symbols, file, segments)


def _one_after_the_other(file: elf.Elf) -> list[Section]:
    """Give every section of an object a place of its own."""
    from nostale.outside import elf

    sections, at = [], _FIRST_PLACE
    for section in file.sections:
        if section.type == 0 or not (section.flags & elf.FLAG_ALLOC or section.name.startswith(".discard.")):
            continue
        kind = class_of_section(section.name, executable=section.executable)
        end = at + section.size_bytes
        sections.append(Section(section.name, kind, at, end, section.writable, section.index))
        at = (end + 2 * _PAGE) // _PAGE * _PAGE  # a gap, so that the end of one is not the start of the next
    return sections


def _as_linked(file: elf.Elf) -> list[Section]:
    """Return the sections of a linked image that stay in memory, by address.

    Raises:
        BadInput: two of them lie at the same addresses.
    """
    from nostale.outside import elf

    kept = [one for one in file.sections if one.type and one.flags & elf.FLAG_ALLOC and one.size_bytes]
    sections = [
        Section(
            one.name,
            class_of_section(one.name, executable=one.executable),
            one.address,
            one.address + one.size_bytes,
            one.writable,
            one.index,
        )
        for one in sorted(kept, key=lambda one: one.address)
    ]
    for before, after in pairwise(sections):
        if before.end > after.start:
            raise BadInput(
                file.where, f"sections {before.name} and {after.name} overlap", cause="a cut or damaged file"
            )
    if sections and sections[-1].end > _LAST_PLACE:
        raise BadInput(file.where, f"{sections[-1].name} ends beyond all addresses", cause="a cut or damaged file")
    return sections


def _cut(sections: list[Section], symbols: SymbolTable) -> list[Section]:
    """Cut sections where the linker script's symbols say that another range begins."""
    ranges = []
    for name, first, after in _RANGES:
        start, end = _address(symbols, first), _address(symbols, after)
        if start is not None and end is not None and start < end:
            ranges.append((start, end, name))
    for name in _ALIASING_THUNKS:
        thunk = symbols.named(name)
        if thunk is not None and thunk.address is not None and thunk.kind == FUNC and thunk.size_bytes:
            ranges.append((thunk.address, thunk.end, f".text..__x86.{name}"))
    ranges.reverse()
    ranges.sort(key=lambda one: one[1] - one[0])
    rodata = [_address(symbols, name) for name in _RODATA]
    found = []
    for section in sections:
        inside = [one for one in ranges if one[0] < section.end and one[1] > section.start]
        places = {place for start, end, _ in inside for place in (start, end) if section.start < place < section.end}
        for start, end in pairwise([section.start, *sorted(places), section.end]):
            name = next((name for first, after, name in inside if first <= start < after), section.name)
            constant = None not in rodata and (rodata[0] or 0) <= start < (rodata[1] or 0)
            writable = name == ".data..ro_after_init" or (section.writable and not constant)
            executable = section.kind != "data"
            kind = section.kind if name == section.name else class_of_section(name, executable=executable)
            found.append(Section(name, kind, start, end, writable, section.index, start - section.start))
    return found


def _address(symbols: SymbolTable, name: str) -> int | None:
    symbol = symbols.named(name)
    return None if symbol is None else symbol.address


def _columns(file: elf.Elf, starts: dict[int, int], machine: Machine) -> Columns:
    """Return the symbol table with flat addresses; a symbol of a section that is not kept is not defined."""
    import numpy as np

    from nostale.outside import elf

    table = file.symbols
    begins, kept = np.zeros(1 << 16, np.uint64), np.zeros(1 << 16, np.bool_)
    for index, start in starts.items():
        begins[index], kept[index] = start, True
    owner = table["section"]
    with np.errstate(over="ignore"):
        address = begins[owner] + table["value"]
    info = table["info"].astype(np.uint8)
    kind = _translated(
        info & np.uint8(15), {elf.SYMBOL_NOTYPE: NOTYPE, elf.SYMBOL_OBJECT: OBJECT, elf.SYMBOL_FUNC: FUNC}, KINDS
    )
    bind = _translated(
        info >> np.uint8(4), {elf.BIND_LOCAL: "local", elf.BIND_GLOBAL: "global", elf.BIND_WEAK: "weak"}, BINDS
    )
    if machine.mapping_symbols:
        letters = np.frombuffer(file.names, np.uint8)
        first, second = letters[table["name"]], letters[np.minimum(table["name"] + 1, len(letters) - 1)]
        marks = (first == ord("$")) & ((second == ord("x")) | (second == ord("d"))) & (kind == KINDS.index(NOTYPE))
        kind = np.where(marks & (bind == BINDS.index("local")), np.uint8(KINDS.index(MAPPING)), kind)
    return Columns(address, kept[owner], table["size"].astype(np.uint64), kind, bind, table["name"], file.names)


def _translated(codes: npt.NDArray[np.uint8], known: dict[int, str], words: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    """Return for each code of the file the number of its word; what has none is `other`."""
    import numpy as np

    table = np.full(16, words.index("other"), np.uint8)
    for code, word in known.items():
        table[code] = words.index(word)
    return table[codes]
