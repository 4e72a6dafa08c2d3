"""Every event of a trace or a machine: who interrupted a CPU, why, and whether a contract was kept."""

from typing import TYPE_CHECKING

from nostale.faces import on_demand
from nostale.watch.analyse import analyse
from nostale.watch.budgets import Budget, judge_budgets, read_budget
from nostale.watch.diff import diff
from nostale.watch.distinct import Distinct, numbers, rows_of_function, texts
from nostale.watch.following import next_of_thread
from nostale.watch.gaps import Gap, read_gaps
from nostale.watch.monitors import Sight, TraceMonitor, run_monitor
from nostale.watch.needs import needed
from nostale.watch.occurrences import Occurrence, Occurrences, Part
from nostale.watch.read import read_trace
from nostale.watch.ring import Lost
from nostale.watch.syscalls import syscall_numbers
from nostale.watch.trace import Trace

if TYPE_CHECKING:
    from nostale.watch.custom import custom_monitor
    from nostale.watch.live import Look, watch_live
    from nostale.watch.rolling import Rolling
    from nostale.watch.sampler import sampling
    from nostale.watch.saving import save
else:
    __getattr__ = on_demand(
        __name__,
        custom="custom_monitor",
        live="Look watch_live",
        rolling="Rolling",
        sampler="sampling",
        saving="save",
    )

__all__ = [
    "Budget",
    "Distinct",
    "Gap",
    "Look",
    "Lost",
    "Occurrence",
    "Occurrences",
    "Part",
    "Rolling",
    "Sight",
    "Trace",
    "TraceMonitor",
    "analyse",
    "custom_monitor",
    "diff",
    "judge_budgets",
    "needed",
    "next_of_thread",
    "numbers",
    "read_budget",
    "read_gaps",
    "read_trace",
    "rows_of_function",
    "run_monitor",
    "sampling",
    "save",
    "syscall_numbers",
    "texts",
    "watch_live",
]
