"""How many interruptions of a cause one is ready to bear: kept, exceeded, or not to be told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from nostale.contract import Answer, BadInput, Holds, Interruption, Result, Step, Unknown, Verdict, Violated, Work

ANY: Final = "any"
_SHOWN: Final = 20
# Without one of these whole kinds of interruption are not seen; without another only their causes are.
_SHOW: Final = frozenset(
    {
        "local_timer_entry",
        "reschedule_entry",
        "call_function_entry",
        "call_function_single_entry",
        "irq_work_entry",
        "irq_handler_entry",
        "softirq_entry",
        "sched_switch",
        "page_fault_user",
        "sys_enter",
    }
)


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `most` interruptions by `cause`, None for all causes together."""

    cause: Work | None
    most: int

    @property
    def counts_own(self) -> bool:
        """Whether the tasks' own kernel entries count."""
        return self.cause in (None, Work.SELF)

    @property
    def word(self) -> str:
        """The cause as it is typed."""
        return ANY if self.cause is None else str(self.cause)


def read_budget(text: str) -> Budget:
    """Read `CAUSE=N`.

    Raises:
        BadInput: no such cause, or no number.

    >>> read_budget("text-patch=0").most, read_budget("any=10").word
    (0, 'any')
    """
    word, _, number = text.partition("=")
    where = f"--budget {text}"
    if word != ANY and word not in list(Work):
        raise BadInput(where, f"no cause {word!r}", remedy=f"one of {', '.join([ANY, *Work])}")
    if not number.isdecimal() or len(number) > 18:
        raise BadInput(where, f"{number!r} is not a number of interruptions", remedy="such as --budget text-patch=0")
    return Budget(None if word == ANY else Work(word), int(number))


def judge_budgets(answer: Answer, budgets: Iterable[Budget]) -> tuple[Result, ...]:
    """Return a verdict for each budget on the interruptions of an answer."""
    return tuple(
        Result(
            id=f"isolation.budget-{budget.word}",
            title=f"at most {budget.most:,} interruptions, cause: {budget.word}",
            why="",
            requirements=(),
            verdict=_verdict(budget, answer),
        )
        for budget in budgets
    )


def _verdict(budget: Budget, answer: Answer) -> Verdict:
    breaks = answer.breaks or ()
    mine = [one for one in breaks if budget.cause in (None, one.cause.kind)]
    if len(mine) > budget.most:
        last = budget.most + 1
        first = max(0, last - _SHOWN)
        return Violated(tuple(_step(first + n, one) for n, one in enumerate(mine[first:last], 1)))
    return _within(budget, len(mine), breaks, answer)


def _within(budget: Budget, counted: int, breaks: Sequence[Interruption], answer: Answer) -> Verdict:
    """Kept, unless interruptions that were not seen or not explained could exceed it."""
    coverage = answer.coverage
    lost, listed = coverage.get("events_lost", 0), coverage.get("events_missing", [])
    missing = [f"{lost} events were lost"] if lost or coverage.get("gaps") else []
    missing += [f"no {event} events" for event in (listed if isinstance(listed, list) else []) if event in _SHOW]
    unexplained = sum(one.cause.kind is Work.UNKNOWN for one in breaks)
    if budget.cause not in (None, Work.UNKNOWN) and counted + unexplained > budget.most:
        missing.append(f"the causes of {unexplained} interruptions")
    if missing:
        return Unknown(f"{counted:,} were seen, and not everything could be", tuple(missing))
    return Holds((f"{counted:,} of {len(breaks):,} interruptions",))


def _step(number: int, one: Interruption) -> Step:
    cause = one.cause
    sender = f", sent by {cause.task}-{cause.pid}" if cause.task else ""
    return Step(f"CPU {one.cpu}", str(one.kind), f"interruption {number}: {cause.kind}{sender}", time_ns=one.start_ns)
