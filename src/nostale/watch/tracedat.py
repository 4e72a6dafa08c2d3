"""Reads trace.dat, version 7, little-endian and 64-bit: what trace-cmd 3 and `nostale watch live -o` write.

Source:
    trace-cmd.dat.v7(5). Where it is silent or wrong, the files of trace-cmd 3.1.6: there are two BUFFER options, the
    first (the top instance) empty; a BUFFER's own clock says `local` whatever was set, the option TRACECLOCK is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final

from nostale.contract import BadInput
from nostale.outside import zstd
from nostale.watch.format import EventFormat, Formats, parse_format
from nostale.watch.symbols import Symbols
from nostale.watch.trace import Origin, Trace, build

MAGIC: Final = b"\x17\x08\x44tracing"
SECTION: Final = Struct("<HHIQ")  # id, flags, string id, size
OPTION: Final = Struct("<HI")  # id, size
DONE, CPUSTAT, BUFFER, TRACECLOCK, UNAME, CPUCOUNT, VERSION = 0, 2, 3, 4, 5, 8, 9
HEADERS, FTRACE_EVENTS, EVENT_FORMATS, KALLSYMS, PRINTK, CMDLINES = 16, 17, 18, 19, 20, 21
STRINGS = 15
# Against a small file that declares a huge size: zstd does better than this only on bytes that carry nothing.
_MOST_TIMES, _MOST_SPARE = 512, 1 << 26


@dataclass(slots=True)
class _Bytes:
    """Bytes read front to back, each read checked."""

    data: memoryview
    at: int
    where: str

    def take(self, count: int) -> memoryview:
        if count < 0 or self.at < 0 or self.at + count > len(self.data):
            raise BadInput(
                self.where,
                f"cut short at byte {len(self.data)}: {count} more are declared at byte {self.at}",
                cause="an interrupted copy or recording",
                remedy="record or copy it again",
            )
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def string(self) -> str:
        end = bytes(self.data[self.at : self.at + 4096]).find(b"\0")
        if end < 0:
            raise BadInput(self.where, f"a string at byte {self.at} has no end", cause="a damaged file")
        return str(self.take(end + 1)[:-1], "utf-8", "replace")


@dataclass(slots=True)
class _File:
    """A trace.dat as sections and options."""

    data: memoryview
    where: str
    page_bytes: int
    compressed: bool
    options: int
    budget: int

    def at(self, offset: int) -> _Bytes:
        return _Bytes(self.data, offset, self.where)

    def section(self, offset: int, wanted: int) -> _Bytes:
        """Return the contents of the section at `offset`, decompressed."""
        head = self.at(offset)
        number, flags, _, size = SECTION.unpack(head.take(SECTION.size))
        if number != wanted:
            raise BadInput(self.where, f"section {number} at byte {offset} where {wanted} is expected")
        if not flags & 1:
            return _Bytes(head.take(size), 0, self.where)
        small, large = head.number(4), head.number(4)
        return _Bytes(memoryview(self._grow(head.take(small), large)), 0, self.where)

    def all_options(self) -> Iterator[tuple[int, _Bytes]]:
        """Yield every option of every options section, following DONE to the next; a circle is bad input."""
        offset, seen = self.options, set[int]()
        while offset:
            if offset in seen:
                raise BadInput(self.where, "its options sections form a circle", cause="a damaged file")
            seen.add(offset)
            body, offset = self.section(offset, 0), 0
            while body.at < len(body.data):
                number, size = OPTION.unpack(body.take(OPTION.size))
                option = _Bytes(body.take(size), 0, self.where)
                if number == DONE:
                    offset = option.number(8)
                    break
                yield number, option

    def cpu_data(self, offset: int, size: int) -> Iterator[bytes]:
        """Yield one CPU's pages, decompressed. The declared size leaves out the count of chunks."""
        body = self.at(offset)
        if not self.compressed:
            yield bytes(body.take(size))
            return
        for _ in range(body.number(4)):
            small, large = body.number(4), body.number(4)
            yield self._grow(body.take(small), large)

    def _grow(self, frame: memoryview, size: int) -> bytes:
        self.budget -= size
        if self.budget < 0:
            raise BadInput(
                self.where,
                f"declares over {_MOST_TIMES} times its own size in contents",
                cause="a damaged file",
                remedy="record it again",
            )
        return zstd.decompress(frame, size, self.where)


@dataclass(slots=True)
class _Found:
    """What the options name."""

    sections: dict[int, int]
    buffers: list[tuple[str, int, list[tuple[int, int, int]]]]
    clock: str = ""
    machine: str = ""
    dropped: dict[int, int] | None = None


def read_trace(path: Path) -> Trace:
    """Read a recording whole.

    Returns:
        The events of the buffer that has any. Where several instances were recorded, those of the fullest; a note says
        so.

    Raises:
        BadInput: no such file, another format, cut or damaged.
    """
    where = str(path)
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise BadInput(where, f"cannot be read: {problem.strerror}") from problem
    file = _open(memoryview(data), where)
    found = _options(file)
    name, page_bytes, extents = _fullest(found, where)
    streams = {cpu: file.cpu_data(offset, size) if size else () for cpu, offset, size in extents}
    notes = []
    others = [other[0] or "top" for other in found.buffers if other[2] and other[0] != name]
    if others:
        notes.append(f"only the events of instance {name!r} are looked at, not those of {', '.join(sorted(others))}")
    header_page, header_event = _headers(file, found)
    origin = Origin(
        name=where,
        clock=found.clock or "unknown",
        machine=found.machine,
        header_page=header_page,
        header_event=header_event,
        symbols=Symbols(_sized(file, found, KALLSYMS, 4)),
        comms=_comms(_sized(file, found, CMDLINES, 8)),
        dropped=found.dropped or {},
        notes=tuple(notes),
    )
    return build(origin, Formats.of([*_events(file, found), *_ftrace(file, found)]), streams, page_bytes)


