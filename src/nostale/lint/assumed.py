"""What is taken for granted of the machine and of the moment: CPU features, and where the entry came from.

Boot-time alternatives are applied once, by features. Under an assumption, the arm of each that is in place is known, or
both are walked where the assumption says nothing of its feature. Without one every arm is walked, which is right for a
rule that must hold on every machine, and over-reports for one that asks about a single one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nostale.lint.features import ALWAYS, Feature
from nostale.lint.tables import Group, Replacement


class Came(StrEnum):
    """What an entry interrupted."""

    USER = "user mode"
    ENTRY = "kernel entry code that has not switched to the kernel's page tables yet"


@dataclass(frozen=True, slots=True)
class Assumed:
    """A machine past boot, alternatives applied.

    Args:
        name: as it is told, such as `PTI`.
        on: features that it has.
        off: features that it lacks. Of a feature in neither, both arms are walked.
        came: what entries interrupt, where that is known: what tests the saved CS, or CR3, finds just that.
    """

    name: str
    on: frozenset[Feature] = frozenset()
    off: frozenset[Feature] = frozenset()
    came: Came | None = None

    def arms(self, group: Group) -> tuple[tuple[Replacement, ...], bool]:
        """Return the replacements of a group that may be in place, and whether its original may.

        Entries are applied in table order, each over what is there: the last one whose feature is there has it
        (arch/x86/kernel/alternative.c, apply_alternatives(), v6.12).
        """
        on = {one.number for one in self.on} | {ALWAYS.number}
        off = {one.number for one in self.off}
        found: list[Replacement] = []
        for one in reversed(group.replacements):
            applied = one.feature in (off if one.inverted else on)
            if applied or one.feature not in (on if one.inverted else off):
                found.append(one)
            if applied:
                return tuple(reversed(found)), False
        return tuple(reversed(found)), True
