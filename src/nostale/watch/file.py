"""The file of a recording, read in checked pieces, and the descriptions that recorders put in front of its events."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nostale.contract import BadInput
from nostale.watch.format import EventFormat, parse_format

TRACING: Final = b"\x17\x08\x44tracing"  # begins a trace.dat, and the tracing data within a perf.data
PERF: Final = b"PERFILE2"
_AHEAD: Final = 1 << 16


@dataclass(slots=True)
class File:
    """A file of which pieces are read where they lie."""

    handle: int
    size: int
    where: str

    def read(self, at: int, count: int) -> bytes:
        """Return `count` bytes at `at`.

        Raises:
            BadInput: they are not all there.
        """
        if count < 0 or at < 0 or at + count > self.size:
            raise self.cut(at, count)
        data = os.pread(self.handle, count, at)
        if len(data) != count:
            raise self.cut(at, count)
        return data

    def cut(self, at: int, count: int) -> BadInput:
        return BadInput(
            self.where,
            f"cut short at byte {self.size}: {count} more are declared at byte {at}",
            cause="an interrupted copy or recording",
            remedy="record or copy it again",
        )


@dataclass(slots=True)
class Bytes:
    """Bytes read front to back, each read checked: of a file, or of a section that was decompressed."""

    source: File | bytes
    at: int
    where: str
    _near: bytes = field(init=False)  # of a file, what was read with more than was asked for
    _near_at: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._near = b"" if isinstance(self.source, File) else self.source

    def take(self, count: int) -> bytes:
        at = self.at - self._near_at
        held = at >= 0 and 0 <= count <= len(self._near) - at
        data = self._near[at : at + count] if held else self._further(count)
        self.at += count
        return data

    def _further(self, count: int) -> bytes:
        if not isinstance(self.source, File):
            raise BadInput(
                self.where,
                f"a section of {len(self.source)} bytes declares {count} at {self.at}",
                cause="a damaged file",
            )
        if not 0 <= count < _AHEAD or self.at > self.source.size - _AHEAD:
            return self.source.read(self.at, count)
        self._near, self._near_at = self.source.read(self.at, _AHEAD), self.at
        return self._near[:count]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def text(self, size: int) -> str:
        return self.take(self.number(size)).decode("utf-8", "replace")

    def string(self) -> str:
        if isinstance(self.source, File):
            near = self.source.read(self.at, max(0, min(4096, self.source.size - self.at)))
        else:
            near = self.source[self.at : self.at + 4096]
        end = near.find(b"\0")
        if end < 0:
            raise BadInput(self.where, f"a string at byte {self.at} has no end", cause="a damaged file")
        self.at += end + 1
        return near[:end].decode("utf-8", "replace")


@contextmanager
def open_file(path: Path) -> Iterator[File]:
    """Open a file to be read in pieces, and close it again.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
        reason = getattr(problem, "strerror", None) or str(problem)
        raise BadInput(str(path), f"cannot be read: {reason}") from problem
    try:
        held = os.fstat(handle)
        if not stat.S_ISREG(held.st_mode):
            raise BadInput(str(path), "is not a regular file", remedy="give the file of a recording")
        yield File(handle, held.st_size, str(path))
    finally:
        os.close(handle)


def read_headers(body: Bytes) -> tuple[str, str]:
    """Return how the kernel describes a page's header and an event's."""
    texts = []
    for _ in range(2):
        body.string()
        texts.append(body.text(8))
    return texts[0], texts[1]


def read_events(body: Bytes) -> Iterator[EventFormat]:
    """Yield the descriptions of events, system by system."""
    for _ in range(body.number(4)):
        system = body.string()
        for _ in range(body.number(4)):
            yield parse_format(body.text(8), system, body.where)


def read_ftrace(body: Bytes) -> Iterator[EventFormat]:
    """Yield the descriptions of ftrace's own events."""
    for _ in range(body.number(4)):
        yield parse_format(body.text(8), "ftrace", body.where)
