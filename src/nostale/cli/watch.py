"""nostale watch: who interrupted a CPU and why, in a recording or live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nostale.cli.common import progress, read_text, render, timeline_options
from nostale.cli.live import Live, duration_ns, record_live
from nostale.contract import Answer, BadInput
from nostale.systems.catalogue import SYSTEMS

if TYPE_CHECKING:
    from nostale.watch import Budget, Gap, Trace, TraceMonitor

LIVE = "live"
_FILE = click.Path(path_type=Path)
_MOST_CPUS = 1 << 13


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of a trace.

    Args:
        cpus: the watched CPUs, None for all.
        pid: one thread only.
        own: whether the tasks' own kernel entries are listed.
        what_if: whether it is said which measures would have spared each break.
        gaps: gap samples, None where there are none.
        kallsyms: the symbols of a recording that has none.
        budgets, monitors: what is judged. Without budgets and monitors of the user's own, the contracts of the systems.
    """

    cpus: tuple[int, ...] | None = None
    pid: int | None = None
    own: bool = True
    what_if: bool = False
    gaps: tuple[Gap, ...] | None = None
    budgets: tuple[Budget, ...] = ()
    monitors: tuple[TraceMonitor, ...] = ()
    kallsyms: Path | None = None

    def judged(self) -> Sequence[TraceMonitor]:
        """Return the contracts that are judged."""
        return self.monitors if self.monitors or self.budgets else _monitors()

    def folds_but(self) -> frozenset[str] | None:
        """Return of which system calls it is not enough to count those in which nothing happened; None of any."""
        seen = {event for one in self.judged() for event in one.events}
        listed = self.own or self.what_if or bool(self.budgets) or self.gaps is not None
        if listed or seen & {"sys_enter", "sys_exit"}:
            return None
        return frozenset(name for one in self.judged() for name in one.calls)


@click.command()
@click.argument("trace", default=LIVE, metavar="[TRACE|live]")
@click.option("--cpu", "cpus", metavar="LIST", help="Watch these CPUs, such as 1 or 2-5,8. Default: all.")
@click.option("--pid", type=click.IntRange(1), help="Only interruptions of this thread, wherever it runs.")
@click.option("--seconds", type=click.FloatRange(0.1, 86400), help="Watch live this long. Default: 10.")
@click.option("--until-break", metavar="LENGTH", help="Live: stop at a break of 10us or more; keep what led to it.")
@click.option("--record", type=_FILE, metavar="FILE.dat", help="Live: save the recording there.")
@click.option("--sample-gaps", is_flag=True, help="Live: let a task spin on the CPUs of --cpu and note its gaps.")
@click.option("--memory", is_flag=True, help="Live: record DMA mappings and IOMMUs, too.")
@click.option("--own/--no-own", default=True, help="List the tasks' own system calls and page faults too.")
@click.option("--gaps", type=_FILE, metavar="FILE", help="Gaps that a task saw (JSON): tell those the kernel did not.")
@click.option("--what-if", is_flag=True, help="Say of each break which measures would have spared it.")
@click.option("--budget", "budgets", multiple=True, metavar="CAUSE=N", help="Exit 1 on more breaks than N; repeatable.")
@click.option("--contract", type=_FILE, metavar="FILE.dot", help="Judge this automaton instead of the contracts.")
@click.option("--bind", type=_FILE, metavar="FILE.toml", help="By what trace events its events are seen.")
@click.option("--diff", nargs=2, metavar="OLD NEW", help="What changed between two recordings, by cause.")
@click.option("--kallsyms", type=_FILE, metavar="FILE", help="The recorded machine's /proc/kallsyms, for a perf.data.")
@timeline_options
def watch(
    trace: str,
    cpus: str | None,
    pid: int | None,
    seconds: float | None,
    until_break: str | None,
    record: Path | None,
    sample_gaps: bool,
    memory: bool,
    own: bool,
    gaps: Path | None,
    what_if: bool,
    budgets: tuple[str, ...],
    contract: Path | None,
    bind: Path | None,
    diff: tuple[str, str] | None,
    kallsyms: Path | None,
    form: str,
    output: Path | None,
    color: str,
) -> int:
    """Name every interruption of the watched CPUs with its cause, in a recording or on this machine.

    \b
    nostale watch trace.dat --cpu 1            a recording by trace-cmd (clock mono)
    nostale watch perf.data --cpu 1            a recording by perf (-k mono) of tracepoints
    nostale watch trace.txt --cpu 1            ftrace's text, or trace-cmd report's
    nostale watch live --cpu 1 --seconds 5     this machine; needs root and tracefs
    nostale watch live --cpu 1 --until-break 10us      a flight recorder; saves nostale-break.dat
    nostale watch live --cpu 1 --sample-gaps           also what host, SMI and firmware take
    nostale watch trace.dat --cpu 1 --budget text-patch=0 --budget any=100
    nostale watch trace.dat --contract wwnr.dot --bind wwnr.toml
    nostale watch --diff old.dat new.dat --cpu 1
    nostale watch trace.dat --cpu 1 --format html -o breaks.html
    nostale watch trace.dat --cpu 1 --format perfetto -o breaks.json     opens in ui.perfetto.dev

    With --budget or --contract those alone are judged, and not the contracts that are judged otherwise.
    """
    ask = Ask(
        cpus=None if cpus is None else cpu_list(cpus),
        pid=pid,
        own=own,
        what_if=what_if,
        gaps=_gaps(gaps),
        budgets=_budgets(budgets),
        kallsyms=kallsyms,
        monitors=_custom(contract, bind),
    )
    live = Live(seconds, None if until_break is None else duration_ns(until_break), record, sample_gaps, memory)
    if trace != LIVE and live != Live():
        raise click.UsageError("--seconds, --until-break, --record, --sample-gaps and --memory are for watching live")
    if diff and form == "perfetto":
        raise click.UsageError("a difference of two recordings has no timeline: --format text, json or html")
    if diff:
        return render(_differing(diff, ask), form, output, color)
    answer = watch_live(live, ask) if trace == LIVE else watch_recording(Path(trace), ask)
    return render(answer, form, output, color)


