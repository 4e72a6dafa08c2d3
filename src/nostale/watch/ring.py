"""Ring-buffer pages: from the bytes that the kernel wrote to where each event lies and when it happened.

Three scanners of one contract: `scan_slowly` walks one event at a time and is the oracle; `scan` walks all pages in
step, the n-th event of every page at once, and serves small traces and machines without a compiler; scan.c, which
scanner.py calls, serves the rest.

Source:
    kernel/trace/ring_buffer.c and include/linux/ring_buffer.h (enum ring_buffer_type), v6.12; the page's own layout is
    read from `events/header_page`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nostale.contract import BadInput
from nostale.watch.format import parse_fields

PADDING: Final = 29
TIME_EXTEND: Final = 30
TIME_STAMP: Final = 31
_MISSED: Final = 1 << 31
_STORED: Final = 1 << 30
_COMMIT: Final = (1 << 20) - 1
_STAMP_TOP: Final = 0x1F << 59  # an absolute stamp holds 59 bits; the top ones are those of the stamp before

Ints = NDArray[np.int64]


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
class Geometry:
    """How a page is laid out: its size, and where its event bytes begin. A page opens with a u64 time stamp."""

    page_bytes: int
    commit_offset: int
    data_offset: int

    @classmethod
    def of(cls, header_page: str, page_bytes: int, where: str) -> Geometry:
        """Read it from the text of `events/header_page`.

        Raises:
            BadInput: it is not that of a 64-bit kernel's page of `page_bytes`.
        """
        fields = parse_fields(header_page)
        stamp, commit, data = (fields.get(name) for name in ("timestamp", "commit", "data"))
        if stamp is None or commit is None or data is None or (stamp.offset, stamp.size, commit.size) != (0, 8, 8):
            raise BadInput(where, "the page header is not that of a 64-bit kernel", cause="a damaged file")
        sane = 64 <= page_bytes <= _COMMIT and page_bytes % 8 == 0 and data.offset % 4 == 0 and commit.offset % 8 == 0
        if not sane or not commit.offset + 8 <= data.offset < page_bytes:
            raise BadInput(where, f"pages of {page_bytes} bytes with data at {data.offset}", cause="a damaged file")
        return cls(page_bytes, commit.offset, data.offset)


@dataclass(frozen=True, slots=True, eq=False)
class Scanned:
    """Every event of the pages, in page order and within a page in the order written.

    Args:
        page: `(n,) int64`, the page it is in.
        ts: `(n,) int64`, ns in the trace's clock.
        offset: `(n,) int64`, of its first byte after the ring-buffer header, from the start of all pages.
        size: `(n,) int64`, bytes there.
    """

    page: Ints
    ts: Ints
    offset: Ints
    size: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Pages:
    """The headers of all pages.

    Args:
        stamp: `(n,) int64`, time of the first event before its delta.
        used: `(n,) int64`, bytes of event data.
        missed: `(n,) int64`, events lost just before the page: 0 none, -1 some, else how many.
    """

    stamp: Ints
    used: Ints
    missed: Ints


def read_pages(raw: NDArray[np.uint8], geometry: Geometry, where: str) -> Pages:
    """Read every page's header.

    Raises:
        BadInput: the bytes are not whole pages, or a page claims more data than it has room for.
    """
    if raw.size % geometry.page_bytes:
        raise BadInput(where, f"{raw.size} bytes are not whole pages of {geometry.page_bytes}", cause="a cut file")
    words = raw.view(np.uint64).reshape(-1, geometry.page_bytes // 8)
    commit = words[:, geometry.commit_offset // 8].astype(np.int64)
    used = commit & _COMMIT
    room = geometry.page_bytes - geometry.data_offset
    if np.any(used > room) or np.any(used % 4):
        bad = int(np.flatnonzero((used > room) | (used % 4 != 0))[0])
        raise claims(where, bad, int(used[bad]), room)
    missed = np.where(commit & _MISSED, np.int64(-1), np.int64(0))
    for page in np.flatnonzero((commit & _MISSED != 0) & (commit & _STORED != 0)):
        at = int(page) * geometry.page_bytes + geometry.data_offset + int(used[page])
        if int(used[page]) + 8 <= room:
            missed[page] = max(1, int.from_bytes(raw[at : at + 8].tobytes(), "little") & ((1 << 62) - 1))
    return Pages(words[:, 0].astype(np.int64), used, missed)


def scan(raw: NDArray[np.uint8], pages: Pages, geometry: Geometry, where: str) -> Scanned:
    """Find every event, all pages in step.

    Args:
        raw: all pages, `(n_pages * page_bytes,) uint8`.

    Cost: O(bytes), in as many numpy rounds as the fullest page has events.

    Raises:
        BadInput: an event runs past the end of its page.
    """
    words = raw.view(np.uint32)
    page = np.flatnonzero(pages.used > 0)
    at = (page * geometry.page_bytes + geometry.data_offset) // 4
    end = at + pages.used[page] // 4
    ts = pages.stamp[page].copy()
    found: list[tuple[Ints, Ints, Ints, Ints, Ints]] = []
    count = np.zeros(len(pages.used), np.int64)
    while page.size:
        head = words[at]
        kind = (head & 31).astype(np.int64)
        delta = (head >> 5).astype(np.int64)
        # Only some kinds have a second word; one that would lie past the page's end is caught below by its length.
        extra = np.where(at + 1 < end, words[np.minimum(at + 1, words.size - 1)], 0).astype(np.int64)
        ts = _stamped(ts, kind, delta, extra)
        length = _length(kind, delta, extra, end - at)
        past = (length > end - at) | (length < 1)
        if past.any():
            raise overrun(where, int(page[past][0]), int(at[past][0]) * 4 % geometry.page_bytes)
        data = kind < PADDING
        if data.any():
            start = at[data] + np.where(kind[data] == 0, 2, 1)
            size = np.where(kind[data] == 0, extra[data] - 4, kind[data] * 4)
            found.append((page[data], count[page[data]], ts[data], start * 4, size))
            count[page[data]] += 1
        at = at + length
        going = at < end
        if not going.all():
            page, at, end, ts = page[going], at[going], end[going], ts[going]
    return _in_order(found, count)


def _stamped(ts: Ints, kind: Ints, delta: Ints, extra: Ints) -> Ints:
    """Return the time after each record: most add a delta, a TIME_STAMP sets it."""
    long = kind >= TIME_EXTEND
    if not long.any():
        return ts + delta
    whole = np.where(long, delta | (extra << 27), delta)
    absolute = (whole & ~np.int64(_STAMP_TOP - (1 << 64))) | (ts & np.int64(_STAMP_TOP - (1 << 64)))
    absolute = np.where(absolute < ts, absolute + (np.int64(1) << np.int64(59)), absolute)
    return np.where(kind == TIME_STAMP, absolute, ts + whole)


def _length(kind: Ints, delta: Ints, extra: Ints, left: Ints) -> Ints:
    """Return each record's length in words, its header included."""
    length = 1 + kind
    if (kind == 0).any() or (kind >= PADDING).any():
        length = np.where(kind == 0, np.where(extra >= 4, 1 + (extra + 3) // 4, left + 1), length)
        # Padding without a delta fills the page; with one it is a discarded event, its length in the second word.
        length = np.where(kind == PADDING, np.where(delta == 0, left, 1 + (extra + 3) // 4), length)
        length = np.where(kind >= TIME_EXTEND, 2, length)
    return length


def _in_order(found: list[tuple[Ints, Ints, Ints, Ints, Ints]], count: Ints) -> Scanned:
    """Put what was found round by round into page order: each event knows its page and its number there."""
    total = int(count.sum())
    first = np.cumsum(count) - count
    columns = tuple(np.empty(total, np.int64) for _ in range(4))
    for page, number, *rest in found:
        place = first[page] + number
        for column, part in zip(columns, (page, *rest)):
            column[place] = part
    return Scanned(*columns)


def scan_slowly(raw: NDArray[np.uint8], pages: Pages, geometry: Geometry, where: str) -> Scanned:
    """Find every event, one at a time: what `scan` must equal."""
    data = raw.tobytes()
    rows: list[tuple[int, int, int, int]] = []
    for page in range(len(pages.used)):
        at = page * geometry.page_bytes + geometry.data_offset
        end, ts = at + int(pages.used[page]), int(pages.stamp[page])
        while at < end:
            head = int.from_bytes(data[at : at + 4], "little")
            kind, delta = head & 31, head >> 5
            extra = int.from_bytes(data[at + 4 : at + 8], "little") if at + 4 < end else 0
            if kind == 0:
                length, event = (4 + (extra + 3) // 4 * 4 if extra >= 4 else -1), (at + 8, extra - 4)
            elif kind < PADDING:
                length, event = 4 + 4 * kind, (at + 4, 4 * kind)
            elif kind == PADDING:
                length, event = (end - at if delta == 0 else 4 + (extra + 3) // 4 * 4), (0, 0)
            else:
                length, event = 8, (0, 0)
            if kind == TIME_STAMP:
                stamp = (delta | extra << 27) | (ts & _STAMP_TOP)
                ts = stamp + (1 << 59) if stamp < ts else stamp
            else:
                ts += delta | (extra << 27 if kind == TIME_EXTEND else 0)
            if length < 4 or at + length > end:
                raise overrun(where, page, at % geometry.page_bytes)
            if kind < PADDING:
                rows.append((page, ts, *event))
            at += length
    table = np.array(rows, np.int64).reshape(-1, 4)
    return Scanned(table[:, 0], table[:, 1], table[:, 2], table[:, 3])


def claims(where: str, page: int, used: int, room: int) -> BadInput:
    """Return what is said of a page that claims more than it can hold."""
    return BadInput(where, f"page {page} claims {used} of {room} bytes", cause="a damaged file")


def overrun(where: str, page: int, byte: int) -> BadInput:
    """Return what is said of an event that does not end within its page."""
    return BadInput(where, f"an event at byte {byte} of page {page} runs past the page's end", cause="a damaged file")


def too_short(where: str, size: int) -> BadInput:
    """Return what is said of an event that has no room for its type and thread id."""
    return BadInput(where, f"an event of {size} bytes, too short for its header", cause="a damaged file")


def too_late(where: str) -> BadInput:
    """Return what is said of a time past 2^62 ns, which are 146 years: sums of such would overflow."""
    return BadInput(where, "a time stamp lies centuries away", cause="a damaged file")
