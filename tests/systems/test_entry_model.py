"""Kernel entry with NMIs: the annotations mean what they say."""

import pytest

from nostale.contract import Violated
from nostale.prove import Means, prove
from nostale.systems.entry.model import IrqEntry


def broken(variant="", **settings) -> set[str]:
    found = prove(IrqEntry({k: str(v) for k, v in settings.items()}, variant), "entry", Means(None, None))
    return {r.id for r in found.results if isinstance(r.verdict, Violated)}


@pytest.mark.parametrize("nmis", [0, 1, 3])
def test_mainline_holds(nmis):
    # Without an NMI its scene cannot happen, and that is told.
    assert broken(nmis=nmis) == (set() if nmis else {"entry.scene-nmi-in-entry"})


@pytest.mark.parametrize(
    ("variant", "what"),
    [
        ("drop-begin", {"entry.noinstr-escape"}),
        ("early-begin", {"entry.no-blind-instrumentation"}),
        ("nmi-untold", {"entry.no-blind-instrumentation"}),
    ],
)
def test_each_variant_breaks_exactly_this(variant, what):
    assert broken(variant) == what


def test_the_state_count_is_pinned():
    assert prove(IrqEntry(), "entry", Means(None, None)).search.states == 117


def test_the_contract_is_the_one_that_lint_checks():
    from nostale.systems.entry.image import RULES

    (bind,) = IrqEntry().contracts()
    assert bind.binding.contract in [rule.contract for rule in RULES]
