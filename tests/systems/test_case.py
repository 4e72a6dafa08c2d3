"""The page on deferral: everything in it is from the runs, and what was not given is said."""

import pytest

from nostale.contract import Answer, Breaks, Cause, Interruption, Kind, Vanishes, WhatIf, Work
from nostale.outside.cache import Cache
from nostale.outside.cc import find_compiler
from nostale.prove import Means, prove
from nostale.systems.isolation.case import DESIGNS, MEASURE, page


@pytest.fixture(scope="module")
def proved(tmp_path_factory):
    means = Means(find_compiler(), Cache(tmp_path_factory.mktemp("cache")))
    return [(one, prove(one.made(), one.name, means)) for one in DESIGNS]


def test_every_design_comes_out_as_expected(proved):
    assert {one.name: answer.verdict for one, answer in proved} == {one.name: one.expected for one in DESIGNS}


def test_what_was_not_given_is_said(proved):
    text = page(proved, None, None)
    assert "The image: none was given." in text and "The machine: no recording was given." in text
    assert "- not looked at: any image" in text and "- not looked at: any trace" in text


def broken(vanishes):
    told = (WhatIf(MEASURE, vanishes, "said so"),)
    return Interruption(1, 0, 5, Kind.IPI_CALL, Cause(Work.TEXT_PATCH), "", what_if=told)


def test_only_what_would_surely_vanish_is_counted(proved):
    breaks = tuple(broken(one) for one in (Vanishes.YES, Vanishes.YES, Vanishes.NO, Vanishes.UNKNOWN))
    text = page(proved, None, Answer("watch", "a.dat", {}, (), breaks=Breaks.of(breaks)))
    assert "2 of 4 interruptions would vanish" in text and "| text-patch | 2 | 2 |" in text


def test_a_design_that_fails_is_shown_and_not_counted(proved):
    text = page(proved, None, None)
    assert "2 of the 7 ways to defer" in text and text.count("```text") == 4
    assert page([(d, a) for d, a in proved if d.expected != "holds"], None, None).startswith("# ")
