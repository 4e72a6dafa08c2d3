"""isolation: a CPU left alone in user space, and the work that is deferred until it comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nostale.systems.isolation.contract import CONTRACTS
from nostale.systems.system import System

if TYPE_CHECKING:
    from nostale.lint import ImageRule
    from nostale.prove import Model
    from nostale.systems.claims import Bug, Dispute, NotShown


def _models() -> tuple[type[Model], ...]:
    from nostale.systems.isolation.deferral import Cr3CatchUp, TellEverybody, WorkBit
    from nostale.systems.isolation.kernel_tlb import KernelTlb
    from nostale.systems.isolation.status_word import StatusWord

    return (TellEverybody, WorkBit, Cr3CatchUp, KernelTlb, StatusWord)


def _rules() -> tuple[ImageRule, ...]:
    from nostale.systems.isolation.image import RULES

    return RULES


def _bugs() -> tuple[Bug | NotShown, ...]:
    from nostale.systems.isolation.bugs import BUGS

    return BUGS


def _disputes() -> tuple[Dispute, ...]:
    from nostale.systems.isolation.disputes import DISPUTES

    return DISPUTES


SYSTEM = System(
    name="isolation",
    title="task isolation with deferred synchronisation",
    view="kernel text and mappings, on a CPU left alone in user space",
    change="text patched, range unmapped, by a housekeeping CPU",
    sync="IPI, or a catch-up on the next kernel entry",
    use="first instruction or access that depends on it",
    rely="patch returns, pages are freed",
    contracts=CONTRACTS,
    models=_models,
    rules=_rules,
    bugs=_bugs,
    disputes=_disputes,
)
