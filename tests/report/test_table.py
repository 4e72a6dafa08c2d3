"""A table whose columns are given as one cell each is the table whose rows are given one by one."""

import io

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from nostale.report.table import table

PARTS = st.sampled_from(["a", "b", " ", "-", "_", "é", "漢", "🙂", "e\u0301"])
WORDS = st.lists(PARTS, max_size=40).map("".join) | st.text(st.sampled_from("abc"), min_size=30, max_size=130)
NUMBERS = st.text(st.sampled_from("0123,.+-"), max_size=14)


def row_by_row(headings, numbers, rows):
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in headings:
        made.add_column(name, no_wrap=True)
    for name in numbers:
        made.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        made.add_row(*row)
    page = io.StringIO()
    Console(file=page, width=160, markup=False, highlight=False, emoji=False, color_system=None).print(made)
    return ["  " + text.rstrip() for text in page.getvalue().splitlines()]


@settings(deadline=None)
@given(st.data(), st.lists(WORDS, min_size=1, max_size=7), st.lists(NUMBERS, max_size=3))
def test_a_table_is_what_rich_makes_of_its_rows(data, headings, numbers):
    cells = st.tuples(*[WORDS] * len(headings), *[NUMBERS] * len(numbers))
    rows = data.draw(st.lists(cells, max_size=4))
    assert table(headings, numbers, rows) == row_by_row(headings, numbers, rows)