def _open(data: memoryview, where: str) -> _File:
    head = _Bytes(data, 0, where)
    if bytes(data[: len(MAGIC)]) != MAGIC:
        raise BadInput(where, "is not a trace.dat file", cause="another format", remedy="record with trace-cmd")
    head.take(len(MAGIC))
    version = head.string()
    if version != "7":
        raise BadInput(
            where, f"is trace.dat version {version}, not 7", remedy=f"trace-cmd convert -i {where} -o new.dat"
        )
    if head.number(1) != 0 or head.number(1) != 8:
        raise BadInput(
            where, "was recorded on a big-endian or 32-bit machine", remedy="only 64-bit little-endian is read"
        )
    page_bytes, algorithm, _ = head.number(4), head.string(), head.string()
    if algorithm not in ("zstd", "none"):
        raise BadInput(where, f"is compressed with {algorithm!r}", remedy="trace-cmd convert --compression zstd")
    return _File(data, where, page_bytes, algorithm == "zstd", head.number(8), len(data) * _MOST_TIMES + _MOST_SPARE)


def _options(file: _File) -> _Found:
    found = _Found({}, [])
    for number, option in file.all_options():
        if number in (HEADERS, FTRACE_EVENTS, EVENT_FORMATS, KALLSYMS, PRINTK, CMDLINES):
            found.sections[number] = option.number(8)
        elif number == TRACECLOCK:
            chosen = re.search(r"\[(\S+)\]", str(option.data, "utf-8", "replace"))
            found.clock = chosen[1] if chosen else ""
        elif number == UNAME:
            found.machine = str(option.data, "utf-8", "replace").strip("\0\n").split(" ")[-1]
        elif number == CPUSTAT:
            _count_dropped(found, str(option.data, "utf-8", "replace"))
        elif number == BUFFER:
            found.buffers.append(_buffer(option))
    return found


def _buffer(option: _Bytes) -> tuple[str, int, list[tuple[int, int, int]]]:
    option.number(8)  # where its section header is; each CPU below says where its own data are
    name, _clock = option.string(), option.string()  # the clock is not to be trusted, see above
    page_bytes, count = option.number(4), option.number(4)
    return name, page_bytes, [(option.number(4), option.number(8), option.number(8)) for _ in range(count)]


def _count_dropped(found: _Found, text: str) -> None:
    """Add up what the kernel's per-CPU statistics say was overwritten or dropped."""
    cpu = re.search(r"^CPU:\s*(\d+)", text, re.M)
    if cpu is None:
        return
    counts = re.findall(r"^(?:overrun|commit overrun|dropped events):\s*(\d+)", text, re.M)
    found.dropped = found.dropped or {}
    found.dropped[int(cpu[1])] = found.dropped.get(int(cpu[1]), 0) + sum(int(one) for one in counts)


def _fullest(found: _Found, where: str) -> tuple[str, int, list[tuple[int, int, int]]]:
    if not found.buffers:
        raise BadInput(where, "holds no ring buffer", cause="a recording that did not end", remedy="record it again")
    chosen = max(found.buffers, key=lambda buffer: sum(size for _, _, size in buffer[2]))
    if len({cpu for cpu, _, _ in chosen[2]}) != len(chosen[2]):
        raise BadInput(where, "names a CPU twice", cause="a damaged file")
    return chosen


def _headers(file: _File, found: _Found) -> tuple[str, str]:
    """Return how the kernel describes a page's header and an event's."""
    if HEADERS not in found.sections:
        raise BadInput(file.where, "lacks the page header's description", cause="a recording that did not end")
    body = file.section(found.sections[HEADERS], HEADERS)
    texts = []
    for _ in range(2):
        body.string()
        texts.append(str(body.take(body.number(8)), "utf-8", "replace"))
    return texts[0], texts[1]


def _sized(file: _File, found: _Found, section: int, width: int) -> bytes:
    """Return the contents of a section that opens with its own size; empty where there is none."""
    if section not in found.sections:
        return b""
    body = file.section(found.sections[section], section)
    return bytes(body.take(body.number(width)))


def _comms(text: bytes) -> dict[int, str]:
    comms = {}
    for line in text.decode("utf-8", "replace").splitlines():
        pid, _, comm = line.strip("\0").partition(" ")
        if pid.isdecimal() and len(pid) < 12:
            comms[int(pid)] = comm
    return comms


def _events(file: _File, found: _Found) -> Iterator[EventFormat]:
    if EVENT_FORMATS not in found.sections:
        return
    body = file.section(found.sections[EVENT_FORMATS], EVENT_FORMATS)
    for _ in range(body.number(4)):
        system = body.string()
        for _ in range(body.number(4)):
            yield parse_format(str(body.take(body.number(8)), "utf-8", "replace"), system, file.where)


def _ftrace(file: _File, found: _Found) -> Iterator[EventFormat]:
    if FTRACE_EVENTS not in found.sections:
        return
    body = file.section(found.sections[FTRACE_EVENTS], FTRACE_EVENTS)
    for _ in range(body.number(4)):
        yield parse_format(str(body.take(body.number(8)), "utf-8", "replace"), "ftrace", file.where)
