"""A way something happens, step by step: one form for a counterexample, a call path and a timeline."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Changed:
    """One variable that a step changed. `old` is None where it was not known before."""

    var: str
    old: str | None
    new: str


@dataclass(frozen=True, slots=True)
class Step:
    """One thing one observer did.

    Args:
        observer: the lane it is drawn in, such as `CPU 1`, `patcher` or a function's name.
        place: where: `symbol+0xhex` in a binary, a rule or line of a model, an event of a trace.
        what: what happened, in kernel words.
        why: why the step matters to the verdict; "" where it only leads on.
        callee: the function a call or jump goes to (lint).
        source: `file:line`, where known.
        time_ns: in the clock of the trace (watch).
        changed: only what this step changed.
    """

    observer: str
    place: str
    what: str
    why: str = ""
    callee: str | None = None
    source: str | None = None
    time_ns: int | None = None
    changed: tuple[Changed, ...] = ()


Path = tuple[Step, ...]
