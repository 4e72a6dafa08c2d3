from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nostale.lint.symbols import BINDS, FUNC, KINDS, NOTYPE, Columns, SymbolTable


def table(*rows):
    """Make a table of (name, kind, bind, address, size)."""
    names, starts = b"\0", []
    for name, *_ in rows:
        starts.append(len(names))
        names += name.encode() + b"\0"
    _, kinds, binds, addresses, sizes = zip(*rows, strict=True)
    return SymbolTable(
        Columns(
            np.array([one or 0 for one in addresses], np.uint64),
            np.array([one is not None for one in addresses], np.bool_),
            np.array(sizes, np.uint64),
            np.array([KINDS.index(one) for one in kinds], np.uint8),
            np.array([BINDS.index(one) for one in binds], np.uint8),
            np.array(starts, np.uint32),
            names,
        )
    )


def test_of_two_names_for_a_function_the_first_of_the_table_is_printed():
    names = table(("one", FUNC, "local", 16, 8), ("other", FUNC, "global", 16, 8))
    assert names.containing(20).name == "one"


def test_a_function_comes_before_a_label_with_a_size():
    names = table(("label", NOTYPE, "global", 16, 32), ("function", FUNC, "local", 20, 8))
    assert names.containing(22).name == "function"
    assert names.containing(17).name == "label"


def test_the_end_of_a_function_is_not_in_it():
    names = table(("f", FUNC, "global", 16, 8))
    assert names.containing(23).name == "f"
    assert names.containing(24) is None


def test_of_overlapping_functions_the_one_that_starts_first_is_printed():
    names = table(("inner", FUNC, "global", 20, 4), ("outer", FUNC, "global", 16, 32))
    assert names.containing(21).name == "outer"


def test_a_label_without_a_size_contains_nothing_but_starts_something():
    names = table(("label", NOTYPE, "local", 16, 0))
    assert names.containing(16) is None
    assert names.starting(16).name == "label"


def test_a_global_name_is_meant_before_a_local_one():
    names = table(("x", FUNC, "local", 16, 8), ("x", FUNC, "global", 32, 8))
    assert names.named("x").address == 32


@given(st.lists(st.tuples(st.sampled_from(("", "a", "ab", "abcdefg")), st.text("hij\xe9", max_size=4)), max_size=12))
def test_a_name_is_found_as_by_reading_every_name(drawn):
    words = ["".join(one) for one in drawn] or ["x"]
    names = table(*((word, FUNC, ("local", "global")[at % 2], at, 8) for at, word in enumerate(words)))
    for asked in {*words, "abcdefgh", "a", "hi"}:
        rows = [at for at, word in enumerate(words) if word == asked != ""]
        elsewhere = [at for at in rows if at % 2]
        expected = elsewhere[-1] if elsewhere else rows[0] if rows else None
        found = names.named(asked)
        assert (None if found is None else found.index) == expected
