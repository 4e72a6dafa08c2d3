"""The door to zstd: whole frames in and out, never more than was declared or allowed."""

from __future__ import annotations

import functools
from collections.abc import Callable

import zstandard

from nostale.contract import BadInput


def compress(data: bytes) -> bytes:
    """Return `data` as one zstd frame that names its size."""
    return zstandard.ZstdCompressor(level=9).compress(data)


def decompress(frame: bytes | memoryview, size_bytes: int, where: str) -> bytes:
    """Return the `size_bytes` that the frame holds.

    Raises:
        BadInput: it is no zstd frame, or holds another size than the file says around it.
    """
    held = _held(frame, where)
    if held not in (-1, size_bytes):
        raise BadInput(where, f"a zstd frame of {held} bytes where {size_bytes} are declared", cause="a damaged file")
    if size_bytes == 0:
        return b""
    try:
        data = _decompressor().decompress(frame, max_output_size=size_bytes)
    except (zstandard.ZstdError, MemoryError) as problem:
        raise BadInput(where, f"cannot decompress: {problem}", cause="a damaged file") from problem
    if len(data) != size_bytes:
        raise BadInput(where, f"{len(data)} bytes where {size_bytes} are declared", cause="a damaged file")
    return data


@functools.cache
def _decompressor() -> zstandard.ZstdDecompressor:
    """Return the one for whole frames: a fresh one has 160 KB to be cleared, which takes as long as a small frame."""
    return zstandard.ZstdDecompressor()


_PIECE_BYTES = 1 << 12  # what one piece can unpack to is bounded only by its own length


def unpack(raw: bytes, limit_bytes: int, where: str) -> bytes | None:
    """Return what a frame of unknown size holds, None where that is more than `limit_bytes`.

    Raises:
        BadInput: it is no zstd frame, damaged, or cut short.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
    parts: list[bytes] = []
    held = 0
    try:
        # Piece by piece: a frame's own word for its size is not to be believed.
        for at in range(0, len(raw), _PIECE_BYTES):
            parts.append(decompressor.decompress(raw[at : at + _PIECE_BYTES]))
            held += len(parts[-1])
            if held > limit_bytes:
                return None
            if decompressor.eof:
                return b"".join(parts)
    except zstandard.ZstdError as problem:
        raise BadInput(
            where, f"zstd data that does not unpack: {problem}", cause="a damaged or cut copy", remedy="copy it again"
        ) from problem
    raise BadInput(
        where,
        "zstd data that does not unpack: it ends before its end mark",
        cause="a damaged or cut copy",
        remedy="copy it again",
    )


def stream(where: str) -> Callable[[bytes], bytes]:
    """Return a function that unpacks one stream, a piece at a time: 4 bytes become at most 128 KiB.

    Raises:
        BadInput: (the function) damaged data.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()

    def unpacked(piece: bytes) -> bytes:
        try:
            return decompressor.decompress(piece)
        except (zstandard.ZstdError, MemoryError) as problem:
            raise BadInput(where, f"cannot decompress: {problem}", cause="a damaged file") from problem

    return unpacked


def _held(frame: bytes | memoryview, where: str) -> int:
    """Return the size a frame says it holds, -1 where it does not say: asked first, as zstd allocates what it says."""
    try:
        return int(zstandard.frame_content_size(bytes(frame[:18])))
    except zstandard.ZstdError as problem:
        raise BadInput(where, f"no zstd frame: {problem}", cause="a damaged file") from problem
