"""Writes a trace as trace.dat version 7, which `read_trace` and trace-cmd read: its pages as they are, compressed.

Only the kernel symbols that its events name are written, so that a small recording stays small.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from struct import pack
from typing import Final

import numpy as np

from nostale.contract import BadInput
from nostale.outside import zstd
from nostale.watch import tracedat as v7
from nostale.watch.file import TRACING
from nostale.watch.trace import Trace, gather

_CHUNK_PAGES: Final = 10  # as trace-cmd


def save(trace: Trace, path: Path) -> None:
    """Write `trace`, whose pages are still there, to `path`.

    Raises:
        BadInput: it cannot be written there.
    """
    try:
        path.write_bytes(_contents(trace))
    except OSError as problem:
        raise BadInput(str(path), f"cannot be written: {problem.strerror}") from problem


def _contents(trace: Trace) -> bytes:
    origin, page_bytes = trace.origin, trace.page_bytes
    out = bytearray(TRACING + b"7\0" + pack("<BBI", 0, 8, page_bytes) + b"zstd\x001.5\0")
    first_options = len(out)
    out += bytes(8)
    sections = {
        v7.HEADERS: _headers(origin.header_page, origin.header_event),
        v7.FTRACE_EVENTS: _ftrace(trace),
        v7.EVENT_FORMATS: _events(trace),
        v7.KALLSYMS: _sized(origin.symbols.subset(_addresses(trace)), "<I"),
        v7.PRINTK: _sized(b"", "<I"),
        v7.CMDLINES: _sized("".join(f"{pid} {comm}\n" for pid, comm in sorted(_comms(trace).items())).encode(), "<Q"),
    }
    options = []
    for number, body in sections.items():
        options.append((number, pack("<Q", len(out))))
        out += _section(number, body)
    options += [
        (v7.TRACECLOCK, f"[{origin.clock}]\n\0".encode()),
        (v7.UNAME, f"Linux nostale 0 {origin.machine}\0".encode()),
        (v7.VERSION, b"nostale\0"),
        *((v7.CPUSTAT, f"CPU: {cpu}\noverrun: {lost}\n\0".encode()) for cpu, lost in sorted(origin.dropped.items())),
        (v7.CPUCOUNT, pack("<I", max(trace.cpus, default=0) + 1)),
        (v7.BUFFER, _buffer(trace, page_bytes, out)),
    ]
    out[first_options : first_options + 8] = pack("<Q", len(out))
    body = b"".join(pack("<HI", number, len(data)) + data for number, data in options)
    body += pack("<HIQ", v7.DONE, 8, 0)
    out += v7.SECTION.pack(0, 0, 0, len(body)) + body
    names = b"nostale\0"
    return bytes(out) + v7.SECTION.pack(v7.STRINGS, 1, 0, len(_packed(names))) + _packed(names)


def _section(number: int, body: bytes) -> bytes:
    packed = _packed(body)
    return v7.SECTION.pack(number, 1, 0, len(packed)) + packed


def _packed(body: bytes) -> bytes:
    frame = zstd.compress(body)
    return pack("<II", len(frame), len(body)) + frame


def _sized(body: bytes, form: str) -> bytes:
    return pack(form, len(body)) + body


def _headers(page: str, event: str) -> bytes:
    return b"header_page\0" + _sized(page.encode(), "<Q") + b"header_event\0" + _sized(event.encode(), "<Q")


def _ftrace(trace: Trace) -> bytes:
    texts = [one.text.encode() for one in trace.formats.by_id.values() if one.system == "ftrace"]
    return pack("<I", len(texts)) + b"".join(_sized(text, "<Q") for text in texts)


def _events(trace: Trace) -> bytes:
    systems = defaultdict(list)
    for one in trace.formats.by_id.values():
        if one.system != "ftrace":
            systems[one.system].append(one.text.encode())
    out = pack("<I", len(systems))
    for system, texts in systems.items():
        out += system.encode() + b"\0" + pack("<I", len(texts)) + b"".join(_sized(text, "<Q") for text in texts)
    return out


def _comms(trace: Trace) -> dict[int, str]:
    """Return the names of the threads that have events."""
    seen = set(np.unique(trace.pid).tolist())
    if trace.has("sched_switch") and (rows := trace.rows("sched_switch")).size:
        seen |= set(trace.field(rows, "sched_switch", "next_pid").tolist())
    return {pid: comm for pid, comm in trace.origin.comms.items() if pid in seen}


def _addresses(trace: Trace) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Return every kernel address that an event names: its pointers, and the frames of stacks."""
    found = [np.zeros(0, np.uint64)]
    for one in trace.formats.by_id.values():
        rows = trace.rows(one.name)
        if rows.size:
            found += [
                np.unique(trace.field(rows, one.name, f.name)).astype(np.uint64)
                for f in one.fields.values()
                if f.is_pointer
            ]
    if trace.has("kernel_stack"):
        low = trace.formats.by_name["kernel_stack"].fields["caller"].offset
        for row in trace.rows("kernel_stack").tolist():
            start, size = trace.place(row), int(trace.size[row])
            found.append(
                gather(trace.raw, start + low + 8 * np.arange((size - low) // 8), 8, signed=False).astype(np.uint64)
            )
    return np.unique(np.concatenate(found))


def _buffer(trace: Trace, page_bytes: int, out: bytearray) -> bytes:
    """Append the ring buffer's section to `out`; return its option."""
    where = len(out)
    entries = []
    # The section header comes first, then each CPU's chunks at a page boundary.
    out += bytes(v7.SECTION.size)
    for cpu in trace.cpus:
        out += bytes(-len(out) % page_bytes)
        pages = b"".join(trace.pages[cpu])
        chunks = [pages[at : at + _CHUNK_PAGES * page_bytes] for at in range(0, len(pages), _CHUNK_PAGES * page_bytes)]
        packed = b"".join(_packed(chunk) for chunk in chunks)
        entries.append(pack("<IQQ", cpu, len(out), len(packed)))
        out += pack("<I", len(chunks)) + packed
    out[where : where + v7.SECTION.size] = v7.SECTION.pack(v7.BUFFER, 1, 0, len(out) - where - v7.SECTION.size)
    clock = trace.origin.clock.encode()
    return pack("<Q", where) + b"nostale\0" + clock + b"\0" + pack("<II", page_bytes, len(entries)) + b"".join(entries)
