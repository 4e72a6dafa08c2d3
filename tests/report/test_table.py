"""Tables are laid out as rich does it where they fit; where they do not, the widest columns are cut."""

import io

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from nostale.report.table import table

PARTS = st.sampled_from(["a", "b", " ", "-", "_", "é", "漢", "🙂", "e\u0301"])
WORDS = st.lists(PARTS, max_size=40).map("".join)
LONG = st.text(st.sampled_from("ab漢"), min_size=50, max_size=130)
NUMBERS = st.text(st.sampled_from("0123,.+-"), min_size=1, max_size=14)
HEADINGS = st.text(st.sampled_from("abc"), min_size=1, max_size=20)


def by_rich(headings, numbers, rows):
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


TABLES = st.tuples(st.lists(HEADINGS, min_size=1, max_size=5), st.lists(NUMBERS, max_size=3))


def rows(data, headings, numbers, words):
    cells = st.tuples(*[words] * len(headings), *[NUMBERS] * len(numbers))
    return data.draw(st.lists(cells, min_size=1, max_size=3))


@settings(deadline=None)
@given(st.data(), TABLES)
def test_a_table_that_fits_is_what_rich_makes_of_it(data, names):
    lines = rows(data, *names, WORDS)
    widths = [max(map(cell_len, column)) for column in zip(*lines, (*names[0], *names[1]), strict=True)]
    assume(sum(widths) + 2 * len(widths) - 2 <= 160)
    assert table(*names, lines) == by_rich(*names, lines)


@settings(deadline=None)
@given(st.data(), TABLES)
def test_of_a_table_that_does_not_fit_every_number_is_told(data, names):
    lines = rows(data, *names, LONG)
    for text, line in zip(table(*names, lines)[1:], lines, strict=True):
        assert cell_len(text) <= 162
        assert [one for one in text.split() if one in line[len(names[0]) :]] == list(line[len(names[0]) :])


def test_the_widest_columns_are_cut_alike_and_say_so():
    (_, line) = table(("a", "b"), ("n",), [("x" * 100, "y" * 90, "17")])
    assert line == "  " + "x" * 76 + "…  " + "y" * 76 + "…" + "  17"
