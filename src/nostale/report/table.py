"""Tables: columns as wide as they must be, the widest cut where they do not fit.

They look as rich lays them out, which takes longer for it than reading a recording of 50 MB does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

_WIDTH: Final = 160  # whatever the terminal's: the same answer gives the same text
_APART: Final = "  "


def table(headings: Sequence[str], numbers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table's lines: `headings` stand over columns of words, `numbers` over columns of numbers after them."""
    lines = [(*headings, *numbers), *rows]
    widths = [max(map(_width, column)) for column in zip(*lines)]
    too_wide = sum(widths) + len(_APART) * (len(widths) - 1) - _WIDTH
    for _ in range(too_wide):
        widths[widths.index(max(widths))] -= 1
    return [_APART + _APART.join(_placed(one, widths, len(headings))).rstrip() for one in lines]


def _placed(cells: Sequence[str], widths: Sequence[int], n_words: int) -> Iterable[str]:
    for at, (cell, width) in enumerate(zip(cells, widths)):
        text = cell if _width(cell) <= width else _cut(cell, width - 1) + "…"
        space = " " * (width - _width(text))
        yield text + space if at < n_words else space + text


def _width(text: str) -> int:
    """Return how many places of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # here: it takes a while to load, and hardly any name needs it

    return cell_len(text)


def _cut(text: str, width: int) -> str:
    """Return as much of a text as takes `width` places."""
    if text.isascii():
        return text[:width]
    from rich.cells import set_cell_size

    return set_cell_size(text, width)