def watch_recording(path: Path, ask: Ask | None = None) -> Answer:
    """Analyse a recording."""
    ask = ask or Ask()
    from nostale.watch import needed, read_trace

    with progress(f"watch {path}") as tell:
        # A gap is silent where no event of any kind lies in it.
        wanted = None if ask.gaps is not None else needed(ask.judged())
        trace = read_trace(path, wanted, fold_but=ask.folds_but(), kallsyms=ask.kallsyms)
        return _answer(trace, ask, tell)


def watch_live(live: Live, ask: Ask | None = None) -> Answer:
    """Watch this machine.

    Raises:
        NotPermitted, NotHere: tracing is not to be had.
    """
    ask = ask or Ask()
    trace, samples = record_live(live, ask.cpus, ask.pid)
    gaps = ask.gaps if samples is None else (*(ask.gaps or ()), *samples)
    with progress("this machine") as tell:
        return _answer(trace, replace(ask, gaps=gaps), tell)


def _answer(trace: Trace, ask: Ask, tell: Callable[[str], None]) -> Answer:
    from nostale.watch import analyse, judge_budgets

    answer = analyse(
        trace,
        ask.cpus,
        ask.judged(),
        pid=ask.pid,
        own=ask.own or any(one.counts_own for one in ask.budgets),
        gaps=ask.gaps,
        what_if=ask.what_if,
        progress=tell,
    )
    return replace(answer, results=(*answer.results, *judge_budgets(answer, ask.budgets)))


def _differing(paths: tuple[str, str], ask: Ask) -> Answer:
    from nostale.watch import diff

    old, new = (watch_recording(Path(path), replace(ask, budgets=())) for path in paths)
    return diff(old, new)


def _gaps(path: Path | None) -> tuple[Gap, ...] | None:
    if path is None:
        return None
    from nostale.watch import read_gaps

    return read_gaps(read_text(path), str(path))


def _custom(contract: Path | None, bind: Path | None) -> tuple[TraceMonitor, ...]:
    if bool(contract) != bool(bind):
        raise click.UsageError("--contract FILE.dot and --bind FILE.toml belong together")
    if contract is None or bind is None:
        return ()
    from nostale.watch import custom_monitor

    return (custom_monitor(read_text(contract), str(contract), read_text(bind), str(bind)),)


def _budgets(texts: tuple[str, ...]) -> tuple[Budget, ...]:
    if not texts:
        return ()
    from nostale.watch import read_budget

    return tuple(map(read_budget, texts))


def _monitors() -> list[TraceMonitor]:
    return [monitor for system in SYSTEMS for monitor in system.monitors()]


def cpu_list(text: str) -> tuple[int, ...]:
    """Read a list of CPUs as the kernel writes them.

    >>> cpu_list("1,4-6")
    (1, 4, 5, 6)

    Raises:
        BadInput: it is not such a list.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise BadInput(f"--cpu {text}", f"{part!r} is not a CPU or a range of them", remedy="such as --cpu 1,4-6")
        low, high = int(first), int(last or first)
        if high < low or high >= _MOST_CPUS:
            raise BadInput(f"--cpu {text}", f"{part!r} is no range of CPUs", remedy="such as --cpu 1,4-6")
        found.update(range(low, high + 1))
    return tuple(sorted(found))
