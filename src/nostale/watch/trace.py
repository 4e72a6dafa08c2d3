"""One table of every event of a trace, all CPUs merged in time order, fields taken out by name a column at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from struct import Struct, unpack_from
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nostale.contract import BadInput
from nostale.watch.compiled import library
from nostale.watch.format import Field, Formats
from nostale.watch.losses import Losses
from nostale.watch.ring import Ints, Lost
from nostale.watch.scanner import by_type
from nostale.watch.symbols import Symbols

WORD: Final = 4  # bytes; events begin at multiples of it, in pages as in a table
_CODES = {1: "b", 2: "h", 4: "i", 8: "q"}
Column = NDArray[np.int64]  # or uint64, as the field is signed or not
WAKING: Final = "sched_waking"  # by who wakes a task
WAKEUP: Final = "sched_wakeup"  # where it wakes
# Events that tell some of what another one does, and that one: they are of use where a trace does not have it.
STAND_INS: Final = {WAKEUP: WAKING}
Wanted = Mapping[str, tuple[str, str] | None]  # events to keep; of one with two fields from the first to the second


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a trace comes from and what goes with it.

    Args:
        name: a path, or `live`.
        clock: the trace clock, such as `mono`.
        machine: as uname says it, such as `x86_64`.
        header_page: text of `events/header_page`.
        symbols: of the traced kernel.
        comms: thread id to task name.
        kernel_threads: thread ids known to be kernel threads; None where the trace does not say.
        dropped: for each CPU, events lost over the whole recording as the kernel counts them.
        notes: what cannot be told from this trace, a sentence each.
        groups: thread id to that of its thread group, as far as the machine said.
        header_event: text of `events/header_event`, kept for saving.
    """

    name: str
    clock: str
    machine: str
    header_page: str
    symbols: Symbols
    comms: Mapping[int, str]
    kernel_threads: frozenset[int] | None = None
    dropped: Mapping[int, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    header_event: str = ""
    groups: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The events themselves, in time order; within one time in CPU order.

    Args:
        ts: `(n,) int64`, time in ns.
        word: `(n,) uint32`, where an event's bytes begin in `heap`, in words of 4 bytes.
        cpu, type: `(n,) uint16`.
        pid, size: `(n,) int32`, the thread, and how many bytes the event has.
        heap: `(bytes,) uint8`.
        lost: what the ring buffer dropped, and between which events.
        total: how many events there were, those not kept included.
        first_ns, last_ns: of all of them; 0 where there were none.
        folded: system calls and page faults that were counted instead of kept, by CPU and thread.
    """

    ts: Ints
    cpu: NDArray[np.uint16]
    pid: NDArray[np.int32]
    type: NDArray[np.uint16]
    word: NDArray[np.uint32]
    size: NDArray[np.int32]
    heap: NDArray[np.uint8]
    lost: tuple[Lost, ...] = ()
    total: int = 0
    first_ns: int = 0
    last_ns: int = 0
    folded: Mapping[tuple[int, int], int] = field(default_factory=dict)

    def sorted(self) -> Table:
        """Return the same in time order; what has the same time stays as it is."""
        return self.rows(np.argsort(self.ts, kind="stable"))

    def rows(self, order: Ints) -> Table:
        """Return a table of these rows, in this order."""
        return replace(
            self,
            ts=self.ts[order],
            cpu=self.cpu[order],
            pid=self.pid[order],
            type=self.type[order],
            word=self.word[order],
            size=self.size[order],
        )


@dataclass(slots=True, eq=False)
class Trace:
    """Every event of a trace that is wanted.

    Args:
        origin: where it comes from.
        formats: the kinds of events.
        cpus: those recorded, sorted.
        table: the events.
        page_bytes: size of a ring-buffer page.
        pages: for each CPU all its pages, where they are still there; to save the trace.
        wanted: the events that were kept; None where all were.
        trimmed: of some events, which bytes were kept: the first, and the one after the last.
    """

    origin: Origin
    formats: Formats
    cpus: tuple[int, ...]
    table: Table
    page_bytes: int = 0
    pages: Mapping[int, Sequence[bytes]] = field(default_factory=dict)
    wanted: frozenset[str] | None = None
    trimmed: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    ts: Ints = field(init=False)
    cpu: NDArray[np.uint16] = field(init=False)
    pid: NDArray[np.int32] = field(init=False)
    type: NDArray[np.uint16] = field(init=False)
    word: NDArray[np.uint32] = field(init=False)
    size: NDArray[np.int32] = field(init=False)
    raw: NDArray[np.uint8] = field(init=False)
    lost: tuple[Lost, ...] = field(init=False)
    losses: Losses = field(init=False, repr=False)
    _order: NDArray[np.int32 | np.int64] = field(init=False, repr=False)
    _starts: Ints = field(init=False, repr=False)

    def __post_init__(self) -> None:
        table = self.table
        self.ts, self.cpu, self.pid, self.type = table.ts, table.cpu, table.pid, table.type
        self.word, self.size, self.raw, self.lost = table.word, table.size, table.heap, table.lost
        self.losses = Losses(self.lost)
        self._order, self._starts = by_type(self.type, library(worth_compiling=False))

    def __len__(self) -> int:
        return len(self.ts)

    def has(self, event: str) -> bool:
        """Whether the trace describes such an event (it need not have happened)."""
        return event in self.formats.by_name

    def count(self, event: str) -> int:
        """Return how many events of one kind there are among the rows."""
        known = self.formats.by_name.get(event)
        return (
            0 if known is None or known.id >= len(self._starts) - 1 else int(np.diff(self._starts[known.id :][:2])[0])
        )

    def rows(self, *events: str) -> Ints:
        """Return the rows of these kinds of events in time order; a kind without a description has none.

        Raises:
            ValueError: a kind that was left out when the trace was read: no rows would be a false answer.
        """
        parts = []
        for event in events:
            known = self.formats.by_name.get(event)
            if known is not None:
                if self.wanted is not None and event not in self.wanted:
                    raise ValueError(f"{event} events were not kept: see needs.py")
                low, high = self._starts[known.id : known.id + 2] if known.id < len(self._starts) - 1 else (0, 0)
                parts.append(self._order[low:high].astype(np.int64))
        if len(parts) == 1:
            return parts[0]
        return np.sort(np.concatenate(parts), kind="stable") if parts else np.zeros(0, np.int64)

    def field(self, rows: Ints, event: str, name: str) -> Column:
        """Return one number of each of `rows`, all of kind `event`: `(len(rows),)`, int64 or uint64 as it is signed.

        Args:
            name: of a field, or of one element of an array, such as `args[1]` of sys_enter.

        Raises:
            BadInput: the event has no such field, or one of the rows is too short for it.
        """
        known = self._field(event, name)
        if known.size not in (1, 2, 4, 8):
            raise BadInput(self.origin.name, f"{event}.{name} is not a number: {known.size} bytes")
        if rows.size and int(self.size[rows].min()) < known.offset + known.size:
            raise BadInput(self.origin.name, f"a {event} event is shorter than its description", cause="a damaged file")
        return gather(self.raw, self.places(rows) + known.offset, known.size, signed=known.signed)

    def places(self, rows: Ints) -> Ints:
        """Return where the bytes of `rows` begin in `raw`, of a trimmed event where its first would be."""
        return self.word[rows].astype(np.int64) * WORD

    def place(self, row: int) -> int:
        """Return where the bytes of one row begin."""
        return int(self.word[row]) * WORD

    def number(self, row: int, event: str, name: str) -> int:
        """Return one number of one event: for a few of them, `field` takes a column at a time."""
        return int(self.field(np.array([row]), event, name)[0])

    def reader(self, event: str, name: str) -> Callable[[int], int]:
        """Return a function from one row of kind `event` to one of its numbers, for who asks row by row.

        Raises:
            BadInput: as `field`; the function, too.
        """
        known = self._field(event, name)
        if known.size not in _CODES:
            raise BadInput(self.origin.name, f"{event}.{name} is not a number: {known.size} bytes")
        code = _CODES[known.size]
        unpack = Struct("<" + (code if known.signed else code.upper())).unpack_from
        raw, words, sizes = self.raw.data, self.word.data, self.size.data
        place, end = known.offset, known.offset + known.size

        def number(row: int) -> int:
            if sizes[row] < end:
                raise BadInput(
                    self.origin.name, f"a {event} event is shorter than its description", cause="a damaged file"
                )
            return int(unpack(raw, words[row] * WORD + place)[0])

        return number

    def text(self, row: int, event: str, name: str) -> str:
        """Return one string of one event, an array of characters or a `__data_loc`."""
        return self.data(row, event, name).split(b"\0")[0].decode("utf-8", "replace")

    def data(self, row: int, event: str, name: str) -> bytes:
        """Return one field of one event as its bytes: of a `__data_loc` what it points to, within the event."""
        known = self._field(event, name)
        start, size = self.place(row), int(self.size[row])
        low, length = known.offset, known.size
        if "__data_loc" in known.type:
            where = int(self.field(np.array([row]), event, name)[0]) & 0xFFFFFFFF
            low, length = where & 0xFFFF, where >> 16
        return self.raw[start + low : start + min(low + length, size)].tobytes()

    def stack(self, row: int) -> tuple[str, ...]:
        """Return the functions of a `kernel_stack` event, innermost first, the tracer's own frames left out."""
        caller = self._field("kernel_stack", "caller")
        start, size = self.place(row), int(self.size[row])
        declared = self.reader("kernel_stack", "size")(row)
        count = max(0, min(declared, (size - caller.offset) // 8))
        frames = unpack_from(f"<{count}Q", self.raw.data, start + caller.offset)
        names = [self.origin.symbols.name(one) for one in frames if one != (1 << 64) - 1]
        while names and names[0].startswith(_TRACER):
            del names[0]
        return tuple(names)

    def comm(self, pid: int) -> str | None:
        """Return the name of a thread, None where the trace does not have it."""
        return self.origin.comms.get(pid)

    def lost_between(self, cpu: int | None, start_ns: int, end_ns: int) -> bool:
        """Whether events of `cpu` (None: any) in [start_ns, end_ns] may have been lost."""
        return bool(self.lost) and self.losses.between(cpu, start_ns, end_ns)

    def _field(self, event: str, name: str) -> Field:
        form = self.formats.by_name.get(event)
        known = form.field_of(name) if form is not None else None
        if known is None:
            raise BadInput(self.origin.name, f"{event} has no field {name!r} here", cause="a newer or older kernel")
        first, end = self.trimmed.get(event, (0, known.offset + known.size))
        if not first <= known.offset <= known.offset + known.size <= end:
            raise ValueError(f"{event}.{name} was not kept: see needs.py")
        return known


# The tracer's own frames, which stand innermost in a stack that a trigger took.
_TRACER = ("trace_event_", "__traceiter_", "stack_trace", "stacktrace_", "event_triggers_", "__ftrace_trace_stack")


def gather(raw: NDArray[np.uint8], at: Ints, size: int, *, signed: bool) -> Column:
    """Return the little-endian numbers of `size` bytes at the byte offsets `at`, which lie within `raw`."""
    kind = np.dtype(f"<{'i' if signed else 'u'}{size}")
    # A number at every byte, aligned or not, of which those that are asked for are taken.
    every: NDArray[np.integer] = np.ndarray((max(0, raw.size - size + 1),), kind, raw.data, strides=(1,))
    return every[at].astype(np.int64 if signed else np.uint64, copy=False)
