"""Reads perf.data: tracepoint samples with their raw data, described by the tracing data that perf keeps beside them.

What a perf.data does not have: the kernel's symbols. They are taken from perf's own cache of them, or from this machine
where it runs that very kernel.

Source:
    tools/perf/Documentation/perf.data-file-format.txt, tools/perf/util/header.h and include/uapi/linux/perf_event.h,
    v6.12.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct, unpack_from
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nostale.contract import BadInput
from nostale.outside import zstd
from nostale.watch import perfscan
from nostale.watch.build import WORTH_COMPILING, common, fates, kept_bytes, needed_parts, without_stand_ins
from nostale.watch.compiled import library
from nostale.watch.file import PERF, TRACING, Bytes, File, open_file, read_events, read_ftrace, read_headers
from nostale.watch.format import EventFormat, Formats, parse_format
from nostale.watch.kallsyms import kernel_symbols
from nostale.watch.perfscan import Attrs, Samples
from nostale.watch.ring import Lost
from nostale.watch.scanner import Fates
from nostale.watch.trace import Origin, Trace, Wanted

_HEADER: Final = Struct("<8sQQQQQQQQ4Q")  # magic, size, attr size, attrs, data, event types, features
_TRACING_DATA, _BUILD_ID, _OSRELEASE, _ARCH, _COMPRESSED = 1, 2, 4, 6, 27
_CLOCKS: Final = {0: "realtime", 1: "mono", 4: "mono_raw", 7: "boot", 11: "tai"}
_USE_CLOCKID, _SAMPLE_ID_ALL = 1 << 25, 1 << 18
_PIECE: Final = 1 << 19  # which is reused, and stays in the processor's cache
_MOST_TIMES, _MOST_SPARE = 512, 1 << 26  # as in trace.dat
_ZSTD_PIECE: Final = 256  # what these unpack to at most, 8 MiB, is held at a time
_EVER: Final = 1 << 62
# Its page offset is where that symbol was: tools/perf/util/synthetic-events.c, __perf_event__synthesize_kernel_mmap()
_KERNEL_MAP: Final = b"[kernel.kallsyms]_text\0"
# A call chain is kept as the event that ftrace writes for a stack.
_STACK: Final = (
    "name: kernel_stack\nID: {id}\nformat:\n"
    "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
    "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n"
    "\tfield:int size;\toffset:8;\tsize:4;\tsigned:1;\n"
    "\tfield:unsigned long caller[0];\toffset:16;\tsize:0;\tsigned:0;\n"
)


@dataclass(slots=True)
class _Attr:
    """What is needed of one struct perf_event_attr."""

    sample_type: int
    read_format: int
    flags: int
    clockid: int
    ids: tuple[int, ...]


@dataclass(slots=True)
class _Met:
    """What records that are no samples tell."""

    attrs: list[_Attr]
    samples: Samples
    ids: dict[int, int]
    comms: dict[int, str] = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)
    text_address: int | None = None
    dropped: int = 0

    def see(self, raw: bytes, at: int, row: int) -> None:
        """Look at the record at `at`, which came when there were `row` rows."""
        kind, misc, length = unpack_from("<IHH", raw, at)
        body = raw[at + 8 : at + length]
        if kind == perfscan.COMM and len(body) >= 8:
            self.comms[unpack_from("<I", body, 4)[0]] = body[8:].split(b"\0")[0].decode("utf-8", "replace")
        elif kind == perfscan.MMAP and len(body) >= 32 and misc & 7 == 1 and body[32:].startswith(_KERNEL_MAP):
            self.text_address = unpack_from("<Q", body, 24)[0]
        elif kind == perfscan.LOST and len(body) >= 16:
            self._lose(body, unpack_from("<QQ", body), row)
        elif kind == perfscan.LOST_SAMPLES and len(body) >= 8:
            self.dropped += unpack_from("<Q", body)[0]
        elif kind == perfscan.THROTTLE and len(body) >= 24:
            self._lose(body, (unpack_from("<Q", body, 8)[0], None), row)

    def _lose(self, body: bytes, told: tuple[int, int | None], row: int) -> None:
        number, count = told
        cpu, ts = _trailer(body, self.attrs[self.ids.get(number, 0)])
        for one in self.samples.cpus() if cpu is None else (cpu,):
            after = self.samples.last_ns(one, row) if ts is not None else -_EVER
            self.lost.append(Lost(one, after, _EVER if ts is None else ts, count))

    def gaps(self) -> tuple[Lost, ...]:
        """Return what was lost, and when.

        perf also writes how many samples were lost in all, for no time or CPU (PERF_RECORD_LOST_SAMPLES, from the
        kernel's own counts): where that is more than the records with a time account for, any time may lack some.
        """
        if self.dropped > sum(one.count or 0 for one in self.lost):
            return (*self.lost, *(Lost(cpu, -_EVER, _EVER, None) for cpu in self.samples.cpus()))
        return tuple(self.lost)


def read_perf(
    path: Path,
    wanted: Wanted | None = None,
    *,
    fold_but: Collection[str] | None = None,
    kallsyms: Path | None = None,
) -> Trace:
    """Read a perf.data.

    Args:
        wanted, fold_but: as `build` has them.
        kallsyms: a copy of the recorded machine's /proc/kallsyms.

    Raises:
        BadInput: no such file, another format, no tracepoints in it, cut or damaged.
    """
    with open_file(path) as file:
        return _read(file, wanted, fold_but, kallsyms)


def _read(file: File, wanted: Wanted | None, fold_but: Collection[str] | None, kallsyms: Path | None) -> Trace:
    if file.size < 16 or file.read(0, 8) != PERF:
        raise BadInput(file.where, "is not a perf.data file", cause="another format, or a big-endian machine's")
    if int.from_bytes(file.read(8, 8), "little") < _HEADER.size:
        raise BadInput(
            file.where,
            "was written into a pipe",
            remedy=f"perf inject -i {file.where} -o new.data, or record to a file",
        )
    head = _HEADER.unpack(file.read(0, _HEADER.size))
    attr_size, attrs_at, attrs_size, data_at, data_size = head[2], *head[3:7]
    features = _features(file, head[9:], data_at + data_size)
    attrs = _attrs(file, attrs_at, attrs_size, attr_size)
    if _TRACING_DATA not in features:
        raise BadInput(
            file.where, "has no tracepoints", remedy="perf record -e csd:* -e irq_vectors:* ..., see the guide"
        )
    header_page, header_event, formats = _tracing(file, *features[_TRACING_DATA])
    wanted = without_stand_ins(wanted, formats)
    parts = needed_parts(formats, wanted)
    machine, release = (_text(file, features, number) for number in (_ARCH, _OSRELEASE))
    what = fates(formats, wanted, fold_but, machine)
    layout = _layout(file.where, attrs, formats, what, kept_bytes(formats, parts))
    lib = library(worth_compiling=file.size >= WORTH_COMPILING)
    samples = Samples(lib, layout, file.where)
    met = _Met(attrs, samples, layout.ids)
    _go_through(file, data_at, data_size, samples, met)
    table = samples.table(met.gaps())
    symbols, said = kernel_symbols(_kernel_build_id(file, features), met.text_address, release, kallsyms)
    origin = Origin(
        name=file.where,
        clock=_CLOCKS.get(attrs[0].clockid, "unknown") if attrs[0].flags & _USE_CLOCKID else "perf",
        machine=machine,
        header_page=header_page,
        header_event=header_event,
        symbols=symbols,
        comms=met.comms,
        notes=said,
    )
    return Trace(
        origin, formats, samples.cpus(), table, wanted=None if wanted is None else frozenset(wanted), trimmed=parts
    )


def _features(file: File, bits: tuple[int, ...], at: int) -> dict[int, tuple[int, int]]:
    """Return where the feature sections lie that the header's bits announce."""
    wanted = [64 * word + bit for word, value in enumerate(bits) for bit in range(64) if value >> bit & 1]
    table = file.read(at, 16 * len(wanted))
    return {number: unpack_from("<QQ", table, 16 * place) for place, number in enumerate(wanted)}


def _attrs(file: File, at: int, size: int, each: int) -> list[_Attr]:
    if each < 80 or size % each or not size:
        raise BadInput(file.where, f"events described by {each} bytes each", cause="a damaged file")
    attrs = []
    raw = file.read(at, size)
    for start in range(0, size, each):
        known = raw[start : start + each - 16].ljust(96, b"\0")
        sample_type, read_format, flags = unpack_from("<QQQ", known, 24)
        ids_at, ids_size = unpack_from("<QQ", raw, start + each - 16)
        ids = file.read(ids_at, ids_size)
        numbers = unpack_from(f"<{ids_size // 8}Q", ids)
        attrs.append(_Attr(sample_type, read_format, flags, unpack_from("<i", known, 92)[0], numbers))
    return attrs


def _layout(where: str, attrs: list[_Attr], formats: Formats, what: Fates, kept: NDArray[np.int32]) -> Attrs:
    types = {one.sample_type for one in attrs}
    named = all(one.sample_type & perfscan.S_IDENTIFIER for one in attrs)
    if len(types) > 1 and not named:
        raise BadInput(where, "holds events of several layouts that name no identifier", cause="an old perf")
    raw = [one for one in attrs if one.sample_type & perfscan.S_RAW]
    if not raw or not all(one.sample_type & perfscan.S_TIME and one.sample_type & perfscan.S_CPU for one in raw):
        raise BadInput(
            where, "its samples lack raw data, time or CPU", remedy="record tracepoints with perf record -a -R -T"
        )
    ids = {number: place for place, one in enumerate(attrs) for number in one.ids} if named else {}
    stack = formats.by_name["kernel_stack"]
    size, caller = stack.field_of("size"), stack.field_of("caller")
    places = (stack.id, size.offset, caller.offset) if size is not None and caller is not None else None
    return Attrs(
        ids,
        tuple(one.sample_type for one in attrs),
        tuple(one.read_format for one in attrs),
        what,
        kept,
        common(formats, where),
        places if places is not None and places[1] + 4 <= places[2] <= 64 else None,
    )


def _tracing(file: File, at: int, size: int) -> tuple[str, str, Formats]:
    """Read the tracing data: the front of a trace.dat, in short."""
    body = Bytes(file.read(at, size), 0, file.where)
    if body.take(len(TRACING)) != TRACING:
        raise BadInput(file.where, "its tracing data are none", cause="a damaged file")
    body.string()  # a version of its own
    if body.number(1) != 0 or body.number(1) != 8:
        raise BadInput(
            file.where, "was recorded on a big-endian or 32-bit machine", remedy="only 64-bit little-endian is read"
        )
    body.number(4)
    page, event = read_headers(body)
    known: list[EventFormat] = [*read_ftrace(body), *read_events(body)]
    if all(one.name != "kernel_stack" for one in known):
        taken = {one.id for one in known}
        free = next(number for number in range(1, len(taken) + 2) if number not in taken)
        known.append(parse_format(_STACK.format(id=free), "ftrace", file.where))
    return page, event, Formats.of(known)


def _go_through(file: File, at: int, size: int, samples: Samples, met: _Met) -> None:
    """Read the data front to back, unpacking what is compressed; what is left of a record waits for the rest."""
    end = at + size
    unpacker: Callable[[bytes], bytes] | None = None
    budget, held = file.size * _MOST_TIMES + _MOST_SPARE, b""
    while at < end:
        raw = file.read(at, min(_PIECE, end - at))
        used, stopped = _taken(raw, samples, met)
        at += used
        if not stopped:
            if not used:
                raise file.cut(at, 8)
            continue
        kind, _, length = unpack_from("<IHH", raw, used)
        if kind == perfscan.AUXTRACE:
            at += length + (unpack_from("<Q", file.read(at, 16), 8)[0])
            continue
        head = 16 if kind == perfscan.COMPRESSED2 else 8
        record = file.read(at, length)
        packed = record[head : head + int.from_bytes(record[8:16], "little")] if head == 16 else record[head:]
        at += length
        unpacker = unpacker or zstd.stream(file.where)
        for start in range(0, len(packed), _ZSTD_PIECE):
            more = unpacker(packed[start : start + _ZSTD_PIECE])
            budget -= len(more)
            if budget < 0:
                raise BadInput(file.where, f"unpacks to over {_MOST_TIMES} times its size", cause="a damaged file")
            held += more
            used, stopped = _taken(held, samples, met)
            if stopped:
                raise BadInput(file.where, "a compressed record within another", cause="a damaged file")
            held = held[used:]


def _taken(raw: bytes, samples: Samples, met: _Met) -> tuple[int, bool]:
    """Take all whole records of `raw`; return how many bytes they are, and whether one is for the caller."""
    at = 0
    while True:
        used, others, stopped = samples.take(raw[at:] if at else raw)
        for place, row in others:
            met.see(raw, at + place, row)
        at += used
        if stopped or not used or not others:
            return at, stopped


def _trailer(body: bytes, attr: _Attr) -> tuple[int | None, int | None]:
    """Return CPU and time of a record that is no sample, from the fields at its end; None where it has none."""
    if not attr.flags & _SAMPLE_ID_ALL:
        return None, None
    order = (
        perfscan.S_TID,
        perfscan.S_TIME,
        perfscan.S_ID,
        perfscan.S_STREAM_ID,
        perfscan.S_CPU,
        perfscan.S_IDENTIFIER,
    )
    present = [bit for bit in order if attr.sample_type & bit]
    start = len(body) - 8 * len(present)
    if start < 0:
        return None, None
    values = dict(zip(present, unpack_from(f"<{len(present)}Q", body, start)))
    ts, cpu = values.get(perfscan.S_TIME), values.get(perfscan.S_CPU)
    # Counts that perf wrote when it ended have no time of their own.
    sound = ts is not None and 0 < ts < _EVER
    return (None if cpu is None else cpu & 0xFFFF), (ts if sound else None)


def _text(file: File, features: dict[int, tuple[int, int]], number: int) -> str:
    if number not in features:
        return ""
    at, size = features[number]
    raw = file.read(at, min(size, 4096))
    return raw[4:].split(b"\0")[0].decode("utf-8", "replace")


def _kernel_build_id(file: File, features: dict[int, tuple[int, int]]) -> str:
    """Return the recorded kernel's build id in hex, "" where it is not told."""
    if _BUILD_ID not in features:
        return ""
    at, size = features[_BUILD_ID]
    raw, place = file.read(at, size), 0
    while place + 36 <= size:
        _, misc, length = unpack_from("<IHH", raw, place)
        name = raw[place + 36 : place + length].split(b"\0")[0]
        if length < 36:
            break
        if misc & 7 == 1 and name.startswith(b"[kernel.kallsyms]"):
            count = raw[place + 32] if misc & 1 << 15 else 20  # PERF_RECORD_MISC_BUILD_ID_SIZE
            return raw[place + 12 : place + 12 + min(count, 20)].hex()
        place += length
    return ""
