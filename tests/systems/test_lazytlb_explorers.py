"""The slow explorer is the oracle of the fast one, on each of these models at a small size."""

import pytest

from nostale.prove import Means, prove
from nostale.systems.lazytlb.core_sync import CoreSync, KthreadUseMm
from nostale.systems.lazytlb.memory_barrier import MemoryBarrier
from nostale.systems.lazytlb.mm_cid import MmCid
from nostale.systems.lazytlb.mm_lifetime import MmLifetime
from nostale.systems.lazytlb.shootdown import Shootdown


@pytest.mark.parametrize(
    ("model", "variant", "settings"),
    [
        (CoreSync, "skip-in-irq", {"between": "nothing"}),
        (KthreadUseMm, "", {"between": "kthread", "left_by": "syscall", "unmaps": "never"}),
        (MemoryBarrier, "no-entry-barrier", {"memory": "tso", "way": "kthread"}),
        (MemoryBarrier, "", {"way": "stays"}),
        (Shootdown, "lazy-poke", {"frees": "mm", "memory": "sc", "pcid": "no"}),
        (MmLifetime, "", {"lazies": "refcount", "flushes_lazily": "no"}),
        (MmCid, "no-barrier-out", {"memory": "tso"}),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_both_explorers_tell_the_same(compiler, model, variant, settings):
    def told(means):
        found = prove(model(settings, variant), "lazytlb", means)
        return found.search, [(r.id, r.verdict) for r in found.results]

    assert told(Means(compiler, None)) == told(Means(None, None))
