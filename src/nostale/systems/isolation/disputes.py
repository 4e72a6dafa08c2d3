"""What was argued about deferring synchronisation, and the models that decide it."""

from __future__ import annotations

from nostale.systems.claims import Dispute
from nostale.systems.isolation.away import ENTRIES, SITES
from nostale.systems.isolation.contract import DEFERRED_FLUSH, DEFERRED_SYNC
from nostale.systems.isolation.deferral import HOOKS, Cr3CatchUp, WorkBit
from nostale.systems.isolation.kernel_tlb import KernelTlb
from nostale.systems.isolation.status_word import StatusWord

_NO_YES = ("no", "yes")

DISPUTES = (
    Dispute(
        id="D1",
        question="is it safe to defer instruction synchronisation to kernel entry, with NMIs at any step?",
        sides=(
            (
                "Thomas Gleixner, July 2020",
                "delayed, it violates all rules of safe instruction patching and is a trainwreck in x86 NMI "
                "processing; where is the analysis?",
            ),
            (
                "Alex Belits, July 2020",
                "code that receives the IPI is entered in a stale state as well; what runs before the "
                "synchronisation point need only not depend on it",
            ),
            (
                "Valentin Schneider, v4 to v7",
                "no kernel instruction that leads to ct_work_flush() may be patched at run time; a batch with a "
                "noinstr address interrupts everybody at once",
            ),
        ),
        model=WorkBit,
        asked=(DEFERRED_SYNC.id, "isolation.one-nmi"),
        over={
            "site": ("normal", "noinstr"),
            "hook": HOOKS,
            "entry": ENTRIES,
            "bit": ("kept", "taken"),
            "primitive": ("SERIALIZE", "IRET"),
        },
        settings={"fallback": "no"},
    ),
    Dispute(
        id="D1",
        question="does loading the kernel's CR3 do instead of a bit (v8), and where is there no such load?",
        sides=(("Valentin Schneider, v8", "the CR3 write of page-table isolation serialises every entry anyway"),),
        model=Cr3CatchUp,
        asked=(DEFERRED_SYNC.id,),
        over={"site": SITES, "entry": ENTRIES, "pti": _NO_YES},
    ),
    Dispute(
        id="D1",
        question="what if v8's signal is cleared before the user's CR3 is loaded, since it is not mapped after?",
        sides=(),
        model=Cr3CatchUp,
        asked=(DEFERRED_SYNC.id,),
        over={"nmis": ("0", "1"), "entry": ENTRIES, "pti": _NO_YES},
        variant="early-clear",
    ),
    Dispute(
        id="D8",
        question="does one exchanged {work, status} word a CPU give RCU what it requires?",
        sides=(
            (
                "Andy Lutomirski",
                "one word, one atomic exchange at entry, before the kernel's CR3; and another CPU may pin it",
            ),
            (
                "Paul McKenney",
                "order around an idle sojourn (1a, 1b), telling sojourns apart (2a, 2b), and a short sojourn that "
                "must still count (3), which he does not see met",
            ),
        ),
        model=StatusWord,
        asked=("isolation.rcu-1", "isolation.rcu-2", "isolation.rcu-3", "isolation.pinned"),
        over={"counter": _NO_YES, "entry": ("xchg", "store")},
    ),
    Dispute(
        id="D9",
        question="may the flush of kernel translations be deferred to kernel entry?",
        sides=(
            ("deferral v1 to v4", "the flush comes at ct_work_flush(), and nothing before it touches such a range"),
            (
                "Jann Horn, January 2025",
                "who guarantees that nothing vmalloc'ed is touched in early entry? CPUs fill their TLBs ahead of need; "
                "arm64 shares them between CPUs",
            ),
            (
                "Dave Hansen",
                "LDT, PEBS and faults on vmalloc ranges are in the danger zone; use broadcast invalidation",
            ),
        ),
        model=KernelTlb,
        asked=(DEFERRED_FLUSH.id, "isolation.freed-table"),
        over=dict.fromkeys(("pti", "speculation", "early_access", "frees_table", "cnp"), _NO_YES),
    ),
)
