"""Names the cause of each stretch: one function a way of reaching the CPU, `unknown` with what was looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from nostale.contract import Cause, Kind, Work
from nostale.watch.chains import armer, chain
from nostale.watch.details import meanwhile, patched, why_ticking
from nostale.watch.joins import Joins
from nostale.watch.related import wake_event
from nostale.watch.spans import Span
from nostale.watch.trace import WAKING
from nostale.watch.works import (
    SOFTIRQ_NAMES,
    is_schedulers,
    work_of_call,
    work_of_caller,
    work_of_function,
    work_of_raised,
    work_of_sender,
    work_of_softirq,
)

YIELDS: Final = frozenset({"sched_yield"})


def told(span: Span, joins: Joins) -> list[tuple[int, Kind, Cause]]:
    """Return when each thing that ran in a stretch began, how it reached the CPU and its cause, in order."""
    return list(_BY_KIND[span.kind](span, joins))


Told = Iterator[tuple[int, Kind, Cause]]
_WOULD_TELL: Final = "the trace has no {} events, which would tell"
_UNDUE: Final = "nothing expired: the timer it was set for had been set anew or cancelled, or was left to a softirq"


def _call(span: Span, joins: Joins) -> Told:
    """A function-call IPI: one cause for each csd that it ran, or for what was queued and has no entry event."""
    ran = [
        row
        for row in span.parts
        if joins.event(row) == "csd_function_entry" and joins.number(row, "csd_function_entry", "csd")
    ]
    for number, row in enumerate(ran):
        yield (_start(span, joins, number, row), span.kind, _csd_cause(row, joins))
    if ran:
        return
    queued = joins.unrun(span.cpu, span.row)
    for row in queued:  # irq_work sent to another CPU has no entry event
        function = joins.symbol(row, "csd_queue_cpu", "func")
        work = work_of_call(function, joins.stack(row))
        yield (span.start_ns, span.kind, _from_sender(work, row, joins, function=function))
    sent = joins.sent(span.row) if not queued and not joins.trace.has("csd_queue_cpu") else ()
    for row in sent:  # kernels without csd events
        yield (span.start_ns, span.kind, _sent_call_cause(row, joins))
    if not queued and not sent:
        yield (
            span.start_ns,
            span.kind,
            _unsent(
                span,
                joins,
                ("csd_function_entry", "csd_queue_cpu"),
                "no csd_function_entry within it, no unanswered csd_queue_cpu for this CPU",
            ),
        )


def _sent_call_cause(row: int, joins: Joins) -> Cause:
    """The cause of a call as its IPI alone tells it: by the callback where that is the function, else by the stack."""
    callback = joins.symbol(row, joins.event(row), "callback")
    work = work_of_function(callback)
    if work is not Work.UNKNOWN:
        return _from_sender(work, row, joins, function=callback)
    return _from_sender(work_of_caller(joins.stack(row)), row, joins, function=None)


def _csd_cause(row: int, joins: Joins) -> Cause:
    function = joins.symbol(row, "csd_function_entry", "func")
    asked = joins.csd(row)
    if asked is None:
        return Cause(
            work_of_function(function),
            function=function,
            looked_at="no csd_queue_cpu of this csd and CPU: the sender is not known",
        )
    return _from_sender(work_of_call(function, joins.stack(asked)), asked, joins, function=function)


def _from_sender(work: Work, row: int, joins: Joins, *, function: str | None) -> Cause:
    """The cause as the event tells that its sender emitted: who, in which system call, along which stack."""
    trace = joins.trace
    cpu, pid = int(trace.cpu[row]), int(trace.pid[row])
    stack = joins.stack(row)
    looked_at = "" if work is not Work.UNKNOWN else f"{joins.event(row)} of {function or 'no function'}: in no table"
    if joins.in_interrupt(row):  # the thread it interrupted has no part in it
        armed = armer(row, joins)
        if armed is None:
            return Cause(work, cpu=cpu, function=function, stack=stack, looked_at=looked_at, sent_ns=int(trace.ts[row]))
        timer_pid = int(trace.pid[armed])
        return Cause(
            work,
            cpu,
            joins.comm(timer_pid),
            timer_pid,
            function,
            joins.syscall(timer_pid, armed),
            stack,
            looked_at,
            sent_ns=int(trace.ts[row]),
        )
    return Cause(
        work,
        cpu,
        joins.comm(pid),
        pid,
        function,
        joins.call_of(pid, row),
        stack,
        looked_at,
        patched(stack) if work is Work.TEXT_PATCH else "",
        chain(row, joins),
        int(trace.ts[row]),
    )


def _reschedule(span: Span, joins: Joins) -> Told:
    sent = joins.sent(span.row)
    for row in sent:
        callsite = joins.symbol(row, joins.event(row), "callsite")
        work = work_of_sender(callsite, joins.stack(row))
        cause = _from_sender(work, row, joins, function=None)
        if work is Work.UNKNOWN:
            cause = _with(
                cause,
                f"{joins.event(row)} from {callsite or 'an unknown callsite'}: neither it nor its stack is in a table",
            )
        yield (span.start_ns, span.kind, cause)
    if not sent:
        yield (
            span.start_ns,
            span.kind,
            _unsent(span, joins, ("ipi_send_cpu",), "no ipi_send_cpu for this CPU since its last reschedule IPI"),
        )


def _irq_work(span: Span, joins: Joins) -> Told:
    sent = joins.sent(span.row)
    for row in sent:
        function = joins.symbol(row, joins.event(row), "callback")
        yield (span.start_ns, span.kind, _from_sender(work_of_function(function), row, joins, function=function))
    if not sent:
        yield (
            span.start_ns,
            span.kind,
            _unsent(span, joins, ("ipi_send_cpu",), "no ipi_send_cpu with an irq_work callback for this CPU"),
        )


def _timer(span: Span, joins: Joins) -> Told:
    """The local timer: one cause for each timer that expired."""
    expired = [row for row in span.parts if joins.event(row) == "hrtimer_expire_entry"]
    for number, row in enumerate(expired):
        function = joins.symbol(row, "hrtimer_expire_entry", "function")
        work = work_of_function(function)
        start = _start(span, joins, number, row)
        if work is Work.TICK:
            yield (start, Kind.TIMER_TICK, Cause(work, function=function, detail=why_ticking(row, span.cpu, joins)))
        else:
            yield (start, Kind.TIMER, _timer_cause(work, function, joins.armed(row), joins))
    if expired:
        return
    undue = joins.undue(span.row)
    if undue is None:
        yield (span.start_ns, Kind.TIMER, _unknown(span, joins, "no hrtimer_expire_entry within it"))
        return
    function = joins.symbol(undue, "hrtimer_start", "function")
    cause = _timer_cause(work_of_function(function), function, undue, joins)
    yield (span.start_ns, Kind.TIMER, replace(cause, detail=_UNDUE))


def _timer_cause(work: Work, function: str, armed: int | None, joins: Joins) -> Cause:
    looked_at = "" if work is not Work.UNKNOWN else f"hrtimer function {function}: in no table"
    if armed is None or is_schedulers(function) or joins.in_interrupt(armed):
        return Cause(work, function=function, looked_at=looked_at)
    cpu, pid = int(joins.trace.cpu[armed]), int(joins.trace.pid[armed])
    return Cause(work, cpu, joins.comm(pid), pid, function, joins.syscall(pid, armed), joins.stack(armed), looked_at)


def _device(span: Span, joins: Joins) -> Told:
    if span.what != "irq_handler_entry":
        yield (span.start_ns, span.kind, _unknown(span, joins, f"{span.what} tells no more than its vector"))
        return
    name = joins.trace.text(span.row, "irq_handler_entry", "name")
    raised = joins.raised(span.cpu, span.row, span.end_ns) if span.end_ns is not None else set()
    work = work_of_raised(raised)
    looked_at = (
        "" if work is not Work.UNKNOWN else "it raised no softirq that tells; who asked the device is not traced"
    )
    yield (span.start_ns, span.kind, Cause(work, function=name, looked_at=looked_at))


def _softirq(span: Span, joins: Joins) -> Told:
    vector = joins.number(span.row, "softirq_entry", "vec")
    name = SOFTIRQ_NAMES[vector] if vector < len(SOFTIRQ_NAMES) else f"softirq {vector}"
    work = work_of_softirq(vector)
    looked_at = "" if work is not Work.UNKNOWN else f"softirq {name} serves many"
    yield (span.start_ns, span.kind, Cause(work, function=name, looked_at=looked_at))


def _own(span: Span, joins: Joins) -> Told:
    syscall = joins.call_name(span.row) if span.kind is Kind.SYSCALL else None
    yield (span.start_ns, span.kind, _own_cause(span, syscall, joins))


def _own_cause(span: Span, syscall: str | None, joins: Joins) -> Cause:
    return Cause(Work.SELF, span.cpu, joins.comm(span.pid), span.pid, syscall=syscall)


def _nmi(span: Span, joins: Joins) -> Told:
    handler = joins.symbol(span.row, "nmi_handler", "handler")
    work = work_of_function(handler)
    yield (
        span.start_ns,
        span.kind,
        Cause(work, function=handler, looked_at="" if work is not Work.UNKNOWN else "nmi_handler"),
    )


def _switch(span: Span, joins: Joins) -> Told:
    """Another task took the CPU: for its work items, because it was woken, or because the tick thought it its turn."""
    for number, row in enumerate(span.parts):
        function = joins.symbol(row, "workqueue_execute_start", "function")
        queued = joins.queued(row)
        start = _start(span, joins, number, row)
        if queued is None:
            yield (
                start,
                span.kind,
                Cause(Work.WORKQUEUE, function=function, looked_at="no workqueue_queue_work of this work"),
            )
        else:
            yield (start, span.kind, _from_sender(Work.WORKQUEUE, queued, joins, function=function))
    if span.parts:
        return
    taker = joins.comm(span.next_pid) or str(span.next_pid)
    woken = joins.woken(span.row)
    if joins.syscall(span.pid, span.row) in YIELDS:
        yield (span.start_ns, span.kind, _own_cause(span, "sched_yield", joins))
    elif taker.startswith("migration/"):
        yield (span.start_ns, span.kind, _switch_cause(Work.CPU_STOP, woken, taker, joins))
    elif woken is not None:
        yield (span.start_ns, span.kind, _switch_cause(Work.WAKEUP, woken, taker, joins))
    elif span.via is not None and joins.was_runnable(span.row):
        yield (span.start_ns, span.kind, _turn_cause(span.via, taker, joins))
    else:
        yield (
            span.start_ns,
            span.kind,
            _unknown(span, joins, f"no {wake_event(joins.trace)} of {taker}, and no kernel entry just before"),
        )


def _switch_cause(work: Work, woken: int | None, taker: str, joins: Joins) -> Cause:
    if not joins.tells_wakers:
        return Cause(work, function=taker, looked_at=_WOULD_TELL.format(WAKING))
    if woken is None:
        return Cause(work, function=taker, looked_at=f"no {WAKING} of it")
    return _from_sender(work, woken, joins, function=taker)


def _turn_cause(via: Span, taker: str, joins: Joins) -> Cause:
    """The taker had waited for its turn: the cause is what made the scheduler choose anew on the way out of `via`."""
    told = [cause for _, _, cause in _BY_KIND[via.kind](via, joins)]
    chosen = next((cause for cause in told if cause.kind is Work.TICK), told[0])
    return replace(chosen, function=taker)


def _start(span: Span, joins: Joins, number: int, row: int) -> int:
    """The first thing in a stretch also has what came before it; the others start with their own event."""
    return span.start_ns if number == 0 else int(joins.trace.ts[row])


def _with(cause: Cause, looked_at: str) -> Cause:
    return replace(cause, looked_at=looked_at)


def _unsent(span: Span, joins: Joins, events: tuple[str, ...], looked_at: str) -> Cause:
    """`unknown`, of what another CPU sent; where the trace has none of the events that would tell, which those are."""
    lacking = [event for event in events if not joins.trace.has(event)]
    if not lacking:
        return _unknown(span, joins, looked_at)
    cause = _unknown(span, joins, _WOULD_TELL.format(" and no ".join(lacking)))
    return replace(cause, detail=meanwhile(span.row, span.cpu, joins))


def _unknown(span: Span, joins: Joins, looked_at: str) -> Cause:
    """`unknown`; where events were lost around it, that is said first."""
    end = span.end_ns if span.end_ns is not None else span.start_ns
    if joins.trace.lost_between(None, span.start_ns - _LOST_REACH_NS, end):
        looked_at = f"events were lost here; {looked_at}"
    return Cause(Work.UNKNOWN, looked_at=looked_at)


# A sender's event lies at most this long before its interruption; only used to say that loss may explain a missing one.
_LOST_REACH_NS: Final = 10_000_000

_BY_KIND: Final[dict[Kind, Callable[[Span, Joins], Told]]] = {
    Kind.IPI_CALL: _call,
    Kind.IPI_RESCHEDULE: _reschedule,
    Kind.IRQ_WORK: _irq_work,
    Kind.TIMER: _timer,
    Kind.DEVICE_IRQ: _device,
    Kind.SOFTIRQ: _softirq,
    Kind.SYSCALL: _own,
    Kind.PAGE_FAULT: _own,
    Kind.NMI: _nmi,
    Kind.CONTEXT_SWITCH: _switch,
}
