"""The door to zlib: whole streams, never more than was declared."""

from __future__ import annotations

import zlib

from nostale.contract import BadInput


def decompress(stream: bytes, size_bytes: int, where: str) -> bytes:
    """Return the `size_bytes` that the stream holds.

    Raises:
        BadInput: it is no zlib stream, or holds another size than the file says around it.
    """
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(stream, size_bytes + 1)
    except zlib.error as problem:
        raise BadInput(where, f"cannot decompress: {problem}", cause="a damaged file") from problem
    if len(data) != size_bytes or not inflater.eof:
        raise BadInput(where, f"a zlib stream without the {size_bytes} bytes that are declared", cause="a damaged file")
    return data
