"""zstd frames: never more than was declared, and damage is told."""

import pytest

from nostale.contract import BadInput
from nostale.outside import zstd


def test_what_is_compressed_comes_back():
    assert zstd.decompress(zstd.compress(b"stale" * 99), 495, "x") == b"stale" * 99


def test_a_frame_of_another_size_than_declared_is_refused():
    with pytest.raises(BadInput, match="x: a zstd frame of 495 bytes where 4 are declared"):
        zstd.decompress(zstd.compress(b"stale" * 99), 4, "x")


@pytest.mark.parametrize("data", [b"", b"no frame at all", zstd.compress(bytes(999))[:-4]])
def test_what_is_no_whole_frame_is_refused(data):
    with pytest.raises(BadInput, match="likely a damaged file"):
        zstd.decompress(data, 999, "x")
