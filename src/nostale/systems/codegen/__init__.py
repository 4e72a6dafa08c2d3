"""codegen: instruction bytes that change while CPUs may execute them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nostale.systems.codegen.contract import MODEL_DRIFT, PATCHABLE_BEFORE_SYNC, SYNC_BEFORE_EXECUTE, WX
from nostale.systems.system import System

if TYPE_CHECKING:
    from nostale.lint import AuditRule, ImageRule, Rule
    from nostale.prove import Model
    from nostale.systems.claims import Bug, Dispute, NotShown
    from nostale.watch import TraceMonitor


def _models() -> tuple[type[Model], ...]:
    from nostale.systems.codegen.double_buffer import DoubleBuffer
    from nostale.systems.codegen.flip import Flip
    from nostale.systems.codegen.fresh_code import FreshCode
    from nostale.systems.codegen.model import TextPoke
    from nostale.systems.codegen.wx_phases import WxPhases

    return (TextPoke, FreshCode, Flip, DoubleBuffer, WxPhases)


def _rules() -> tuple[Rule | ImageRule | AuditRule, ...]:
    from nostale.systems.codegen.image import RULES

    return RULES


def _monitors() -> tuple[TraceMonitor, ...]:
    from nostale.systems.codegen.trace import MONITOR

    return (MONITOR,)


def _bugs() -> tuple[Bug | NotShown, ...]:
    from nostale.systems.codegen.bugs import BUGS

    return BUGS


def _disputes() -> tuple[Dispute, ...]:
    from nostale.systems.codegen.disputes import DISPUTES

    return DISPUTES


SYSTEM = System(
    name="codegen",
    title="code generation and live text patching",
    view="instruction bytes at an address",
    change="code written, patched, freed, reused",
    sync="cache maintenance, core sync, INT3 protocol",
    use="executing it",
    rely="patch done, buffer reused",
    contracts=(SYNC_BEFORE_EXECUTE, WX, PATCHABLE_BEFORE_SYNC, MODEL_DRIFT),
    models=_models,
    rules=_rules,
    monitors=_monitors,
    watched=(SYNC_BEFORE_EXECUTE,),
    bugs=_bugs,
    disputes=_disputes,
)
