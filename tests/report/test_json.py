"""An answer as JSON: piece by piece the bytes that the standard library makes of it at once."""

import json

import pytest

from nostale.contract import Answer, Breaks, Cause, Interruption, Kind, Link, Vanishes, WhatIf, Work
from nostale.report import json_pieces, to_json

HOSTILE = 'a"\\\n\t\x00\u2028\u00e9\U0001f600'
FULL = Cause(
    Work.TEXT_PATCH,
    0,
    HOSTILE,
    7,
    "do_sync_core",
    "write",
    (HOSTILE, "f"),
    "x",
    HOSTILE,
    (Link("woke", 1, None, 2),),
    5,
)
BREAKS = (
    Interruption(1, 10, None, Kind.TIMER, Cause(Work.UNKNOWN), ""),
    Interruption(1, 10, 3, Kind.IPI_CALL, FULL, "r", HOSTILE, 9, 4, "s", (WhatIf("m", Vanishes.NO, HOSTILE),), 13),
    Interruption(1, 20, 3, Kind.IPI_CALL, FULL, "r"),
)
LOOKED = {"a": True, "b": [], "c": ["x", HOSTILE], "d": 3, "e": HOSTILE}


def answer(*parts, breaks=()):
    breaks = None if breaks is None else Breaks.of(breaks)
    return Answer("watch", HOSTILE, LOOKED, (), breaks=breaks, parts=parts)


@pytest.mark.parametrize(
    "given",
    [
        answer(),
        answer(breaks=None),
        answer(breaks=BREAKS),
        answer(breaks=BREAKS * 3000),
        answer(answer(breaks=BREAKS), answer(answer(breaks=BREAKS[:1])), breaks=BREAKS),
    ],
    ids=["no-breaks", "not-watched", "breaks", "many", "parts-of-parts"],
)
def test_the_pieces_are_what_the_standard_library_writes(given):
    text = to_json(given)
    read = json.loads(text)
    assert text == json.dumps(read, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    assert len(read.get("breaks", ())) == len(given.breaks or ())


def test_many_breaks_are_never_one_text():
    assert max(map(len, json_pieces(answer(breaks=BREAKS * 30_000)))) < 1 << 20
