"""Reads trace.dat, versions 6 and 7, little-endian and 64-bit: what trace-cmd and `nostale watch live -o` write.

Source:
    trace-cmd.dat.v6(5), trace-cmd.dat.v7(5). Where they are silent or wrong, the files of trace-cmd 3.1.6: in version 7
    there are two BUFFER options, the first (the top instance) empty; a BUFFER's own clock says `local` whatever was
    set, the option TRACECLOCK is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import Final

from nostale.contract import BadInput
from nostale.outside import zlib, zstd
from nostale.watch.build import build
from nostale.watch.file import TRACING, Bytes, File, open_file, read_events, read_ftrace, read_headers
from nostale.watch.format import EventFormat, Formats
from nostale.watch.symbols import Symbols
from nostale.watch.trace import Origin, Trace, Wanted

SECTION: Final = Struct("<HHIQ")  # id, flags, string id, size
OPTION: Final = Struct("<HI")  # id, size
_CHUNK: Final = Struct("<II")  # bytes of it in the file, and unpacked
DONE, CPUSTAT, BUFFER, TRACECLOCK, UNAME, CPUCOUNT, VERSION = 0, 2, 3, 4, 5, 8, 9
HEADERS, FTRACE_EVENTS, EVENT_FORMATS, KALLSYMS, PRINTK, CMDLINES = 16, 17, 18, 19, 20, 21
STRINGS = 15
# Against a small file that declares a huge size: zstd does better than this only on bytes that carry nothing.
_MOST_TIMES, _MOST_SPARE = 512, 1 << 26
_MOST_CHUNK: Final = 1 << 26  # of one compressed piece; trace-cmd makes them of ten pages
_PIECE: Final = 1 << 20  # of uncompressed pages taken at a time, about

Buffer = tuple[str, int, list[tuple[int, int, int]]]  # name, bytes of a page, and for each CPU its number, place, size
Grow = Callable[[bytes, int, str], bytes]
_ALGORITHMS: Final[dict[str, Grow | None]] = {"zstd": zstd.decompress, "zlib": zlib.decompress, "none": None}


@dataclass(slots=True)
class _Found:
    """What stands in front of the events."""

    page_bytes: int
    headers: tuple[str, str] = ("", "")
    formats: list[EventFormat] = field(default_factory=list)
    kallsyms: bytes = b""
    comms: dict[int, str] = field(default_factory=dict)
    buffers: list[Buffer] = field(default_factory=list)
    clock: str = ""
    machine: str = ""
    dropped: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Recording:
    """A trace.dat that was opened: what `build` needs."""

    origin: Origin
    formats: Formats
    streams: dict[int, Iterator[bytes]]
    page_bytes: int


def read_dat(path: Path, wanted: Wanted | None = None, *, fold_but: Collection[str] | None = None) -> Trace:
    """Read a recording.

    Args:
        wanted, fold_but: as `build` has them.

    Returns:
        The events of the buffer that has any. Where several instances were recorded, those of the fullest; a note says
        so.

    Raises:
        BadInput: no such file, another format, cut or damaged.
    """
    with open_file(path) as file:
        one = open_dat(file)
        return build(
            one.origin,
            one.formats,
            one.streams,
            one.page_bytes,
            wanted=wanted,
            fold_but=fold_but,
            size_bytes=4 * file.size,  # pages shrink to a quarter or less
        )


def open_dat(file: File) -> Recording:
    """Read what stands in front of a recording's events.

    Raises:
        BadInput: another format, cut or damaged.
    """
    head = Bytes(file, 0, file.where)
    if file.size < len(TRACING) or head.take(len(TRACING)) != TRACING:
        raise BadInput(file.where, "is not a trace.dat file", cause="another format", remedy="record with trace-cmd")
    version = head.string()
    if version not in ("6", "7"):
        raise BadInput(
            file.where,
            f"is trace.dat version {version}, neither 6 nor 7",
            remedy=f"trace-cmd convert -i {file.where} -o new.dat",
        )
    if head.number(1) != 0 or head.number(1) != 8:
        raise BadInput(
            file.where, "was recorded on a big-endian or 32-bit machine", remedy="only 64-bit little-endian is read"
        )
    found = _Found(head.number(4))
    streams = (_Version7 if version == "7" else _Version6)(file).read(head, found)
    name, page_bytes, extents = _fullest(found, file.where)
    notes = []
    others = [other[0] or "top" for other in found.buffers if any(size for _, _, size in other[2]) and other[0] != name]
    if others:
        notes.append(f"only the events of instance {name!r} are looked at, not those of {', '.join(sorted(others))}")
    origin = Origin(
        name=file.where,
        clock=found.clock or "unknown",
        machine=found.machine,
        header_page=found.headers[0],
        header_event=found.headers[1],
        symbols=Symbols(found.kallsyms),
        comms=found.comms,
        dropped=found.dropped,
        notes=tuple(notes),
    )
    pages = {cpu: streams(offset, size, page_bytes) if size else iter(()) for cpu, offset, size in extents}
    return Recording(origin, Formats.of(found.formats), pages, page_bytes)


@dataclass(slots=True)
class _Version6:
    """Everything one after the other, nothing compressed."""

    file: File

    def read(self, body: Bytes, found: _Found) -> Callable[[int, int, int], Iterator[bytes]]:
        found.headers = read_headers(body)
        found.formats = [*read_ftrace(body), *read_events(body)]
        found.kallsyms = body.take(body.number(4))
        body.take(body.number(4))  # printk formats
        found.comms = _comms(body.take(body.number(8)))
        cpus = body.number(4)
        instances = []
        mark = body.take(10)
        if mark.startswith(b"options"):
            while (number := body.number(2)) != 0:
                option = Bytes(body.take(body.number(4)), 0, self.file.where)
                if number == BUFFER:
                    instances.append((option.number(8), option.string(), cpus))
                elif number == CPUCOUNT and instances:  # of the instance before it
                    instances[-1] = (*instances[-1][:2], option.number(4))
                else:
                    _option(number, option, found)
            mark = body.take(10)
        if mark.startswith(b"flyrecord"):
            found.buffers.append(("", found.page_bytes, self._extents(body, cpus)))
        elif not instances:
            raise BadInput(self.file.where, "holds no ring buffer", cause="a recording without any, or of latencies")
        for offset, name, count in instances:
            body.at = offset
            body.take(10)  # "flyrecord" again
            found.buffers.append((name, found.page_bytes, self._extents(body, count)))
        return self.pages

    def _extents(self, body: Bytes, cpus: int) -> list[tuple[int, int, int]]:
        if cpus > self.file.size // 16:
            raise self.file.cut(body.at, 16 * cpus)
        return [(cpu, body.number(8), body.number(8)) for cpu in range(cpus)]

    def pages(self, offset: int, size: int, page_bytes: int) -> Iterator[bytes]:
        """Yield one CPU's pages."""
        step = max(1, _PIECE // max(1, page_bytes)) * page_bytes
        for at in range(0, size, step or _PIECE):
            yield self.file.read(offset + at, min(step or _PIECE, size - at))


@dataclass(slots=True)
class _Version7:
    """Sections, compressed or not, found by options."""

    file: File
    grow: Grow | None = None
    budget: int = 0
    sections: dict[int, int] = field(default_factory=dict)

    def read(self, body: Bytes, found: _Found) -> Callable[[int, int, int], Iterator[bytes]]:
        algorithm, _ = body.string(), body.string()
        if algorithm not in _ALGORITHMS:
            raise BadInput(
                self.file.where, f"is compressed with {algorithm!r}", remedy="trace-cmd convert --compression zstd"
            )
        self.grow, self.budget = _ALGORITHMS[algorithm], self.file.size * _MOST_TIMES + _MOST_SPARE
        for number, option in self._options(body.number(8)):
            if number in (HEADERS, FTRACE_EVENTS, EVENT_FORMATS, KALLSYMS, PRINTK, CMDLINES):
                self.sections[number] = option.number(8)
            elif number == BUFFER:
                found.buffers.append(_buffer(option))
            else:
                _option(number, option, found)
        if HEADERS not in self.sections:
            raise BadInput(self.file.where, "lacks the page header's description", cause="a recording that did not end")
        found.headers = read_headers(self._section(self.sections[HEADERS], HEADERS))
        for number, reader in ((EVENT_FORMATS, read_events), (FTRACE_EVENTS, read_ftrace)):
            if number in self.sections:
                found.formats += reader(self._section(self.sections[number], number))
        found.kallsyms = self._sized(KALLSYMS, 4)
        found.comms = _comms(self._sized(CMDLINES, 8))
        return self.pages

    def _section(self, offset: int, wanted: int) -> Bytes:
        """Return the contents of the section at `offset`, decompressed."""
        head = Bytes(self.file, offset, self.file.where)
        number, flags, _, size = SECTION.unpack(head.take(SECTION.size))
        if number != wanted:
            raise BadInput(self.file.where, f"section {number} at byte {offset} where {wanted} is expected")
        if not flags & 1:
            return Bytes(head.take(size), 0, self.file.where)
        return Bytes(self._chunk(head), 0, self.file.where)

    def _sized(self, section: int, width: int) -> bytes:
        """Return the contents of a section that opens with its own size; empty where there is none."""
        if section not in self.sections:
            return b""
        body = self._section(self.sections[section], section)
        return body.take(body.number(width))

    def _options(self, offset: int) -> Iterator[tuple[int, Bytes]]:
        """Yield every option of every options section, following DONE to the next; a circle is bad input."""
        seen = set[int]()
        while offset:
            if offset in seen:
                raise BadInput(self.file.where, "its options sections form a circle", cause="a damaged file")
            seen.add(offset)
            body, offset = self._section(offset, 0), 0
            assert isinstance(body.source, bytes)
            while body.at < len(body.source):
                number, size = OPTION.unpack(body.take(OPTION.size))
                option = Bytes(body.take(size), 0, self.file.where)
                if number == DONE:
                    offset = option.number(8)
                    break
                yield number, option

    def pages(self, offset: int, size: int, page_bytes: int) -> Iterator[bytes]:
        """Yield one CPU's pages, decompressed. The declared size leaves out the count of chunks."""
        if self.grow is None:
            yield from _Version6(self.file).pages(offset, size, page_bytes)
            return
        body = Bytes(self.file, offset, self.file.where)
        for _ in range(body.number(4)):
            yield self._chunk(body)

    def _chunk(self, body: Bytes) -> bytes:
        small, large = _CHUNK.unpack(body.take(_CHUNK.size))
        self.budget -= large
        if self.budget < 0 or large > _MOST_CHUNK:
            raise BadInput(
                self.file.where,
                f"declares over {_MOST_TIMES} times its own size in contents",
                cause="a damaged file",
                remedy="record it again",
            )
        if self.grow is None:
            raise BadInput(self.file.where, "a compressed section, but no algorithm", cause="a damaged file")
        return self.grow(body.take(small), large, self.file.where)


def _option(number: int, option: Bytes, found: _Found) -> None:
    """Take note of an option that both versions have."""
    assert isinstance(option.source, bytes)
    text = option.source.decode("utf-8", "replace")
    if number == TRACECLOCK:
        chosen = re.search(r"\[(\S+)\]", text)
        found.clock = chosen[1] if chosen else ""
    elif number == UNAME:
        found.machine = text.strip("\0\n").split(" ")[-1]
    elif number == CPUSTAT:
        _count_dropped(found, text)


def _buffer(option: Bytes) -> Buffer:
    option.number(8)  # where its section header is; each CPU below says where its own data are
    name, _clock = option.string(), option.string()  # the clock is not to be trusted, see above
    page_bytes, count = option.number(4), option.number(4)
    return name, page_bytes, [(option.number(4), option.number(8), option.number(8)) for _ in range(count)]


def _count_dropped(found: _Found, text: str) -> None:
    """Add up what the kernel's per-CPU statistics say was overwritten or dropped."""
    cpu = re.search(r"^CPU:\s*(\d{1,9})", text, re.M)
    if cpu is None:
        return
    counts = re.findall(r"^(?:overrun|commit overrun|dropped events):\s*(\d{1,18})", text, re.M)
    found.dropped[int(cpu[1])] = found.dropped.get(int(cpu[1]), 0) + sum(int(one) for one in counts)


def _fullest(found: _Found, where: str) -> Buffer:
    if not found.buffers:
        raise BadInput(where, "holds no ring buffer", cause="a recording that did not end", remedy="record it again")
    chosen = max(found.buffers, key=lambda buffer: sum(size for _, _, size in buffer[2]))
    if len({cpu for cpu, _, _ in chosen[2]}) != len(chosen[2]) or any(cpu >> 16 for cpu, _, _ in chosen[2]):
        raise BadInput(where, "names a CPU twice, or one past any machine's", cause="a damaged file")
    return chosen


def _comms(text: bytes) -> dict[int, str]:
    comms = {}
    for line in text.decode("utf-8", "replace").splitlines():
        pid, _, comm = line.strip("\0").partition(" ")
        if pid.isdecimal() and len(pid) < 12:
            comms[int(pid)] = comm
    return comms
