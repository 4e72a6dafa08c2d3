"""Concurrency ids of an mm: a CPU keeps one for the threads of the mm, and a remote CPU may take it back.

CPU 1 switches a thread of the mm in and out, CPU 0 takes the id back when it has not been used for a while. Both write
one thing and then look at the other: rq->curr, and the id with its flag LAZY. Sources, all v6.12: kernel/sched/sched.h,
switch_mm_cid(), mm_cid_get(), mm_cid_put_lazy(), __mm_cid_try_get(); kernel/sched/core.c, sched_mm_cid_remote_clear(),
whose comment has the scenarios; arch/x86/include/asm/barrier.h, smp_mb__after_switch_mm().
The wait for a free id is __mm_cid_try_get()'s loop; with one id that its holder has given back it never waits.
"""

from __future__ import annotations

from enum import IntEnum

from nostale.prove import (
    Model,
    atomic,
    flag,
    never,
    param,
    process,
    removable,
    sometimes,
    upto,
    variant,
    wait,
)
from nostale.prove.hardware import MEMORIES
from nostale.prove.hardware.tasks import only_where


class Place(IntEnum):
    """What both CPUs use."""

    CURR = 0  # whether rq->curr of CPU 1 is a thread of the mm
    CID = 1  # pcpu_cid of CPU 1


class Cid(IntEnum):
    """What pcpu_cid holds."""

    UNSET = 0
    VALID = 1
    LAZY = 2  # MM_CID_LAZY_PUT: whoever finds it and may, gives it back


SCHEDULER, REMOTE = 1, 0


class MmCid(Model):
    """One id that a CPU keeps for its threads while another CPU takes it back."""

    system = "lazytlb"
    title = "no concurrency id is given back while a thread runs with it"
    not_modelled = (
        "several ids, moving an id with a migrating thread, exec and exit, the allocation lock, and switches between "
        "threads of the mm, which change nothing that CPU 0 looks at"
    )

    memory = param("weak", "how memory behaves", choices=tuple(MEMORIES))
    no_barrier_in = variant("no barrier after rq->curr is stored, when a thread of the mm comes (before fe90f3967bdb)")
    no_barrier_out = variant("no barrier after rq->curr is stored, when it goes (before fe90f3967bdb)")
    plain_clear = variant("CPU 0 clears the id without a look at rq->curr")

    def build(self) -> None:
        self.mem = MEMORIES[self.memory](2, len(Place), lambda: upto(2), {Place.CID: Cid.VALID})
        self.taken = flag(first=True)  # its bit in mm_cidmask
        self.runs_with_it = flag()
        self.found = upto(2)
        self.given_back = flag()
        self.switched_out = flag()  # CPU 1 has done its part for the thread that went
        self.clearing = flag()

    def assumptions(self) -> tuple[str, ...]:
        return (f"memory = {self.memory}: cmpxchg() and the bit operations on mm_cidmask are fully ordered",)

    @removable("barrier")
    def barrier(self, what: str) -> None:
        with atomic(f"switch_mm_cid(): {what}"):
            self.mem.fence(SCHEDULER)

    @process(lane="CPU 1")
    def scheduler(self) -> None:
        while True:
            with atomic("__schedule(): a thread of the mm is next, stores rq->curr"):
                self.switched_out = False
                self.mem.store(SCHEDULER, Place.CURR, 1)
            if not self.no_barrier_in:
                self.barrier("smp_mb() from a kernel thread, smp_mb__after_switch_mm() from another mm")
            with atomic("mm_cid_get(): reads pcpu_cid"):
                cid = self.mem.load(SCHEDULER, Place.CID)
                self.found = cid
            if self.found == Cid.LAZY:
                self.put()
            if self.found != Cid.VALID:
                with atomic("__mm_cid_get(): takes a free id, stores pcpu_cid"):
                    wait(not self.taken)
                    self.taken = True
                    self.mem.store(SCHEDULER, Place.CID, Cid.VALID)
            with atomic("the thread runs with the id"):
                self.runs_with_it = True
                self.found = Cid.UNSET
            with atomic("__schedule(): a kernel thread is next, stores rq->curr"):
                self.runs_with_it = False
                self.mem.store(SCHEDULER, Place.CURR, 0)
            if not self.no_barrier_out:
                self.barrier("smp_mb__after_mmgrab()")
            with atomic("mm_cid_put_lazy(): reads pcpu_cid"):
                cid = self.mem.load(SCHEDULER, Place.CID)
                self.found = cid
            if self.found == Cid.LAZY:
                self.put()
            with atomic("the kernel thread runs"):
                self.found = Cid.UNSET
                self.switched_out = True

    def put(self) -> None:
        with atomic("finds the flag LAZY: cmpxchg to UNSET, gives the id back"):
            old = self.mem.compare_exchange(SCHEDULER, Place.CID, Cid.LAZY, Cid.UNSET)
            if old == Cid.LAZY:
                self.taken = False

    @process(lane="CPU 0")
    def remote_clear(self) -> None:
        while True:
            with atomic("sched_mm_cid_remote_clear(): cmpxchg of the id to LAZY"):
                old = self.mem.compare_exchange(REMOTE, Place.CID, Cid.VALID, Cid.LAZY)
                only_where(old == Cid.VALID)
                self.clearing = True
            idle = True
            if not self.plain_clear:
                with atomic("sched_mm_cid_remote_clear(): does rq->curr use the mm?"):
                    curr = self.mem.load(REMOTE, Place.CURR)
                    idle = curr == 0
            if idle:
                with atomic("sched_mm_cid_remote_clear(): cmpxchg to UNSET, gives the id back"):
                    old = self.mem.compare_exchange(REMOTE, Place.CID, Cid.LAZY, Cid.UNSET)
                    if old == Cid.LAZY:
                        self.taken = False
                        self.given_back = True
            with atomic("sched_mm_cid_remote_clear() is done"):
                self.clearing = False

    @never(
        "cid-in-use",
        "no id is given back that a thread runs with",
        "the next thread that takes it uses the same per-id data at the same time: rseq's user space is corrupted",
    )
    def in_use(self) -> bool:
        return self.runs_with_it and not self.taken

    @never(
        "cid-left",
        "no id is left flagged LAZY with nobody to give it back",
        "ids run out: per-id data that nobody uses stays spread over the machine",
    )
    def left(self) -> bool:
        return self.mem.settled() and self.switched_out and not self.clearing and self.mem.cell[Place.CID] == Cid.LAZY

    @sometimes("scene-given-back", "CPU 0 has given the id back")
    def was_given_back(self) -> bool:
        return self.given_back

    @sometimes("scene-in-use", "CPU 0 finds the id in use: the thread runs with it, flagged LAZY")
    def flagged_in_use(self) -> bool:
        return self.runs_with_it and self.mem.cell[Place.CID] == Cid.LAZY
