"""entry: what a CPU knows of its own context when the kernel is entered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nostale.systems.entry.contract import CONTRACTS
from nostale.systems.system import System

if TYPE_CHECKING:
    from nostale.lint import ImageRule, Rule
    from nostale.prove import Model


def _models() -> tuple[type[Model], ...]:
    from nostale.systems.entry.model import IrqEntry

    return (IrqEntry,)


def _rules() -> tuple[Rule | ImageRule, ...]:
    from nostale.systems.entry.image import RULES

    return RULES


SYSTEM = System(
    name="entry",
    title="the x86 entry rework and noinstr",
    view="kernel context: RCU watching, lockdep, CR3, GS, stack",
    change="exception, interrupt, NMI, syscall",
    sync="the entry code that establishes it",
    use="any instrumentable code",
    rely="a grace period ends",
    contracts=CONTRACTS,
    models=_models,
    rules=_rules,
)
