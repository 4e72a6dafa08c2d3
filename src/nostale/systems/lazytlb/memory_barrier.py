"""membarrier's memory barriers: scenarios A to E of the comment at the head of kernel/sched/membarrier.c.

CPU 0 calls membarrier(), CPU 1 runs threads of the same mm or a kernel thread that uses it. Two outcomes must not be,
whatever CPU 1 does meanwhile. A: CPU 0 does not see CPU 1's store to y after the call, and CPU 1 does not see what
CPU 0 stored to x before it. B: CPU 0 sees CPU 1's store to y before the call, and not after it the store to x that
came before. The barriers carry the letters of that comment.
Sources, all v6.12: kernel/sched/membarrier.c, membarrier_private_expedited(), membarrier_global_expedited(), ipi_mb(),
ipi_rseq(), membarrier_update_current_mm(); kernel/sched/core.c, __schedule(), context_switch(), finish_task_switch();
kernel/kthread.c, kthread_use_mm(), kthread_unuse_mm(); kernel/exit.c, exit_mm().
"""

from __future__ import annotations

from enum import IntEnum

from nostale.prove import (
    Model,
    atomic,
    choose,
    flag,
    never,
    one_of,
    param,
    process,
    removable,
    rule,
    sometimes,
    upto,
    variant,
    wait,
)
from nostale.prove.hardware import MEMORIES
from nostale.prove.hardware.memory import Memory
from nostale.prove.hardware.tasks import only_where
from nostale.prove.hardware.tso import TSO
from nostale.prove.hardware.weak import Weak


class Place(IntEnum):
    """Memory that both CPUs use."""

    X = 0  # of user space
    Y = 1
    MM = 2  # whether rq->curr->mm of CPU 1 is this mm
    STATE = 3  # rq->membarrier_state of CPU 1


class Scenario(IntEnum):
    """What user space relies on."""

    A = 0  # CPU 0 stores x, calls, loads y; CPU 1 stores y, loads x
    B = 1  # CPU 1 stores x, stores y; CPU 0 loads y, calls, loads x


class Way(IntEnum):
    """What CPU 1 does meanwhile."""

    STAYS = 0  # stays in user mode
    KTHREAD = 1  # C: switches to a kernel thread and back
    EXIT = 2  # D: exit_mm()
    USE_MM = 3  # E: a kernel thread uses the mm for a while
    PROCESS = 4  # comes from another process


WAYS = ("all", *(way.name.lower() for way in Way))
CALLER, TARGET = 0, 1


def _memory(word: str, depth: int) -> Memory:
    if word == "sc":
        return Memory(2, len(Place), lambda: upto(1))
    kind = TSO if word == "tso" else Weak
    return kind(2, len(Place), lambda: upto(1), depth=depth)


