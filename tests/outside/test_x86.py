from __future__ import annotations

import pytest

from nostale.outside.instruction import Kind
from nostale.outside.x86 import decode


@pytest.mark.parametrize(
    ("code", "kind", "target"),
    [
        ("90", Kind.PAD, 0),
        ("cc", Kind.PAD, 0),
        ("4889c7", Kind.NEXT, 0),
        ("eb02", Kind.JUMP, 0x104),
        ("e900000000", Kind.JUMP, 0x105),
        ("7402", Kind.BRANCH, 0x104),
        ("0f8400000000", Kind.BRANCH, 0x106),
        ("e302", Kind.BRANCH, 0x104),
        ("e202", Kind.BRANCH, 0x104),
        ("c7f800000000", Kind.BRANCH, 0x106),
        ("e800000000", Kind.CALL, 0x105),
        ("ffd0", Kind.CALL_INDIRECT, 0),
        ("ffe0", Kind.JUMP_INDIRECT, 0),
        ("3effe0", Kind.JUMP_INDIRECT, 0),
        ("ff2f", Kind.RESUME, 0),
        ("c3", Kind.RETURN, 0),
        ("c20800", Kind.RETURN, 0),
        ("48cf", Kind.RESUME, 0),
        ("cb", Kind.RESUME, 0),
        ("480f07", Kind.RESUME, 0),
        ("0f35", Kind.RESUME, 0),
        ("0f05", Kind.NEXT, 0),
        ("0f01c1", Kind.NEXT, 0),
        ("0f01c2", Kind.NEXT, 0),
        ("cd80", Kind.NEXT, 0),
        ("f4", Kind.NEXT, 0),
        ("0f0b", Kind.STOP, 0),
        ("0fb9cc", Kind.STOP, 0),
        ("06", Kind.INVALID, 0),
    ],
)
def test_each_kind_of_instruction_is_told(code, kind, target):
    assert decode(bytes.fromhex(code), 0x100) == [(0x100, len(code) // 2, kind, target)]


def test_decoding_goes_on_to_the_last_byte():
    found = decode(bytes.fromhex("9006c3c3e8"), 0)
    assert {one[2] for one in found} == {Kind.PAD, Kind.INVALID, Kind.RETURN}
    assert sum(one[1] for one in found) == 5
