"""Makes the table of a trace from each CPU's ring-buffer pages."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nostale.contract import BadInput
from nostale.watch.compiled import library
from nostale.watch.format import Formats
from nostale.watch.ring import Geometry, Ints, Lost, read_pages, scan, too_late, too_short
from nostale.watch.scanner import DROP, ENTER, EXIT, FAULT, KEEP, Fates, check_room, merge
from nostale.watch.syscalls import syscall_numbers
from nostale.watch.trace import STAND_INS, WORD, Origin, Table, Trace, Wanted, gather

_KINDS: Final = 1 << 16
_LONGEST: Final = 1 << 16  # an event that is declared longer is none
_SENDS: Final = ("csd_queue_cpu", "ipi_send_cpu")
# Below this many bytes of pages numpy takes less than a first compilation does.
WORTH_COMPILING: Final = 8 << 20


def build(
    origin: Origin,
    formats: Formats,
    streams: Mapping[int, Iterable[bytes]],
    page_bytes: int,
    *,
    wanted: Wanted | None = None,
    fold_but: Collection[str] | None = None,
    size_bytes: int = 0,
) -> Trace:
    """Make the table.

    Args:
        streams: for each CPU its pages in the order written, any number at a time. Sequences of them are kept as
            `pages`, so that the trace can be saved.
        wanted: the events to keep; None keeps all.
        fold_but: count system calls in which nothing else happened, and page faults, that another such follows, instead
            of keeping them, where that saves anything: for who does not list the tasks' own entries. System calls of
            these names are kept. None keeps all.
        size_bytes: about how much there is in `streams`.

    Raises:
        BadInput: damaged pages.
    """
    geometry = Geometry.of(origin.header_page, page_bytes, origin.name)
    at = common(formats, origin.name) if streams else (0, 4)
    wanted = without_stand_ins(wanted, formats)
    parts = needed_parts(formats, wanted)
    lib = library(worth_compiling=size_bytes >= WORTH_COMPILING)
    pages = {cpu: one for cpu, one in streams.items() if isinstance(one, Sequence)}
    if lib is None:
        table = _by_numpy(streams, geometry, at, fates(formats, wanted).of_type, origin.name)
    else:
        found = merge(
            lib,
            streams,
            geometry,
            at,
            fates(formats, wanted, fold_but, origin.machine),
            kept_bytes(formats, parts),
            origin.name,
        )
        table = Table(
            found.ts,
            found.cpu,
            found.pid,
            found.type,
            found.word,
            found.size,
            found.heap,
            found.lost,
            int(found.counts.sum()),
            found.first_ns,
            found.last_ns,
            found.folded,
        )
        if found.backwards:
            table = table.sorted()
    kept = None if wanted is None else frozenset(wanted)
    return Trace(origin, formats, tuple(sorted(streams)), table, page_bytes, pages, kept, parts)


def common(formats: Formats, where: str) -> tuple[int, int]:
    """Return where type and thread id of every event lie; any description says it, the same for all."""
    any_format = next(iter(formats.by_id.values()), None)
    kind = any_format.fields.get("common_type") if any_format else None
    pid = any_format.fields.get("common_pid") if any_format else None
    if kind is None or pid is None or kind.size != 2 or pid.size != 4:
        raise BadInput(where, "no event description says where common_type and common_pid are", cause="a damaged file")
    return kind.offset, pid.offset


def without_stand_ins(wanted: Wanted | None, formats: Formats) -> Wanted | None:
    """Leave out what stands in for events that the trace has, but not what is wanted whole: that is for itself."""
    if wanted is None:
        return None
    return {
        event: part for event, part in wanted.items() if part is None or STAND_INS.get(event) not in formats.by_name
    }


def fates(formats: Formats, wanted: Wanted | None, fold_but: Collection[str] | None = None, machine: str = "") -> Fates:
    """Return what is done with events of each type, and with system calls.

    Where senders leave no events of their own, their calls are all that tells of them: none is folded there.
    """
    fate = np.full(_KINDS, KEEP if wanted is None else DROP, np.uint8)
    number = formats.by_name["sys_enter"].field_of("id") if "sys_enter" in formats.by_name else None
    folds = fold_but is not None and number is not None and number.size == 8  # a long
    folds = folds and all(event in formats.by_name for event in _SENDS)
    special = {"sys_enter": ENTER, "sys_exit": EXIT, "page_fault_user": FAULT} if folds else {}
    for one in formats.by_id.values():
        if one.id < _KINDS and (wanted is None or one.name in wanted):
            fate[one.id] = special.get(one.name, KEEP)
    if not folds or number is None:
        return Fates(fate)
    known = syscall_numbers(machine)
    numbers = [known[name] for name in fold_but or () if name in known]
    stays = np.zeros(max(numbers, default=-1) + 1, np.uint8)
    stays[numbers] = 1
    return Fates(fate, number.offset, stays)


def needed_parts(formats: Formats, wanted: Wanted | None) -> dict[str, tuple[int, int]]:
    """Return which bytes are kept of the events that are not kept whole: the first, and the one after the last.

    An event with a field whose bytes lie at its end, whichever that is, is kept whole.
    """
    parts = {}
    for name, needed in (wanted or {}).items():
        known = formats.by_name.get(name)
        if known is None or needed is None or any("_loc" in one.type for one in known.fields.values()):
            continue
        ends = [one for one in map(known.field_of, needed) if one is not None]
        end = max((one.offset + one.size for one in ends), default=0)
        if len(ends) == 2 and end < _LONGEST:
            parts[name] = min(one.offset for one in ends), end
    return parts


def kept_bytes(formats: Formats, parts: Mapping[str, tuple[int, int]]) -> NDArray[np.int32]:
    """Return for each type which bytes of its events are kept, as `merge` has them."""
    kept = np.zeros((2, _KINDS), np.int32)
    kept[1] = (1 << 31) - 1
    for name, (first, end) in parts.items():
        if formats.by_name[name].id < _KINDS:
            kept[:, formats.by_name[name].id] = first // WORD * WORD, end
    return kept


def _by_numpy(
    streams: Mapping[int, Iterable[bytes]],
    geometry: Geometry,
    at: tuple[int, int],
    fate: NDArray[np.uint8],
    where: str,
) -> Table:
    """Do what scan.c does, all in memory at once."""
    cpus = sorted(streams)
    held = [b"".join(streams[cpu]) for cpu in cpus]
    check_room(sum(map(len, held)), where)
    raw = np.frombuffer(b"".join(held), np.uint8)
    pages = read_pages(raw, geometry, where)
    found = scan(raw, pages, geometry, where)
    if found.ts.size and not 0 <= int(found.ts.min()) <= int(found.ts.max()) < 1 << 62:
        raise too_late(where)
    if found.size.size and int(found.size.min()) < max(at[0] + 2, at[1] + 4):
        raise too_short(where, int(found.size.min()))
    page_cpu = np.repeat(np.array(cpus, np.uint16), [len(one) // geometry.page_bytes for one in held])
    lost = _lost(pages.missed, pages.stamp, page_cpu, found.page, found.ts)
    kind = gather(raw, found.offset + at[0], 2, signed=False).astype(np.uint16)
    kept = np.flatnonzero(fate[kind] != DROP)
    offset = found.offset[kept]
    return Table(
        found.ts[kept],
        page_cpu[found.page[kept]],
        gather(raw, offset + at[1], 4, signed=True).astype(np.int32),
        kind[kept],
        (offset // WORD).astype(np.uint32),
        found.size[kept].astype(np.int32),
        raw,
        lost,
        len(found.ts),
        int(found.ts.min()) if len(found.ts) else 0,
        int(found.ts.max()) if len(found.ts) else 0,
    ).sorted()  # found in CPU order: that breaks ties


def _lost(missed: Ints, stamp: Ints, page_cpu: NDArray[np.uint16], page: Ints, ts: Ints) -> tuple[Lost, ...]:
    """Return what was dropped: before a page that says so, after the last event of the CPU's pages before it."""
    lost = []
    for one in np.flatnonzero(missed):
        cpu = int(page_cpu[one])
        end = int(np.searchsorted(page, one))
        first_of_cpu = int(np.searchsorted(page, np.searchsorted(page_cpu, page_cpu[one])))
        before = int(ts[end]) if end < ts.size and page[end] == one else int(stamp[one])
        after = int(ts[end - 1]) if end > first_of_cpu else -(1 << 62)
        lost.append(Lost(cpu, after, before, int(missed[one]) if missed[one] > 0 else None))
    return tuple(lost)
