"""One table of every event of a trace, all CPUs merged in time order, fields taken out by name a column at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from nostale.contract import BadInput
from nostale.watch.format import Field, Formats
from nostale.watch.ring import Geometry, Ints, read_pages, scan
from nostale.watch.symbols import Symbols

Column = NDArray[np.int64]  # or uint64, as the field is signed or not


@dataclass(frozen=True, slots=True)
class Lost:
    """Events that the ring buffer dropped on one CPU.

    Args:
        cpu: where.
        after_ns: time of the last event before.
        before_ns: time of the first event after.
        count: how many, None where the kernel did not say.
    """

    cpu: int
    after_ns: int
    before_ns: int
    count: int | None


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


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Every event of a trace.

    Args:
        origin: where it comes from.
        formats: the kinds of events.
        cpus: those recorded, sorted.
        raw: all pages of all CPUs, `(bytes,) uint8`.
        page_bytes: size of a page.
        extents: for each CPU, its first and past-the-end byte in `raw`.
        ts, cpu, pid, type, offset, size: `(n_events,) int64` columns, in time order; within one time in CPU order.
        lost: what the ring buffer dropped, and between which events.
    """

    origin: Origin
    formats: Formats
    cpus: tuple[int, ...]
    raw: NDArray[np.uint8]
    page_bytes: int
    extents: Mapping[int, tuple[int, int]]
    ts: Ints
    cpu: Ints
    pid: Ints
    type: Ints
    offset: Ints
    size: Ints
    lost: tuple[Lost, ...]
    _order: Ints = field(repr=False)
    _sorted: Ints = field(repr=False)

    def __len__(self) -> int:
        return len(self.ts)

    def has(self, event: str) -> bool:
        """Whether the trace describes such an event (it need not have happened)."""
        return event in self.formats.by_name

    def rows(self, *events: str) -> Ints:
        """Return the rows of these kinds of events in time order; a kind without a description has none."""
        parts = []
        for event in events:
            known = self.formats.by_name.get(event)
            if known is not None:
                low, high = np.searchsorted(self._sorted, [known.id, known.id + 1])
                parts.append(self._order[low:high])
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
        return gather(self.raw, self.offset[rows] + known.offset, known.size, signed=known.signed)

    def text(self, row: int, event: str, name: str) -> str:
        """Return one string of one event, an array of characters or a `__data_loc`."""
        return self.data(row, event, name).split(b"\0")[0].decode("utf-8", "replace")

    def data(self, row: int, event: str, name: str) -> bytes:
        """Return one field of one event as its bytes: of a `__data_loc` what it points to, within the event."""
        known = self._field(event, name)
        start, size = int(self.offset[row]), int(self.size[row])
        low, length = known.offset, known.size
        if "__data_loc" in known.type:
            where = int(self.field(np.array([row]), event, name)[0]) & 0xFFFFFFFF
            low, length = where & 0xFFFF, where >> 16
        return self.raw[start + low : start + min(low + length, size)].tobytes()

    def stack(self, row: int) -> tuple[str, ...]:
        """Return the functions of a `kernel_stack` event, innermost first, the tracer's own frames left out."""
        caller = self._field("kernel_stack", "caller")
        start, size = int(self.offset[row]), int(self.size[row])
        declared = int(self.field(np.array([row]), "kernel_stack", "size")[0])
        count = max(0, min(declared, (size - caller.offset) // 8))
        frames = gather(self.raw, start + caller.offset + 8 * np.arange(count), 8, signed=False)
        names = [self.origin.symbols.name(int(one)) for one in frames if int(one) != (1 << 64) - 1]
        while names and names[0].startswith(_TRACER):
            del names[0]
        return tuple(names)

    def comm(self, pid: int) -> str | None:
        """Return the name of a thread, None where the trace does not have it."""
        return self.origin.comms.get(pid)

    def lost_between(self, cpu: int | None, start_ns: int, end_ns: int) -> bool:
        """Whether events of `cpu` (None: any) in [start_ns, end_ns] may have been lost."""
        return any(
            (cpu is None or one.cpu == cpu) and one.after_ns <= end_ns and one.before_ns >= start_ns
            for one in self.lost
        )

    def _field(self, event: str, name: str) -> Field:
        known = self.formats.by_name.get(event)
        array, bracket, index = name.partition("[")
        if known is not None and bracket and array in known.fields:
            return self._element(known.fields[array], name, int(index.rstrip("]")))
        if known is None or name not in known.fields:
            raise BadInput(self.origin.name, f"{event} has no field {name!r} here", cause="a newer or older kernel")
        return known.fields[name]

    def _element(self, array: Field, name: str, index: int) -> Field:
        size = 8 if "long" in array.type else 4
        if (index + 1) * size > array.size:
            raise BadInput(
                self.origin.name, f"{name} lies past the end of {array.name}", cause="a newer or older kernel"
            )
        return replace(array, name=name, offset=array.offset + index * size, size=size)


# The tracer's own frames, which stand innermost in a stack that a trigger took.
_TRACER = ("trace_event_", "__traceiter_", "stack_trace", "stacktrace_", "event_triggers_", "__ftrace_trace_stack")


def gather(raw: NDArray[np.uint8], at: Ints, size: int, *, signed: bool) -> Column:
    """Return the little-endian numbers of `size` bytes at the byte offsets `at`, which lie within `raw`."""
    out = np.empty(at.size, np.int64 if signed else np.uint64)
    offsets = at % size
    for class_ in range(size):
        chosen = offsets == class_
        if not chosen.any():
            continue
        if chosen.all():
            chosen = slice(None)
        whole = (raw.size - class_) // size
        view = np.frombuffer(raw.data, f"<{'i' if signed else 'u'}{size}", whole, class_)
        out[chosen] = view[(at[chosen] - class_) // size]
    return out  # type: ignore[return-value]  # the unsigned ones, too, are called a Column


def build(origin: Origin, formats: Formats, streams: Mapping[int, Iterable[bytes]], page_bytes: int) -> Trace:
    """Make the table from each CPU's pages.

    Args:
        streams: for each CPU, its pages in the order the kernel gave them out, in pieces of any size.

    Cost: O(bytes + events log events).

    Raises:
        BadInput: pages that do not decode, or events without the common fields.
    """
    geometry = Geometry.of(origin.header_page, page_bytes, origin.name)
    cpus = tuple(sorted(streams))
    buffer, extents = bytearray(), {}
    for cpu in cpus:
        start = len(buffer)
        for piece in streams[cpu]:
            buffer += piece
        extents[cpu] = (start, len(buffer))
        if (len(buffer) - start) % page_bytes:
            raise BadInput(origin.name, f"the data of CPU {cpu} are not whole pages", cause="a cut file")
    raw = np.frombuffer(buffer, np.uint8)
    pages = read_pages(raw, geometry, origin.name)
    found = scan(raw, pages, geometry, origin.name)
    # 2^62 ns are 146 years: a later time is damage, and sums of such would overflow.
    if found.ts.size and not 0 <= int(found.ts.min()) <= int(found.ts.max()) < 1 << 62:
        raise BadInput(origin.name, "a time stamp lies centuries away", cause="a damaged file")
    page_cpu = np.repeat(np.array(cpus, np.int64), [(extents[cpu][1] - extents[cpu][0]) // page_bytes for cpu in cpus])
    kind, pid = _common(raw, found.offset, found.size, formats, origin.name)
    cpu_of = page_cpu[found.page]
    order = np.argsort(found.ts, kind="stable")  # found in CPU order: that breaks ties
    by_type = np.argsort(kind[order].astype(np.uint16), kind="stable")  # 16 bits: sorted by radix
    return Trace(
        origin,
        formats,
        cpus,
        raw,
        page_bytes,
        extents,
        found.ts[order],
        cpu_of[order],
        pid[order],
        kind[order],
        found.offset[order],
        found.size[order],
        _lost(pages.missed, pages.stamp, page_cpu, found.page, found.ts),
        by_type,
        kind[order][by_type],
    )


def _common(raw: NDArray[np.uint8], offset: Ints, size: Ints, formats: Formats, where: str) -> tuple[Ints, Ints]:
    """Return type and thread id of every event; they lie where any description says they do, the same for all."""
    any_format = next(iter(formats.by_id.values()), None)
    kind = any_format.fields.get("common_type") if any_format else None
    pid = any_format.fields.get("common_pid") if any_format else None
    if kind is None or pid is None or kind.size != 2 or pid.size != 4:
        raise BadInput(where, "no event description says where common_type and common_pid are", cause="a damaged file")
    need = max(kind.offset + kind.size, pid.offset + pid.size)
    if size.size and int(size.min()) < need:
        raise BadInput(where, f"an event of {int(size.min())} bytes, too short for its header", cause="a damaged file")
    types = gather(raw, offset + kind.offset, 2, signed=False).astype(np.int64)
    return types, gather(raw, offset + pid.offset, 4, signed=True)


def _lost(missed: Ints, stamp: Ints, page_cpu: Ints, page: Ints, ts: Ints) -> tuple[Lost, ...]:
    """Return what was dropped: before a page that says so, after the last event of the CPU's pages before it."""
    lost = []
    for one in np.flatnonzero(missed):
        cpu = int(page_cpu[one])
        end = int(np.searchsorted(page, one))
        first_of_cpu = int(np.searchsorted(page, np.searchsorted(page_cpu, cpu)))
        before = int(ts[end]) if end < ts.size and page[end] == one else int(stamp[one])
        after = int(ts[end - 1]) if end > first_of_cpu else -(1 << 62)
        lost.append(Lost(cpu, after, before, int(missed[one]) if missed[one] > 0 else None))
    return tuple(lost)
