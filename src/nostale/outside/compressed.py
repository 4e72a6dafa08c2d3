"""Whole files that may be compressed: xz and zstd told by their content, never by their name."""

from __future__ import annotations

import lzma
from pathlib import Path

from nostale.contract import BadInput

LIMIT_BYTES = 1 << 30  # the largest image read, packed or not: what unpacks to more is refused, never held
_XZ_MEMORY_BYTES = 256 << 20  # an xz file names its own dictionary size; this is above what `xz -9` asks for
_XZ_MAGIC = b"\xfd7zXZ\x00"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def read_whole(path: Path, limit_bytes: int = LIMIT_BYTES) -> bytes:
    """Return a file's content, unpacked where it is packed.

    Args:
        limit_bytes: no more than this is ever held, of the packed or of the unpacked.

    Raises:
        BadInput: not a readable regular file, damaged, cut short, or larger than `limit_bytes`.
    """
    raw = _read(path, limit_bytes)
    if raw.startswith(_XZ_MAGIC):
        return _unxz(raw, str(path), limit_bytes)
    if raw.startswith(_ZSTD_MAGIC):
        return _unzstd(raw, str(path), limit_bytes)
    return raw


def _read(path: Path, limit_bytes: int) -> bytes:
    where = str(path)
    try:
        if not path.exists():
            raise BadInput(where, "no such file", remedy="check the path")
        if not path.is_file():
            raise BadInput(where, "not a regular file", remedy="give the file of an image")
        with path.open("rb") as file:
            raw = file.read(limit_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(where, f"cannot be read: {reason}", remedy="check the path and its permissions") from error
    if len(raw) > limit_bytes:
        raise _too_large(where, limit_bytes)
    return raw


def _unxz(raw: bytes, where: str, limit_bytes: int) -> bytes:
    decompressor = lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES)
    try:
        content = decompressor.decompress(raw, limit_bytes + 1)
    except lzma.LZMAError as error:
        raise _damaged(where, "xz", str(error)) from error
    if len(content) > limit_bytes:
        raise _too_large(where, limit_bytes)
    if not decompressor.eof:
        raise _damaged(where, "xz", "it ends before its end mark")
    return content


def _unzstd(raw: bytes, where: str, limit_bytes: int) -> bytes:
    from nostale.outside import zstd  # here, because only a packed image needs it

    content = zstd.unpack(raw, limit_bytes, where)
    if content is None:
        raise _too_large(where, limit_bytes)
    return content


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
