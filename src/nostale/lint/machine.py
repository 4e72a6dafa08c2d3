"""What differs from one processor architecture to the other, in one table: decoder, relocations, fillers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nostale.lint.features import x86_feature
from nostale.outside import arm64, x86
from nostale.outside.instruction import Instruction


@dataclass(frozen=True, slots=True)
class Machine:
    """One architecture.

    Args:
        name: as Linux calls it.
        decode: (bytes, address) to the instructions.
        absolute: relocation type to the bytes it fills in, where an address is.
        relative: likewise, where the distance from the place is: of data, and of an instruction's displacement.
        pointer: the relocation of a pointer in data.
        from_end: whether a displacement counts from the end of its instruction, and so a relocation's addend too.
        landing_pads: instructions that a jump to a function may have skipped: they only check how it was reached.
        barriers: instructions that stand behind a return for what is speculated past it, and are never run.
        trap_bytes: how long the instruction of BUG() and WARN() is.
        feature: what an alternative is chosen by, told to a reader.
        callback_bit: set in the feature of an alternative that a function of the kernel writes at boot.
        vectors: whether exceptions enter by tables of 16 slots, 2 KB each, that the code is laid out for.
        mapping_symbols: whether symbols $x and $d tell code from data in it.
        self_relocated: the relocation of a word that a linked image fills in itself, where it is loaded.
        constants: (bytes of an instruction, address) to what in it may name a place: (offset of the field, place,
            whether the field holds the distance).
    """

    name: str
    decode: Callable[[bytes | memoryview, int], list[Instruction]]
    absolute: Mapping[int, int]
    relative: Mapping[int, int]
    pointer: int
    from_end: bool
    landing_pads: tuple[bytes, ...]
    barriers: frozenset[bytes]
    trap_bytes: int
    feature: Callable[[int], str]
    callback_bit: int
    vectors: bool
    mapping_symbols: bool
    self_relocated: int
    constants: Callable[[bytes, int], list[tuple[int, int, bool]]]


def _arm64_capability(number: int) -> str:
    by = ", written by a callback" if number & ARM64.callback_bit else ""
    return f"CPU capability {number & ~ARM64.callback_bit}{by}"


X86_64 = Machine(
    name="x86-64",
    decode=x86.decode,
    absolute={1: 8, 10: 4, 11: 4},  # R_X86_64_*, System V ABI, table 4.9
    relative={2: 4, 4: 4, 24: 8},
    pointer=1,
    from_end=True,
    landing_pads=(b"\xf3\x0f\x1e\xfa",),  # endbr64
    barriers=frozenset(),
    trap_bytes=2,
    feature=x86_feature,
    callback_bit=0,
    vectors=False,
    mapping_symbols=False,
    self_relocated=8,
    constants=x86.constants,
)
ARM64 = Machine(
    name="arm64",
    decode=arm64.decode,
    absolute={257: 8, 258: 4},  # R_AARCH64_*, ELF for the Arm 64-bit Architecture, section 5.7
    relative={260: 8, 261: 4},
    pointer=257,
    from_end=False,
    landing_pads=(b"\x5f\x24\x03\xd5", b"\x9f\x24\x03\xd5", b"\xdf\x24\x03\xd5"),  # bti c, bti j, bti jc
    barriers=frozenset({b"\x9f\x37\x03\xd5", b"\xdf\x3f\x03\xd5", b"\xff\x30\x03\xd5"}),  # dsb nsh, isb, sb
    trap_bytes=4,
    feature=_arm64_capability,
    callback_bit=1 << 15,  # ARM64_CB_BIT, arch/arm64/include/asm/alternative-macros.h, v6.12
    vectors=True,
    mapping_symbols=True,
    self_relocated=1027,
    constants=arm64.constants,
)
BY_ELF_NUMBER: Mapping[int, Machine] = {62: X86_64, 183: ARM64}
