"""The bundled recording, made on a real machine by recorder.py, shows what `nostale check` promises of it."""

import json
from pathlib import Path

import pytest

from nostale.contract import Work
from nostale.watch import analyse, read_trace

DEMO = Path(__file__).parents[2] / "src/nostale/systems/isolation/demo"
TRUTH = json.loads((DEMO / "recording.json").read_text())
WORKS = {
    "membarrier": Work.MEMBARRIER,
    "mprotect": Work.TLB_FLUSH,
    "signal": Work.SIGNAL,
    "text": Work.TEXT_PATCH,
    "wakeup": Work.WAKEUP,
}


@pytest.fixture(scope="module")
def breaks():
    told = analyse(read_trace(DEMO / "recording.dat"), [TRUTH["cpu"]]).breaks
    return [one for one in told if one.pid == TRUTH["target_tid"] and one.cause.pid == TRUTH["actor_tid"]]


def reach_ns(name):
    """How long after the operation it may strike: a woken task may be let on the CPU by the next tick only (HZ=250)."""
    return 5_000_000 if name == "wakeup" else 30_000


@pytest.mark.parametrize("name", sorted(WORKS))
def test_each_provocation_is_named_in_each_of_its_windows(breaks, name):
    for low, high in TRUTH["ops"][name]:
        assert any(
            one.cause.kind is WORKS[name] and low - 30_000 <= one.start_ns <= high + reach_ns(name) for one in breaks
        )


def test_a_provocation_is_named_in_no_other_window(breaks):
    for name, ops in TRUTH["ops"].items():
        for low, high in ops:
            inside = {one.cause.kind for one in breaks if low <= one.start_ns <= high}
            assert inside <= {WORKS[name], Work.WAKEUP}, name


def test_it_is_small():
    assert (DEMO / "recording.dat").stat().st_size < 300_000