class MemoryBarrier(Model):
    """One membarrier() call of each expedited kind, against each way in which a CPU may come to be left out of it."""

    system = "lazytlb"
    title = "membarrier() orders what its caller did against what every thread of the mm did"
    not_modelled = (
        "registration while others run, exec, several targets, MEMBARRIER_CMD_GLOBAL (it waits for a grace period), "
        "address and control dependencies that arm64 honours, load buffering; one call"
    )

    requirements = ("LT-13",)

    memory = param("weak", "how memory behaves", choices=tuple(MEMORIES))
    depth = param(3, "stores that a CPU's store buffer holds: both of kthread_use_mm() and one more")
    command = param("private", "the expedited command that is called", choices=("private", "global", "rseq"))
    scenario = param("both", "what user space relies on", choices=("both", "A", "B"))
    way = param("all", "what CPU 1 does meanwhile", choices=WAYS)

    no_entry_barrier = variant("a: no barrier before rq->curr is read")
    no_exit_barrier = variant("c: no barrier after the last IPI")
    no_use_mm_barrier = variant("g: kthread_use_mm() has no barrier after tsk->mm is stored (before 618758ed3a4f)")
    no_unuse_mm_barrier = variant("d: kthread_unuse_mm() has no barrier before tsk->mm is cleared (likewise)")
    no_exit_mm_barrier = variant("d: exit_mm() has no barrier before current->mm is cleared")
    no_switch_barrier = variant("e: neither switch_mm() nor mmdrop_lazy_tlb() is a barrier")
    no_state_update = variant(
        "kthread_use_mm() leaves rq->membarrier_state alone (before 618758ed3a4f); it matters to `global` only",
        expect="holds",
    )
    no_rseq_barrier = variant(
        "ipi_rseq() has no barrier (before 2ecedd756908); it matters to `rseq` only", expect="holds"
    )

    def build(self) -> None:
        self.scenarios = (0, 1) if self.scenario == "both" else (Scenario[self.scenario],)
        if self.command == "rseq":
            self.scenarios = (Scenario.A,)
        self.ways = tuple(Way) if self.way == "all" else (Way[self.way.upper()],)
        self.memories = _memory(self.memory, self.depth)
        self.asks: int = one_of(Scenario)
        self.goes: int = one_of(Way)
        self.started = flag()
        self.in_user = flag()
        self.accesses = upto(2)
        self.collected = flag()
        self.asked = flag()
        self.returned = flag()
        self.restarted = flag()
        self.before = flag()  # what CPU 0 loaded before its call,
        self.after = flag()  # and after it
        self.loaded = flag()  # what CPU 1 loaded
        self.restarted_old = flag()

    def assumptions(self) -> tuple[str, ...]:
        return (
            f"memory = {self.memory}",
            "an IPI is queued by a locked operation (llist_add), and its answer orders nothing by itself",
        )

    @removable("barrier")
    def barrier(self, cpu: int, what: str) -> None:
        with atomic(f"{what} is a full barrier"):
            self.memories.fence(cpu)

    # CPU 0.

    @process(lane="CPU 0")
    def membarrier(self) -> None:
        with atomic("A: stores x; B: loads y"):
            only_where(self.started)
            if self.asks == Scenario.A:
                self.memories.store(CALLER, Place.X, 1)
            else:
                self.load_before(Place.Y)
        if not self.no_entry_barrier:
            self.barrier(CALLER, "a: membarrier()")
        if self.command == "global":
            with atomic("membarrier_global_expedited(): reads rq->membarrier_state of CPU 1"):
                state = self.memories.load(CALLER, Place.STATE)
                self.collected = state == 1
            if self.collected:
                self.read_mm()
        else:
            self.read_mm()
        if self.collected:
            with atomic("smp_call_function_many(): a locked operation, then the IPI to CPU 1"):
                self.memories.locked(CALLER)
                self.asked = True
            with atomic("CPU 1 has run the function"):
                wait(not self.asked)
        if not self.no_exit_barrier:
            self.barrier(CALLER, "c: membarrier()")
        with atomic("A: loads y; B: loads x"):
            if self.asks == Scenario.A:
                self.load_after(Place.Y)
            else:
                self.load_after(Place.X)
            self.returned = True

    def read_mm(self) -> None:
        with atomic("b: membarrier(): reads rq->curr->mm of CPU 1"):
            held = self.memories.load(CALLER, Place.MM)
            self.collected = held == 1

    def load_before(self, place: int) -> None:
        value = self.memories.load(CALLER, place)
        self.before = value == 1

    def load_after(self, place: int) -> None:
        value = self.memories.load(CALLER, place)
        self.after = value == 1

    # CPU 1: the kernel.

    @process(lane="CPU 1")
    def scheduler(self) -> None:
        with atomic("chosen: what user space relies on, and what CPU 1 will do"):
            self.asks = choose(self.scenarios)
            self.goes = choose(self.ways)
            self.started = True
            self.in_user = self.goes in (Way.STAYS, Way.KTHREAD, Way.EXIT)
            self.memories.cell[Place.MM] = 1 if self.goes in (Way.STAYS, Way.KTHREAD, Way.EXIT) else 0
            self.memories.cell[Place.STATE] = 1 if self.goes in (Way.STAYS, Way.KTHREAD, Way.EXIT) else 0
        if self.goes == Way.KTHREAD:
            self.by_way_of_a_kthread()
        elif self.goes == Way.EXIT:
            self.exit_mm()
        elif self.goes == Way.USE_MM:
            self.use_and_unuse()
        elif self.goes == Way.PROCESS:
            self.from_another_process()

    def by_way_of_a_kthread(self) -> None:
        with atomic("the thread leaves user mode"):
            self.in_user = False
        self.barrier(TARGET, "d: __schedule(), smp_mb__after_spinlock(),")
        with atomic("__schedule(): the kernel thread is next, stores rq->curr"):
            self.memories.store(TARGET, Place.MM, 0)
        with atomic("__schedule(): the thread is next again, stores rq->curr"):
            self.memories.store(TARGET, Place.MM, 1)
        if not self.no_switch_barrier:
            self.barrier(TARGET, "e: finish_task_switch(), mmdrop_lazy_tlb(),")
        with atomic("the thread goes back to user mode"):
            self.in_user = True

    def exit_mm(self) -> None:
        with atomic("the thread leaves user mode for good"):
            self.in_user = False
        if not self.no_exit_mm_barrier:
            self.barrier(TARGET, "d: exit_mm(), smp_mb__after_spinlock(),")
        with atomic("e: exit_mm() clears current->mm"):
            self.memories.store(TARGET, Place.MM, 0)
        with atomic("exit_mm(): membarrier_update_current_mm(NULL)"):
            self.memories.store(TARGET, Place.STATE, 0)

    def use_and_unuse(self) -> None:
        with atomic("f: kthread_use_mm() stores tsk->mm"):
            self.memories.store(TARGET, Place.MM, 1)
        if not self.no_state_update:
            with atomic("kthread_use_mm(): membarrier_update_current_mm(mm)"):
                self.memories.store(TARGET, Place.STATE, 1)
        if not self.no_use_mm_barrier:
            self.barrier(TARGET, "g: kthread_use_mm(), mmdrop_lazy_tlb(),")
        with atomic("the kernel thread uses the mm"):
            self.in_user = True
        with atomic("the kernel thread is done with the mm"):
            self.in_user = False
        if not self.no_unuse_mm_barrier:
            self.barrier(TARGET, "d: kthread_unuse_mm(), smp_mb__after_spinlock(),")
        with atomic("e: kthread_unuse_mm() clears tsk->mm"):
            self.memories.store(TARGET, Place.MM, 0)
        with atomic("kthread_unuse_mm(): membarrier_update_current_mm(NULL)"):
            self.memories.store(TARGET, Place.STATE, 0)

    def from_another_process(self) -> None:
        with atomic("__schedule(): a thread of the mm is next, stores rq->curr"):
            self.memories.store(TARGET, Place.MM, 1)
        with atomic("context_switch(): membarrier_switch_mm() stores rq->membarrier_state"):
            self.memories.store(TARGET, Place.STATE, 1)
        if not self.no_switch_barrier:
            self.barrier(TARGET, "e: switch_mm()")
        with atomic("the thread goes to user mode"):
            self.in_user = True

    @rule(lane="CPU 1")
    def take_ipi(self) -> None:
        """Takes the IPI: ipi_mb(), or ipi_rseq()."""
        wait(self.asked)
        self.asked = False
        if self.command != "rseq" or not self.no_rseq_barrier:
            self.memories.fence(TARGET)
        self.restarted = self.command == "rseq"

    # CPU 1: user accesses, of a thread or for it.

    @rule(lane="CPU 1")
    def first_access(self) -> None:
        """A: stores y; B: stores x."""
        wait(self.in_user and self.accesses == 0)
        if self.asks == Scenario.A:
            self.memories.store(TARGET, Place.Y, 1)
        else:
            self.memories.store(TARGET, Place.X, 1)
        self.accesses = 1

    @rule(lane="CPU 1")
    def second_access(self) -> None:
        """A: loads x; B: stores y."""
        wait(self.in_user and self.accesses == 1)
        if self.asks == Scenario.A:
            self.load_x()
        else:
            self.memories.store(TARGET, Place.Y, 1)
        self.accesses = 2

    def load_x(self) -> None:
        value = self.memories.load(TARGET, Place.X)
        self.loaded = value == 1

    @rule(lane="CPU 1")
    def restarted_section(self) -> None:
        """Its restartable sequence, begun anew after the IPI, loads x."""
        wait(self.in_user and self.restarted)
        value = self.memories.load(TARGET, Place.X)
        self.restarted_old = self.restarted_old or value == 0

    @never(
        "scenario-a",
        "of what was stored before the call and on CPU 1, one is seen by the other side",
        "both sides miss each other's store: a lock-free algorithm that leaves its fence to membarrier() is broken",
    )
    def lost_a(self) -> bool:
        return self.asks == Scenario.A and self.returned and self.accesses == 2 and not self.after and not self.loaded

    @never(
        "scenario-b",
        "what CPU 1 stored first is seen after the call by who saw the second store before it",
        "the caller acts on a message whose contents it does not see",
    )
    def lost_b(self) -> bool:
        return self.asks == Scenario.B and self.returned and self.before and not self.after

    @never(
        "restarted-old",
        "a sequence that the call restarted sees what was stored before the call",
        "the sequence goes on with data that the caller takes to be out of use",
    )
    def restarted_with_old(self) -> bool:
        return self.restarted_old

    @sometimes("scene-left-out", "the call returns and has left CPU 1 out")
    def left_out(self) -> bool:
        return not any(way in self.ways for way in (Way.KTHREAD, Way.EXIT, Way.USE_MM, Way.PROCESS)) or (
            self.returned and not self.collected
        )

    @sometimes("scene-ipi", "the call interrupts CPU 1")
    def interrupted(self) -> bool:
        return self.asked

    @sometimes("scene-message", "the caller sees the second store before its call")
    def message(self) -> bool:
        return Scenario.B not in self.scenarios or (self.returned and self.before and self.after)
