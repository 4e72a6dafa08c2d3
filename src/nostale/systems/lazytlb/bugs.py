"""Real defects of lazy TLB mode, membarrier and mm_cpumask, as runs of the models that must show them."""

from __future__ import annotations

from nostale.systems.claims import Bug, NotShown, Run
from nostale.systems.lazytlb.contract import CORE_SYNC, NO_FREED_TRANSLATION
from nostale.systems.lazytlb.core_sync import CoreSync
from nostale.systems.lazytlb.memory_barrier import MemoryBarrier
from nostale.systems.lazytlb.mm_cid import MmCid
from nostale.systems.lazytlb.mm_lifetime import MmLifetime
from nostale.systems.lazytlb.shootdown import Shootdown

_THREADS = {"use_mm": "no", "between": "thread"}
_SIBLING = {"use_mm": "no", "caller_runs": "no"}

BUGS: tuple[Bug | NotShown, ...] = (
    Bug(
        "B27",
        "the core sync is left to the IRET of the interrupt, which may reschedule to a thread that goes back by SYSRET",
        "a493d1ca1a03",
        CoreSync,
        Run("skip-in-irq", _THREADS),
        Run("", _THREADS),
        CORE_SYNC.id,
        (
            "sends the IPIs",
            "CPU 1 Takes the IPI in user mode",
            "CPU 1 __schedule(): the other thread is next",
            "CPU 1 Goes back to user mode by the return of a system call",
            "CPU 1 Runs user code",
        ),
    ),
    Bug(
        "B29",
        "the calling thread's CPU is not synchronised; a sibling that takes its place there runs old code",
        "e45cdc71d1fa",
        CoreSync,
        Run("skip-self", _SIBLING),
        Run("", _SIBLING),
        CORE_SYNC.id,
        (
            "reads rq->curr->mm of CPU 0",
            "membarrier(SYNC_CORE) returns",
            "CPU 0 __schedule(): the sibling is next",
            "CPU 0 Runs user code",
        ),
    ),
    Bug(
        "B30",
        "ipi_rseq() restarts the sequence without a barrier: it goes on with what it had read before the IPI",
        "2ecedd756908",
        MemoryBarrier,
        Run("no-rseq-barrier", {"command": "rseq", "way": "stays"}),
        Run("", {"command": "rseq", "way": "stays"}),
        "lazytlb.restarted-old",
        ("stores x", "then the IPI to CPU 1", "ipi_rseq()", "begun anew after the IPI, loads x"),
    ),
    Bug(
        "B32",
        "membarrier reads p->mm->membarrier_state: RCU keeps the task and not its mm, which is freed meanwhile",
        "227a4aadc75b",
        MmLifetime,
        Run("reads-through-mm"),
        Run(),
        "lazytlb.freed-mm-read",
        (
            "reads rq->curr->mm of CPU 1",
            "mmput(), mmdrop(): the threads' reference",
            "reads p->mm->membarrier_state",
        ),
    ),
    Bug(
        "B34",
        "kthread_use_mm() has no barrier after storing tsk->mm: membarrier leaves the CPU out (scenario E)",
        "618758ed3a4f",
        MemoryBarrier,
        Run("no-use-mm-barrier", {"way": "use_mm", "memory": "tso"}),
        Run("", {"way": "use_mm", "memory": "tso"}),
        "lazytlb.scenario-a",
        (
            "f: kthread_use_mm() stores tsk->mm",
            "the kernel thread uses the mm",
            "b: membarrier(): reads rq->curr->mm of CPU 1",
            "finds not (self.collected)",
        ),
    ),
    Bug(
        "B35",
        "a kernel thread execs and is switched out after it has read active_mm: it drops a reference that is gone",
        "d53c3dfb23c4",
        MmLifetime,
        Run("exec-irqs-on"),
        Run(),
        "lazytlb.freed-in-use",
        (
            "exec_mmap(): reads tsk->active_mm",
            "context_switch() to the thread of B",
            "finish_task_switch(): mmdrop_lazy_tlb()",
            "exec_mmap(): sets tsk->active_mm",
            "exec_mmap(): mmdrop_lazy_tlb() of the active_mm it had read",
        ),
    ),
    Bug(
        "B37",
        "exit_lazy_flush_tlb() is switched out between active_mm and the switch of mm: the two no longer agree",
        "dfaed3e1fa70",
        MmLifetime,
        Run("exit-irqs-on"),
        Run(),
        "lazytlb.wrong-tables",
        (
            "exit_lazy_flush_tlb(): current->active_mm = &init_mm",
            "context_switch() to the thread of B",
            "context_switch() to the thread of A",
            "exit_lazy_flush_tlb(): switch_mm_irqs_off(mm, &init_mm)",
            "context_switch() to the thread of B",
        ),
    ),
    Bug(
        "B38",
        "a flush between the look at tlb_gen and the store to loaded_mm is left out: should_flush_tlb() says no",
        "fea4e317f9e7",
        Shootdown,
        Run("ignore-switching"),
        Run(),
        NO_FREED_TRANSLATION.id,
        (
            "loaded_mm = LOADED_MM_SWITCHING",
            "reads tlb_gen, choose_new_asid()",
            "inc_mm_tlb_gen()",
            "should_flush_tlb(): reads CPU 1's loaded_mm",
            "frees the page",
            "Accesses the mm's page through its TLB",
        ),
    ),
    Bug(
        "B39",
        "text_poke() on a lazy CPU keeps the borrowed mm and loads it again, after exit_mmap() saw no CPU with it",
        "abee7c494d8c",
        Shootdown,
        Run("lazy-poke", {"frees": "mm"}),
        Run("", {"frees": "mm"}),
        "lazytlb.dead-mm",
        (
            "use_temporary_mm(): keeps loaded_mm for later",
            "load_new_mm_cr3() of poking_mm",
            "xen_exit_mmap(): no CPU has the mm loaded",
            "load_new_mm_cr3() of the mm it had kept",
        ),
    ),
    Bug(
        "B41",
        "no barrier between the store to rq->curr and switch_mm_cid(): an id is given back that the thread runs with",
        "fe90f3967bdb",
        MmCid,
        Run("no-barrier-in"),
        Run(),
        "lazytlb.cid-in-use",
        (
            "stores rq->curr",
            "mm_cid_get(): reads pcpu_cid",
            "cmpxchg of the id to LAZY",
            "does rq->curr use the mm?",
            "cmpxchg to UNSET, gives the id back",
        ),
    ),
    Bug(
        "B43",
        "a lazy CPU is not flushed when page tables are freed, and goes on walking them speculatively",
        "b956575bed91",
        Shootdown,
        Run("spare-lazy", {"frees": "table"}),
        Run("", {"frees": "table"}),
        NO_FREED_TRANSLATION.id,
        ("Keeps where the page table is", "enter_lazy_tlb()", "reads CPU 1's is_lazy", "frees", "Walks the page table"),
    ),
)
