"""A user's own contract over a trace: an automaton from a `.dot` file (the kernel's RV models, too), bound by TOML.

    keys = ["cpu"]                      # one automaton runs for each value of these; default: one for all
    start = "preemptive"                # default: not known, any state; what cannot be from any is a violation

    [events.preempt_disable]
    on = ["preempt_disable"]            # trace events
    where = ["irqs == 0"]               # all of these: FIELD [& MASK] ==, !=, <, <=, >, >= VALUE
    keys = {cpu = "common_cpu"}         # which field names the key; common_cpu and common_pid are every event's
    what = "preemption goes off"        # for the path; default: the event's name

    [events.sched_waking]
    unseen = "why it is bound to nothing"

`title`, `why` and `remedy` are for the report. A value is a number, for a pointer a function's name, for a text a text
or a pattern of one. What comes after the first lost event is not looked at.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nostale.contract import (
    Automaton,
    BadInput,
    Binding,
    Bound,
    Contract,
    Event,
    Grade,
    Role,
    Source,
    Step,
    read_dot,
)
from nostale.contract.bindfile import event_rows, nearest_of, read_bindings, row_of, text_of, texts_of
from nostale.watch.distinct import Distinct, functions, numbers, texts
from nostale.watch.monitors import Sight, TraceMonitor
from nostale.watch.occurrences import Occurrences, Part
from nostale.watch.trace import Trace

_TOP: Final = {"title", "why", "remedy", "start", "keys", "events"}
_EVENT: Final = {"on", "where", "keys", "unseen", "what"}
_HOW: Final = 'bind it by on = ["TRACE_EVENT"], or say why not with unseen'
_WHERE: Final = re.compile(r"\s*([\w\[\]]+)\s*(?:&\s*(\w+)\s*)?(==|!=|<=|>=|<|>)\s*(\S+)\s*")
_COMMON: Final = ("common_cpu", "common_pid")
_OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MOST_STATES: Final = 4096
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Where:
    """One condition: a field, which of its bits, how it is compared, and with what."""

    field: str
    mask: int | None
    compare: str
    value: str

    def holds(self, trace: Trace, rows: NDArray[np.int64], event: str) -> Mask:
        """Say of each of `rows`, all of kind `event`, whether it fulfils the condition."""
        if self.field in _COMMON:
            column = trace.cpu[rows] if self.field == "common_cpu" else trace.pid[rows]
            return self._numbers(column.astype(np.int64), trace, pointer=False)
        known = trace.formats.by_name[event].field_of(self.field)
        if known is not None and "char" in known.type:
            if self.compare not in ("==", "!="):
                raise BadInput(f"{event}.{self.field}", f"is a text: {self.compare} does not compare texts")
            equal = texts(trace, rows, event, self.field).that(self._matches)
            return equal if self.compare == "==" else ~equal
        return self._numbers(trace.field(rows, event, self.field), trace, pointer=bool(known and known.is_pointer))

    def _numbers(self, column: NDArray[Any], trace: Trace, *, pointer: bool) -> Mask:
        if pointer and not re.fullmatch(r"\d\w*", self.value):
            equal = functions(trace, column).that(self._matches)
            return equal if self.compare == "==" else ~equal
        if self.mask is not None:
            column = column & np.array(self.mask).astype(column.dtype)
        try:
            value = np.array(int(self.value, 0)).astype(column.dtype)
        except (ValueError, OverflowError):
            raise BadInput(f"{self.field} {self.compare} {self.value}", f"{self.value!r} is not a number") from None
        result: Mask = _OPERATORS[self.compare](column, value)
        return result

    def _matches(self, text: str) -> bool:
        return fnmatchcase(text, self.value)


@dataclass(frozen=True, slots=True)
class Bind:
    """How one event is seen: on which trace events, under which conditions, which field names each key."""

    on: tuple[str, ...]
    where: tuple[Where, ...]
    keys: Mapping[str, str]
    unseen: str
    what: str


def custom_monitor(dot: str, dot_where: str, bind: str, bind_where: str) -> TraceMonitor:
    """Make a monitor of a `.dot` file and the TOML that binds its events.

    Raises:
        BadInput: one of them is not what it must be, or an event is not bound.
    """
    automaton = read_dot(dot, dot_where)
    table = read_bindings(bind, bind_where, _TOP)
    keys = texts_of(table, "keys", bind_where)
    rows = event_rows(table, automaton, bind_where, _HOW)
    binds = {event: _bind(row, f"{bind_where}: events.{event}", keys) for event, row in rows.items()}
    start = text_of(table, "start", bind_where)
    if start and start not in automaton.states:
        raise BadInput(f"{bind_where}: start", f"no state {start!r}", remedy=nearest_of(start, automaton.states))
    runs = automaton if start else from_any_state(automaton)
    name = "".join(each if each.isalnum() else "-" for each in automaton.name.lower()).strip("-")
    contract = Contract(
        id=f"user.{name or 'contract'}",
        title=text_of(table, "title", bind_where) or f"every run keeps to {automaton.name}",
        why=text_of(table, "why", bind_where),
        remedy=text_of(table, "remedy", bind_where),
        keys=keys,
        observer=keys[0] if keys else "",
        events=tuple(Event(event, Role.OTHER, tuple(one.keys), one.what or event) for event, one in binds.items()),
        requirements=(),
        sources=(Source(dot_where), Source(bind_where)),
        automaton=runs,
    )
    bound = {
        event: Bound(", ".join(one.on) or "nothing", Grade.UNSEEN if one.unseen else Grade.EXACT, one.unseen)
        for event, one in binds.items()
    }
    begins = f"{bind_where} begins there" if start else "which state it was in at the first event is not known"
    binding = Binding(
        contract,
        "watch",
        bound,
        start or runs.initial,
        begins,
        ("every such trace event is recorded: a recorder may leave out those of its own threads",),
    )
    wanted = tuple(event for one in binds.values() for event in one.on)
    return TraceMonitor(binding, lambda trace: _look(trace, binds), wanted)


def from_any_state(automaton: Automaton) -> Automaton:
    """Return the automaton that begins in any of the states: its states are the sets of those that it may be in.

    What it refuses has no edge from any state that the run can be in: a violation wherever the run began.

    >>> toggle = Automaton.of("toggle", [("a", "up", "b"), ("b", "down", "a")], initial="a")
    >>> whole = from_any_state(toggle)
    >>> whole.initial, whole.step("a | b", "down"), whole.step("a", "down")
    ('a | b', 'a', None)
    """
    first = frozenset(automaton.states)
    edges: list[tuple[str, str, str]] = []
    todo, seen = [first], {first}
    while todo:
        states = todo.pop()
        for event in automaton.events:
            into = frozenset(to for state in states if (to := automaton.edges.get((state, event))) is not None)
            if not into:
                continue
            edges.append((_name(states), event, _name(into)))
            if into not in seen:
                seen.add(into)
                todo.append(into)
        if len(seen) > _MOST_STATES:
            raise BadInput(automaton.name, "may be in too many states at once", remedy="say where it starts: start")
    return Automaton.of(automaton.name, edges, initial=_name(first), forbidden=automaton.events)


def _name(states: frozenset[str]) -> str:
    return " | ".join(sorted(states))


def _look(trace: Trace, binds: Mapping[str, Bind]) -> Sight:
    missing, parts = [], []
    for event, bind in binds.items():
        missing += [f"{event}: the trace has no {one} events" for one in bind.on if not trace.has(one)]
        parts += [_part(trace, event, bind, one) for one in bind.on if trace.has(one)]
    if missing:  # then any other event may be out of turn for want of these
        return Sight(Occurrences.of(()), {}, "nothing was looked at", tuple(missing))
    if trace.lost:
        missing.append(f"what came after {_first_lost_ns(trace)} ns, as events were lost there")
    found = Occurrences.of_parts(parts, lambda row, event: _step(trace, row, binds[event].what or event))
    return Sight(found, {}, ", ".join(f"{found.count(event)} {event}" for event in binds), tuple(missing))


def _part(trace: Trace, event: str, bind: Bind, on: str) -> Part:
    """Return where one kind of trace event, up to what was lost, is an event of the contract."""
    rows = trace.rows(on)
    for one in bind.where:
        if rows.size:
            rows = rows[one.holds(trace, rows, on)]
    if trace.lost:
        rows = rows[trace.ts[rows] <= _first_lost_ns(trace)]
    return Part(event, rows, {key: _values(trace, rows, on, name) for key, name in bind.keys.items()})


def _first_lost_ns(trace: Trace) -> int:
    return min(one.after_ns for one in trace.lost)


def _values(trace: Trace, rows: NDArray[np.int64], event: str, name: str) -> Distinct[Any]:
    if not rows.size:  # whatever fields its description has
        return Distinct((), rows)
    if name in _COMMON:
        return numbers((trace.cpu if name == "common_cpu" else trace.pid)[rows])
    known = trace.formats.by_name[event].field_of(name)
    if known is not None and "char" in known.type:
        return texts(trace, rows, event, name)
    return numbers(trace.field(rows, event, name))


def _step(trace: Trace, row: int, what: str) -> Step:
    place = trace.formats.by_id[int(trace.type[row])].name
    thread = f"{trace.comm(int(trace.pid[row])) or '?'}-{int(trace.pid[row])}"
    return Step(f"CPU {int(trace.cpu[row])}", place, f"{what}, {thread}", time_ns=int(trace.ts[row]))


# The TOML.


def _bind(found: Any, where: str, keys: Sequence[str]) -> Bind:  # noqa: ANN401  # whatever the file has there
    row = row_of(found, where, _EVENT, _HOW)
    named = row.get("keys", {})
    if not isinstance(named, dict) or any(not isinstance(one, str) for one in named.values()):
        raise BadInput(f"{where}: keys", "is not a table of fields", remedy='write keys = {cpu = "common_cpu"}')
    for key in named:
        if key not in keys:
            raise BadInput(f"{where}: keys", f"{key!r} is not among the contract's keys", remedy=nearest_of(key, keys))
    made = Bind(
        texts_of(row, "on", where),
        tuple(_where(one, where) for one in texts_of(row, "where", where)),
        named,
        text_of(row, "unseen", where),
        text_of(row, "what", where),
    )
    if bool(made.on) == bool(made.unseen):
        raise BadInput(where, "is both bound and unseen" if made.on else "is bound to nothing", remedy=_HOW)
    return made


def _where(text: str, where: str) -> Where:
    match = _WHERE.fullmatch(text)
    try:
        if match is not None:
            return Where(match[1], int(match[2], 0) if match[2] else None, match[3], match[4])
    except ValueError:
        pass
    raise BadInput(f"{where}: where", f"{text!r} is not a condition", remedy='such as "prev_state & 0xff == 0"')
