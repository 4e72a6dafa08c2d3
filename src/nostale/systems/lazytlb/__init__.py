"""lazytlb: CPUs that run lazily on a borrowed mm, and membarrier's promise to user-space code generators."""

from nostale.systems.system import System

SYSTEM = System(
    name="lazytlb",
    title="lazy TLB mode and membarrier's core sync",
    view="user text and translations of an mm, on a CPU that runs lazy or borrowed",
    change="user code rewritten, unmap, mm teardown",
    sync="IPI, CR3 write, core sync at switch or return",
    use="return to user mode, access through the mm",
    rely="membarrier returns, page tables are freed",
)
