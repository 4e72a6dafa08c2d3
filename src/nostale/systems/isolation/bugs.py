"""Real defects of deferral and remote synchronisation, as runs of the models that must show them."""

from __future__ import annotations

from nostale.systems.claims import Bug, NotShown, Run
from nostale.systems.isolation.contract import DEFERRED_FLUSH, DEFERRED_SYNC
from nostale.systems.isolation.deferral import WorkBit
from nostale.systems.isolation.kernel_tlb import KernelTlb

_SYNC, _FLUSH = DEFERRED_SYNC.id, DEFERRED_FLUSH.id
_IDLE = {"entry": "idle-irq", "nmis": "0"}
_GUEST = {"entry": "guest-exit", "site": "noinstr", "nmis": "0"}

BUGS = (
    Bug(
        "B01",
        "a CPU that handles an interrupt in the idle loop is taken to be away: its state still says IDLE",
        "deferral v5: by CT_RCU_WATCHING",
        WorkBit,
        Run("by-state", _IDLE),
        Run("", _IDLE),
        _SYNC,
        ("an interrupt hits the idle loop", "RCU watches", "sets the bit if the CPU is away", "runs the patched site"),
    ),
    Bug(
        "B02",
        "an NMI from user mode does not pass enter_from_user_mode(), where the work is looked for",
        "deferral v4 22/30, review",
        WorkBit,
        Run("", {"hook": "enter_from_user_mode"}),
        Run("", {"hook": "ct_kernel_enter_state"}),
        _SYNC,
        ("sets the bit if the CPU is away", "an NMI comes", "the NMI's handler runs the patched site"),
    ),
    Bug(
        "B03",
        "noinstr text of a module is not known as such: a key between guest_state_enter and exit is flipped, deferred",
        "deferral v5: MOD_NOINSTR_TEXT",
        WorkBit,
        Run("", {**_GUEST, "fallback": "no"}),
        Run("", {**_GUEST, "fallback": "yes"}),
        _SYNC,
        ("sets the bit if the CPU is away", "VM exit", "noinstr code runs the patched site"),
    ),
    Bug(
        "B05",
        "ct_set_cpu_work() has the test of CT_RCU_WATCHING the wrong way round",
        "deferral v7",
        WorkBit,
        Run("inverted"),
        Run(),
        _SYNC,
        ("RCU watches from here", "sets the bit if the CPU is away", "runs the patched site"),
    ),
    Bug(
        "B07",
        "a freed vmalloc range is reached on the way in, before the deferred flush",
        "deferral v5: dropped",
        KernelTlb,
        Run("", {"early_access": "yes"}),
        Run("", {"early_access": "yes", "deferred": "no"}),
        _FLUSH,
        ("ct_kernel_exit_state()", "vunmap()", "leaves it a bit", "vfree()", "before the flush"),
    ),
    NotShown(
        "B06",
        "a __ro_after_init key is used in a module",
        "the kernel's image says which keys are sealed, the module's which sites follow them; of such a site "
        "codegen.patchable-before-sync says unknown, never that it cannot change",
    ),
)
