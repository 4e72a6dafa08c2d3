"""Kernel symbols: what is read at once is what is read line by line, whatever stands there."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nostale.watch.compiled import library
from nostale.watch.symbols import Symbols

_LINE = re.compile(rb"([0-9a-fA-F]{16}) [tTwWuU] [^\x00-\x20]")
_PIECES = st.sampled_from(
    [
        *(b"ffffffff81000010 T one\n", b"ffffffff81000010 t other\n", b"FFFFFFFF81000040 W two\t[module]\n"),
        *(b"0000000000000000 t hidden\n", b"ffffffff81000020 D data\n", b"ffffffff8100002 t short\n", b"\n", b""),
        *(b"ffffffff8100002g t no_digit\n", b"ffffffff81000020\tt tab\n", b"ffffffff81000030 t"),
        *(b" ", b"\t", b"\0", b"\xff"),
    ]
)


def listed(text: bytes) -> list[tuple[int, bytes]]:
    """Return address and line of each function, line by line, in address order."""
    matches = [(_LINE.match(line), line) for line in text.split(b"\n")]
    found = [(int(match[1], 16), line) for match, line in matches if match]
    return sorted((one for one in found if one[0]), key=lambda one: one[0])


@settings(deadline=None)
@example(text=b"ffffffff81000030 t  ffffffff81000010 T one\n")  # two lines run together, the first without a name
@example(text=b"ffffffff81000030 t\nffffffff81000010 T one\n")
@pytest.mark.parametrize("compiled", [True, False])
@given(text=st.lists(_PIECES, max_size=12).map(b"".join))
def test_lines_are_read_as_one_by_one(compiled, text):
    if compiled and library(worth_compiling=True) is None:
        pytest.skip("no C compiler")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nostale.watch.symbols.library", library if compiled else lambda **_: None)
        symbols = Symbols(text)
    assert [symbols.line(at) for at in range(len(symbols))] == [
        line.decode("utf-8", "replace").strip() for _, line in listed(text)
    ]
    for address, _ in listed(text):
        first = next(line for other, line in listed(text) if other == address)
        assert symbols.name(address) == first[19:].decode("utf-8", "replace").strip().split("\t")[0].split(" ")[0]


def test_the_kernel_lay_elsewhere():
    symbols = Symbols(b"ffffffff81000010 T one\nffffffff81000040 T two\n", shift=-0x1000)
    assert symbols.name(0xFFFFFFFF80FFF03F) == "one"
    assert symbols.name(0xFFFFFFFF81000040) == "two"
