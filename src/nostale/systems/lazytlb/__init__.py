"""lazytlb: CPUs that run lazily on a borrowed mm, and membarrier's promise to user-space code generators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nostale.systems.lazytlb.contract import CONTRACTS
from nostale.systems.lazytlb.membarrier import INTERRUPTS
from nostale.systems.system import System

if TYPE_CHECKING:
    from nostale.lint import AuditRule, ImageRule
    from nostale.prove import Model
    from nostale.systems.claims import Bug, Dispute, NotShown
    from nostale.watch import TraceMonitor


def _models() -> tuple[type[Model], ...]:
    from nostale.systems.lazytlb.core_sync import CoreSync, KthreadUseMm
    from nostale.systems.lazytlb.memory_barrier import MemoryBarrier
    from nostale.systems.lazytlb.mm_cid import MmCid
    from nostale.systems.lazytlb.mm_lifetime import MmLifetime
    from nostale.systems.lazytlb.shootdown import Shootdown

    return CoreSync, KthreadUseMm, MemoryBarrier, Shootdown, MmLifetime, MmCid


def _bugs() -> tuple[Bug | NotShown, ...]:
    from nostale.systems.lazytlb.bugs import BUGS

    return BUGS


def _disputes() -> tuple[Dispute, ...]:
    from nostale.systems.lazytlb.disputes import DISPUTES

    return DISPUTES


def _monitors() -> tuple[TraceMonitor, ...]:
    from nostale.systems.lazytlb.trace import MONITOR

    return (MONITOR,)


def _rules() -> tuple[AuditRule | ImageRule, ...]:
    from nostale.systems.lazytlb.image import RULES

    return RULES


SYSTEM = System(
    name="lazytlb",
    title="lazy TLB mode and membarrier's core sync",
    view="user text and translations of an mm, on a CPU that runs lazy or borrowed",
    change="user code rewritten, unmap, mm teardown",
    sync="IPI, CR3 write, core sync at switch or return",
    use="return to user mode, access through the mm",
    rely="membarrier returns, page tables are freed",
    contracts=(*CONTRACTS, INTERRUPTS),
    models=_models,
    rules=_rules,
    bugs=_bugs,
    disputes=_disputes,
    monitors=_monitors,
    watched=(INTERRUPTS,),
)
