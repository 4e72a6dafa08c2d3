"""Tables, laid out by rich; imported only by answers that have one, since rich takes a while to load."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

_WIDTH = 160  # whatever the terminal's: the same answer gives the same text


def table(headings: Sequence[str], numbers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table's lines: `headings` stand over columns of words, `numbers` over columns of numbers after them."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in headings:
        made.add_column(name, no_wrap=True)
    for name in numbers:
        made.add_column(name, justify="right", no_wrap=True)
    # A cell of many lines for each column: rich takes about as long for it as for one of a single line.
    columns = ["\n".join(column) for column in zip(*rows)]
    if columns:
        made.add_row(*columns)
    page = io.StringIO()
    Console(file=page, width=_WIDTH, markup=False, highlight=False, emoji=False, color_system=None).print(made)
    return ["  " + text.rstrip() for text in page.getvalue().splitlines()]
