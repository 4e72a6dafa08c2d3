"""CPU features of x86 as the kernel numbers them: those that decide how it is entered and left, by number and name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Feature:
    """A CPU feature as the kernel numbers it: word * 32 + bit."""

    name: str
    number: int

    def __str__(self) -> str:
        return self.name


# arch/x86/include/asm/cpufeatures.h, v6.1 and v6.12, which agree on these. Those of the synthetic words (3, 7, 8, 11)
# are the kernel's own: of an image that numbers them otherwise both arms are walked, and no entry is found to sync.
ALWAYS = Feature("X86_FEATURE_ALWAYS", 3 * 32 + 21)
PCID = Feature("X86_FEATURE_PCID", 4 * 32 + 17)
PTI = Feature("X86_FEATURE_PTI", 7 * 32 + 11)
XENPV = Feature("X86_FEATURE_XENPV", 8 * 32 + 16)
FSGSBASE = Feature("X86_FEATURE_FSGSBASE", 9 * 32 + 0)
FRED = Feature("X86_FEATURE_FRED", 12 * 32 + 17)
SERIALIZE = Feature("X86_FEATURE_SERIALIZE", 18 * 32 + 14)
FENCE_SWAPGS_USER = Feature("X86_FEATURE_FENCE_SWAPGS_USER", 11 * 32 + 4)
FENCE_SWAPGS_KERNEL = Feature("X86_FEATURE_FENCE_SWAPGS_KERNEL", 11 * 32 + 5)
# Told by name, decided nowhere.
_OTHERS = (
    Feature("X86_FEATURE_CLEAR_CPU_BUF", 3 * 32 + 18),
    Feature("X86_FEATURE_KERNEL_IBRS", 7 * 32 + 12),
    Feature("X86_FEATURE_SMAP", 9 * 32 + 20),
    Feature("X86_FEATURE_ENTRY_IBPB", 11 * 32 + 10),
    Feature("X86_FEATURE_RETHUNK", 11 * 32 + 14),
    Feature("X86_FEATURE_UNRET", 11 * 32 + 15),
    Feature("X86_FEATURE_SRSO", 11 * 32 + 24),
    Feature("X86_FEATURE_SRSO_ALIAS", 11 * 32 + 25),
)
FEATURES = (ALWAYS, PCID, PTI, XENPV, FSGSBASE, FRED, SERIALIZE, FENCE_SWAPGS_USER, FENCE_SWAPGS_KERNEL, *_OTHERS)


def x86_feature(number: int) -> str:
    """Name a feature for a reader, by its word and bit where it is none of those above."""
    known = next((one.name for one in FEATURES if one.number == number), None)
    return known or f"CPU feature {number >> 5}*32+{number & 31}"
