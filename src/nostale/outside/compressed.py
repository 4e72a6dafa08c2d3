"""Whole files that may be compressed: xz and zstd told by their content, never by their name."""

from __future__ import annotations

import lzma
import mmap
import os
from pathlib import Path

from nostale.contract import BadInput

LIMIT_BYTES = 1 << 30  # the largest image read, packed or not: what unpacks to more is refused, never held
# A kernel unpacks to 4 to 8 times its packed size; zeros, put there to fill memory, to a thousand times.
_MOST_TIMES, _ALWAYS_BYTES = 64, 1 << 24
MAPPED_BYTES = 8 << 20  # from here on a plain file is mapped: what is read of it is little, its debugging is not read
_XZ_MEMORY_BYTES = 256 << 20  # an xz file names its own dictionary size; this is above what `xz -9` asks for
_XZ_MAGIC = b"\xfd7zXZ\x00"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

Bytes = bytes | mmap.mmap


def open_whole(path: Path, limit_bytes: int = LIMIT_BYTES) -> Bytes:
    """Return a file's content as `read_whole` does, but a large plain file mapped, whatever its size.

    A map is not a copy: whoever shortens the file meanwhile ends this process, which is why small ones are read.

    Raises:
        BadInput: as `read_whole`; a mapped file is held to no limit.
    """
    try:
        if path.is_file() and path.stat().st_size > MAPPED_BYTES:
            with path.open("rb") as file:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if not content[:6].startswith((_XZ_MAGIC, _ZSTD_MAGIC)):
                return content
    except (OSError, ValueError):
        pass  # read_whole says why in words
    return read_whole(path, limit_bytes)


def read_whole(path: Path, limit_bytes: int = LIMIT_BYTES) -> bytes:
    """Return a file's content, unpacked where it is packed.

    Args:
        limit_bytes: no more than this is ever held, of the packed or of the unpacked.

    Raises:
        BadInput: not a readable regular file, damaged, cut short, or larger than `limit_bytes`; packed, larger than 16
            MiB and 64 times what was packed.
    """
    raw = _read(path, limit_bytes)
    if not raw.startswith((_XZ_MAGIC, _ZSTD_MAGIC)):
        return raw
    unpack = _unxz if raw.startswith(_XZ_MAGIC) else _unzstd
    likely_bytes = max(_ALWAYS_BYTES, _MOST_TIMES * len(raw))
    content = unpack(raw, str(path), min(limit_bytes, likely_bytes))
    if content is not None:
        return content
    if limit_bytes <= likely_bytes:
        raise _too_large(str(path), limit_bytes)
    raise BadInput(
        str(path),
        f"unpacks to more than {_MOST_TIMES} times its size",
        cause="a file made to fill memory",
        remedy="unpack it first",
    )


def _read(path: Path, limit_bytes: int) -> bytes:
    where = str(path)
    try:
        if not path.exists():
            raise BadInput(where, "no such file", remedy="check the path")
        if not path.is_file():
            raise BadInput(where, "not a regular file", remedy="give the file of an image")
        with path.open("rb") as file:
            # No more than there is: the buffer is as large as what is asked for.
            raw = file.read(min(os.fstat(file.fileno()).st_size, limit_bytes) + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(where, f"cannot be read: {reason}", remedy="check the path and its permissions") from error
    if len(raw) > limit_bytes:
        raise _too_large(where, limit_bytes)
    return raw


def _unxz(raw: bytes, where: str, limit_bytes: int) -> bytes | None:
    """Return what was packed, None where it is more than `limit_bytes`."""
    decompressor = lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES)
    try:
        content = decompressor.decompress(raw, limit_bytes + 1)
    except lzma.LZMAError as error:
        raise _damaged(where, "xz", str(error)) from error
    if len(content) > limit_bytes:
        return None
    if not decompressor.eof:
        raise _damaged(where, "xz", "it ends before its end mark")
    return content


def _unzstd(raw: bytes, where: str, limit_bytes: int) -> bytes | None:
    from nostale.outside import zstd  # here, because only a packed image needs it

    return zstd.unpack(raw, limit_bytes, where)


def _damaged(where: str, form: str, what: str) -> BadInput:
    return BadInput(
        where, f"{form} data that does not unpack: {what}", cause="a damaged or cut copy", remedy="copy it again"
    )


def _too_large(where: str, limit_bytes: int) -> BadInput:
    return BadInput(
        where,
        f"more than {limit_bytes >> 20} MiB",
        cause="debugging information",
        remedy="strip it first: objcopy --strip-debug",
    )
