"""Interruptions as Chrome trace events, which ui.perfetto.dev and chrome://tracing open.

A process stands for a CPU, a thread for a task that was interrupted there or that sent something from there; an
interruption is a slice of its task's, what was sent a slice of a nanosecond on a track of its own with an arrow to the
interruption.

Source:
    "Trace Event Format" (Google): phases X, i, M, s and f; times in microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from nostale.contract import Answer, Interruption

Event = dict[str, Any]
_SENT_US: Final = 0.001
_SENDER: Final = 1 << 22  # above any thread id (PID_MAX_LIMIT): what a thread sent has a track of its own


def to_perfetto(answer: Answer) -> str:
    """Return the interruptions of an answer, and of its parts, as one JSON object with a final line break."""
    breaks = sorted(_breaks(answer), key=lambda one: (one.start_ns, -(one.end_ns or one.start_ns), one.cpu))
    events = [*_names(breaks), *(event for number, one in enumerate(breaks) for event in _events(number, one))]
    made = {
        "displayTimeUnit": "ns",
        "otherData": {"command": "nostale watch", "target": answer.target, "verdict": answer.verdict},
        "traceEvents": events,
    }
    return json.dumps(made, sort_keys=True, ensure_ascii=True, separators=(",", ":")) + "\n"


def _breaks(answer: Answer) -> Iterator[Interruption]:
    yield from answer.breaks or ()
    for part in answer.parts:
        yield from _breaks(part)


def _names(breaks: Sequence[Interruption]) -> Iterator[Event]:
    tracks = {(one.cpu, one.pid or 0): f"{one.task or '?'}-{one.pid or 0}" for one in breaks}
    for one in breaks:
        if one.cause.cpu is not None and one.cause.pid is not None:
            name = f"{one.cause.task or '?'}-{one.cause.pid} sends"
            tracks.setdefault((one.cause.cpu, _SENDER + one.cause.pid), name)
    for cpu in sorted({cpu for cpu, _ in tracks}):
        yield {"ph": "M", "name": "process_name", "pid": cpu, "tid": 0, "args": {"name": f"CPU {cpu}"}}
        yield {"ph": "M", "name": "process_sort_index", "pid": cpu, "tid": 0, "args": {"sort_index": cpu}}
    for (cpu, track), name in sorted(tracks.items()):
        yield {"ph": "M", "name": "thread_name", "pid": cpu, "tid": track, "args": {"name": name}}


def _events(number: int, one: Interruption) -> Iterator[Event]:
    track = {"pid": one.cpu, "tid": one.pid or 0, "cat": str(one.kind)}
    name = f"{one.cause.kind} {one.cause.function or one.cause.syscall or ''}".strip()
    made = {**track, "name": name, "ts": one.start_ns / 1e3, "args": _told(one)}
    if one.end_ns is None:
        yield {**made, "ph": "i", "s": "t"}  # no known end
    else:
        yield {**made, "ph": "X", "dur": (one.end_ns - one.start_ns) / 1e3}
    yield from _sent(number, one, track)


def _sent(number: int, one: Interruption, track: Event) -> Iterator[Event]:
    """The sender's slice, and an arrow from it to the interruption."""
    cause = one.cause
    if cause.sent_ns is None or cause.cpu is None or cause.pid is None or one.end_ns is None:
        return
    sender = {"pid": cause.cpu, "tid": _SENDER + cause.pid, "cat": "sent", "ts": cause.sent_ns / 1e3}
    flow = {"name": "sent", "cat": "sent", "id": number}
    yield {
        **sender,
        "ph": "X",
        "dur": _SENT_US,
        "name": f"sends {cause.kind} to CPU {one.cpu}",
        "args": {"stack": list(cause.stack), "syscall": cause.syscall},
    }
    yield {**sender, **flow, "ph": "s"}
    yield {**track, **flow, "ph": "f", "bp": "e", "ts": one.start_ns / 1e3}


def _told(one: Interruption) -> Event:
    cause = one.cause
    told: Event = {
        "arrived as": str(one.kind),
        "cause": str(cause.kind),
        "sent by": f"{cause.task}-{cause.pid}" if cause.task else None,
        "from CPU": cause.cpu,
        "function": cause.function,
        "system call": cause.syscall,
        "stack": " < ".join(cause.stack),
        "on behalf of": " < ".join(f"{link.task or '?'}-{link.pid} ({link.how})" for link in cause.chain),
        "detail": cause.detail or cause.looked_at,
        "own ns": one.duration_ns,
        "at most ns": one.at_most_ns,
        "remedy": one.remedy,
    }
    return {name: value for name, value in told.items() if value not in (None, "")}
