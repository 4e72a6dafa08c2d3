"""Whether something was lost between two times: as by looking at every gap."""

import numpy as np
import pytest

from nostale.watch.losses import Losses
from nostale.watch.ring import Lost


@pytest.mark.parametrize("seed", range(30))
def test_gaps_are_found_as_by_looking_at_each(seed):
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, 100, int(rng.integers(0, 12))).tolist()
    gaps = [Lost(int(rng.integers(0, 3)), start, start + int(rng.integers(0, 30)), None) for start in starts]
    losses = Losses(gaps)
    asked = rng.integers(0, 140, 300)
    ends = asked + rng.integers(0, 20, 300)
    cpus = rng.integers(0, 4, 300)

    def slowly(cpu, start, end):
        return any(cpu in (None, one.cpu) and one.after_ns <= end and one.before_ns >= start for one in gaps)

    triples = list(zip(cpus.tolist(), asked.tolist(), ends.tolist()))
    expected = [slowly(*one) for one in triples]
    assert [losses.between(*one) for one in triples] == expected == losses.each(asked, ends, cpus).tolist()
    anywhere = [slowly(None, start, end) for _, start, end in triples]
    assert [losses.between(None, start, end) for _, start, end in triples] == anywhere
    assert losses.each(asked, ends).tolist() == anywhere
