"""What must hold: observers, events, contracts, automata, bindings, verdicts and paths. Standard library only."""

from typing import TYPE_CHECKING

from nostale.contract.answer import Answer, Checked, Result, Search, Table
from nostale.contract.automaton import BEYOND, FRESH, STALE, Automaton, depth_automaton, rule_automaton
from nostale.contract.binding import Binding, Bound, Grade
from nostale.contract.breaks import Alike, Breaks, Sum, totals
from nostale.contract.contracts import Contract
from nostale.contract.errors import BadInput, NostaleError, NotHere, NotPermitted
from nostale.contract.events import Event, Role
from nostale.contract.interruption import (
    Cause,
    Change,
    Interruption,
    Kind,
    Link,
    Total,
    Vanishes,
    WhatIf,
    Work,
)
from nostale.contract.judge import Evidence, Witness, judge
from nostale.contract.monitor import UNNAMED, Keys, Monitor
from nostale.contract.path import Changed, Path, Step
from nostale.contract.sources import Requirement, Source
from nostale.contract.verdict import Holds, Unknown, Verdict, Violated, worst
from nostale.faces import on_demand

if TYPE_CHECKING:
    from nostale.contract.baseline import Accepted, Baseline, read_baseline
    from nostale.contract.comparison import compare
    from nostale.contract.dot import read_dot, write_dot
    from nostale.contract.finding import FindingKey, finding_key, leaves, stable
    from nostale.contract.page import Page
else:
    __getattr__ = on_demand(
        __name__,
        baseline="Accepted Baseline read_baseline",
        comparison="compare",
        dot="read_dot write_dot",
        finding="FindingKey finding_key leaves stable",
        page="Page",
    )

__all__ = [
    "BEYOND",
    "FRESH",
    "STALE",
    "UNNAMED",
    "Accepted",
    "Alike",
    "Answer",
    "Automaton",
    "BadInput",
    "Baseline",
    "Binding",
    "Bound",
    "Breaks",
    "Cause",
    "Change",
    "Changed",
    "Checked",
    "Contract",
    "Event",
    "Evidence",
    "FindingKey",
    "Grade",
    "Holds",
    "Interruption",
    "Keys",
    "Kind",
    "Link",
    "Monitor",
    "NostaleError",
    "NotHere",
    "NotPermitted",
    "Page",
    "Path",
    "Requirement",
    "Result",
    "Role",
    "Search",
    "Source",
    "Step",
    "Sum",
    "Table",
    "Total",
    "Unknown",
    "Vanishes",
    "Verdict",
    "Violated",
    "WhatIf",
    "Witness",
    "Work",
    "compare",
    "depth_automaton",
    "finding_key",
    "judge",
    "leaves",
    "read_baseline",
    "read_dot",
    "rule_automaton",
    "stable",
    "totals",
    "worst",
    "write_dot",
]
