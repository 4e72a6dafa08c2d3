"""isolation: a CPU left alone in user space, and the work that is deferred until it comes back."""

from nostale.systems.system import System

SYSTEM = System(
    name="isolation",
    title="task isolation with deferred synchronisation",
    view="kernel text and mappings, on a CPU left alone in user space",
    change="text patched, range unmapped, by a housekeeping CPU",
    sync="IPI, or a catch-up on the next kernel entry",
    use="first instruction or access that depends on it",
    rely="patch returns, pages are freed",
)
