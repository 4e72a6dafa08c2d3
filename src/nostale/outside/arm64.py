"""The A64 decoder, as far as control flow needs it: words in, plain tuples out, in bulk.

Ours, because it is little and has to be fast: every instruction is one little-endian word, and what passes control on
is one group of the encoding (bits 28:26 are 101: branches, exception generation and system instructions). Unassigned
encodings are told inside of that group and of the reserved ones; elsewhere a word counts as an instruction that goes on
to the next one, whatever it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import repeat
from typing import TYPE_CHECKING

from nostale.outside.instruction import Instruction, Kind

if TYPE_CHECKING:
    import numpy as np  # loaded only where an image is decoded, not where rules are listed
    import numpy.typing as npt

_WORD_BYTES, _PAGE_BYTES = 4, 4096

# (mask, value, kind): the first that fits. Arm ARM DDI 0487, C4.1.66 (branches, exception generating and system
# instructions), with FEAT_PAuth and FEAT_HBC.
_FORMS = (
    (0xFC00_0000, 0x1400_0000, Kind.JUMP),  # B
    (0xFC00_0000, 0x9400_0000, Kind.CALL),  # BL
    (0xFF00_0000, 0x5400_0000, Kind.BRANCH),  # B.cond, BC.cond
    (0x7E00_0000, 0x3400_0000, Kind.BRANCH),  # CBZ, CBNZ
    (0x7E00_0000, 0x3600_0000, Kind.BRANCH),  # TBZ, TBNZ
    (0xFFFF_FC1F, 0xD61F_0000, Kind.JUMP_INDIRECT),  # BR
    (0xFFFF_F81F, 0xD61F_081F, Kind.JUMP_INDIRECT),  # BRAAZ, BRABZ
    (0xFFFF_F800, 0xD71F_0800, Kind.JUMP_INDIRECT),  # BRAA, BRAB
    (0xFFFF_FC1F, 0xD63F_0000, Kind.CALL_INDIRECT),  # BLR
    (0xFFFF_F81F, 0xD63F_081F, Kind.CALL_INDIRECT),  # BLRAAZ, BLRABZ
    (0xFFFF_F800, 0xD73F_0800, Kind.CALL_INDIRECT),  # BLRAA, BLRAB
    (0xFFFF_FC1F, 0xD65F_0000, Kind.RETURN),  # RET
    (0xFFFF_FBFF, 0xD65F_0BFF, Kind.RETURN),  # RETAA, RETAB
    (0xFFFF_FFFF, 0xD69F_03E0, Kind.RESUME),  # ERET
    (0xFFFF_FBFF, 0xD69F_0BFF, Kind.RESUME),  # ERETAA, ERETAB
    (0xFFFF_FFFF, 0xD6BF_03E0, Kind.RESUME),  # DRPS
    (0xFFFF_FFFF, 0xD503_201F, Kind.PAD),  # NOP
    (0xFFC0_0000, 0xD500_0000, Kind.NEXT),  # hints (BTI, PACIASP ...), barriers, MSR, MRS, SYS, SYSL
    # BRK by its immediate, arch/arm64/include/asm/brk-imm.h, v6.12: those of the debugger, KASAN and kCFI come back;
    # a BUG's (0x800) does where __bug_table says that it warns, a fault's, UBSAN's and the compiler's do not.
    (0xFFFF_FFFF, 0xD420_0000 | 0x400 << 5, Kind.NEXT),  # KGDB_DYN_DBG_BRK_IMM
    (0xFFFF_E01F, 0xD420_0000 | 0x900 << 5, Kind.NEXT),  # KASAN_BRK_IMM and its mask
    (0xFFFF_801F, 0xD420_0000 | 0x8000 << 5, Kind.NEXT),  # CFI_BRK_IMM_BASE and its mask
    (0xFFE0_001F, 0xD420_0000, Kind.STOP),  # BRK
    (0xFFE0_001F, 0xD400_0001, Kind.NEXT),  # SVC
    (0xFFE0_001F, 0xD400_0002, Kind.NEXT),  # HVC
    (0xFFE0_001F, 0xD400_0003, Kind.NEXT),  # SMC
    (0xFFE0_001F, 0xD440_0000, Kind.NEXT),  # HLT: the debugger steps over it
    (0xFFE0_001F, 0xD460_0000, Kind.NEXT),  # TCANCEL
    (0xFFE0_001C, 0xD4A0_0000, Kind.NEXT),  # DCPS1, DCPS2, DCPS3
)
_GROUP, _GROUP_VALUE = 0x1C00_0000, 0x1400_0000
_TOP_SHIFT = 21  # the bits above tell most forms by themselves
_DEEPER = 255  # the others are told word by word: there are few different ones, RET, NOP and PACIASP mostly


def decode(code: bytes | memoryview, address: int) -> list[Instruction]:
    """Decode from the first word to the last.

    Returns:
        One tuple a word, in order; what is left of a word at the end is `INVALID`. Cost: about 0.3 us an instruction,
        nearly all of it for the tuples.
    """
    import numpy as np

    whole = len(code) // _WORD_BYTES
    words = np.frombuffer(code, "<u4", whole)
    kinds, targets = classify(words, address)
    addresses = range(address, address + whole * _WORD_BYTES, _WORD_BYTES)
    names = tuple(Kind)
    found = list(zip(addresses, repeat(_WORD_BYTES), map(names.__getitem__, kinds.tolist()), targets.tolist()))
    left = len(code) - whole * _WORD_BYTES
    return [*found, (address + whole * _WORD_BYTES, left, Kind.INVALID, 0)] if left else found


@dataclass(frozen=True, slots=True)
class Fields:
    """What one instruction tells of a switch table.

    Args:
        into: the register that it writes.
        base: the register that a load's address begins with, and what ADD adds to.
        page: the page that ADRP makes the address of.
        added: the immediate that ADD adds.
        index_bytes: how much a load with a register as its offset reads, 0 where it is not one.
        compared: the immediate that CMP compares with.
    """

    into: int
    base: int
    page: int | None
    added: int | None
    index_bytes: int
    compared: int | None


def fields(word: int, address: int) -> Fields:
    """Read the fields of one word (Arm ARM DDI 0487, C6.2: ADRP, ADD, LDRB, LDRH, LDR (register), SUBS (immediate))."""
    page = _distance(word) * _PAGE_BYTES + (address & -_PAGE_BYTES) if word & 0x9F00_0000 == 0x9000_0000 else None
    immediate = word >> 10 & 0xFFF
    load = word & 0x3F60_0C00 == 0x3860_0800 and word >> 30 < 3
    return Fields(
        word & 31,
        word >> 5 & 31,
        page,
        immediate if word & 0xFFC0_0000 == 0x9100_0000 else None,
        1 << (word >> 30) if load else 0,
        immediate if word & 0x7FC0_001F == 0x7100_001F else None,
    )


def _distance(word: int) -> int:
    """Return the signed immediate of ADR and ADRP."""
    distance = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
    return distance - ((distance & 1 << 20) << 1)


def classify(words: npt.NDArray[np.uint32], address: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
    """Tell kinds and targets of consecutive words from `address` on: (n,) as numbers of `Kind`, (n,) modulo 2^64."""
    import numpy as np

    kinds = _by_top()[words >> _TOP_SHIFT]
    deeper = np.flatnonzero(kinds == _DEEPER)
    if len(deeper):
        different, which = np.unique(words[deeper], return_inverse=True)
        kinds[deeper] = np.array([_kind_of(word) for word in different.tolist()], np.uint8)[which]
    targets = np.zeros(len(words), np.uint64)
    near = np.flatnonzero((kinds == Kind.JUMP) | (kinds == Kind.CALL) | (kinds == Kind.BRANCH))
    targets[near] = np.uint64(address) + (near * _WORD_BYTES + _distances(words[near])).view(np.uint64)
    return kinds, targets


@lru_cache(maxsize=1 << 16)
def _kind_of(word: int) -> Kind:
    """Tell one word: slow, obvious, and what the table of the top bits is made from."""
    if word >> 16 == 0:
        return Kind.STOP  # UDF
    if word >> 25 & 15 in (0b0001, 0b0011):
        return Kind.INVALID  # reserved, C4.1
    if word & _GROUP != _GROUP_VALUE:
        return Kind.NEXT
    return next((kind for mask, value, kind in _FORMS if word & mask == value), Kind.INVALID)


@cache
def _by_top() -> npt.NDArray[np.uint8]:
    """Return the kind by a word's top bits, `_DEEPER` where they do not tell: (2048,) uint8."""
    import numpy as np

    low = (1 << _TOP_SHIFT) - 1
    deeper = {value >> _TOP_SHIFT for mask, value, _ in _FORMS if mask & low} | {0}
    kinds = [_DEEPER if top in deeper else _kind_of(top << _TOP_SHIFT) for top in range(1 << 32 - _TOP_SHIFT)]
    return np.array(kinds, np.uint8)


def _distances(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Return how far each near branch goes, in bytes: imm26, imm19 or imm14, in words."""
    import numpy as np

    signed = words.astype(np.int64)
    wide = (words & 0x7C00_0000) == 0x1400_0000
    test = (words & 0x7E00_0000) == 0x3600_0000
    imm26, imm19, imm14 = (((signed << shift) & 0xFFFF_FFFF).astype(np.uint32).view(np.int32) for shift in (6, 8, 13))
    distances = np.where(wide, imm26 >> 6, np.where(test, imm14 >> 18, imm19 >> 13))
    # imm19 and imm14 stand above the register: 5 bits that are shifted out with the rest of what is not theirs.
    return distances.astype(np.int64) * _WORD_BYTES


def constants(code: bytes, address: int) -> list[tuple[int, int, bool]]:
    """Return what an instruction holds that names a place by itself: none does, but adr; adrp needs the next one.

    Returns:
        (offset of the field in the instruction, place, whether the field is a distance from the instruction).
    """
    word = int.from_bytes(code[:4], "little")
    if word & 0x9F000000 != 0x10000000:  # ADR
        return []
    return [(0, address + _distance(word), True)]
