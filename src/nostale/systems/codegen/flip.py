"""One instruction is replaced by another, whole, and everybody must execute the new one when the caller returns.

A jump label on arm64 or riscv (a NOP and a branch may be exchanged while they run), or the INT3 of a kprobe on x86. How
the others are told is the question: an IPI that synchronises each core; a grace period of RCU, which waits until each
has been somewhere, not until it has fetched anew; or nothing.
Source: arch/arm64/kernel/jump_label.c, kick_all_cpus_sync(); arch/x86/kernel/kprobes/core.c, arch_arm_kprobe();
arch/riscv/mm/cacheflush.c, flush_icache_all(), v6.12.
"""

from __future__ import annotations

from nostale.prove import (
    Model,
    array,
    atomic,
    choose,
    flag,
    never,
    param,
    process,
    removable,
    rule,
    sometimes,
    upto,
    variant,
    wait,
)

PATCHER, REMOTE = 0, 1
OLD, NEW = 0, 1
_LOCAL = {"x86": "sync_core()", "arm64": "ISB", "riscv": "FENCE.I"}


class Flip(Model):
    """A CPU flips an instruction that both may execute."""

    system = "codegen"
    requirements = ("TI-10", "CG-7", "CG-11", "CG-12")
    title = "one instruction is replaced whole: everybody runs the new one once the caller returns"
    not_modelled = (
        "instructions that may not be exchanged while they run, instructions of several fetches (see codegen), other "
        "causes of synchronisation, which may come but need not, more than one remote CPU"
    )

    arch = param("x86", "the architecture", choices=("x86", "arm64", "riscv"))
    means = param("ipi", "how the others are told", choices=("ipi", "rcu", "none"))
    order = param("local-first", "which caches come first", choices=("local-first", "remote-first"))
    in_the_way = param(False, "whether telling the others executes the instruction itself")

    no_wait = variant("the caller does not wait for the answers")

    def build(self) -> None:
        self.memory = upto(1)
        self.oldest = array(2, lambda: upto(1))  # the oldest version that each CPU may still be given
        self.flipping = flag()
        self.ipi = flag()
        self.rcu_waits = flag()
        self.done = flag()
        self.late = flag()
        self.own_foot = flag()

    def assumptions(self) -> tuple[str, ...]:
        return (
            "a CPU may be given the old instruction until it synchronises",
            "a quiescent state of RCU does not synchronise a core",
        )

    @process(lane="CPU 0")
    def flips(self) -> None:
        with atomic("writes the instruction"):
            self.memory = NEW
            self.flipping = True
        if self.order == "local-first":
            self.sync_local()
            self.sync_remote()
        else:
            self.sync_remote()
            self.sync_local()
        with atomic("returns"):
            self.flipping = False
            self.done = True

    @removable("core sync")
    def sync_local(self) -> None:
        with atomic(f"{_LOCAL[self.arch]}: fetches anew"):
            self.oldest[PATCHER] = self.memory

    @removable("core sync")
    def sync_remote(self) -> None:
        if self.in_the_way:
            with atomic("the code that tells the others executes the instruction"):
                version = choose((OLD, NEW))
                wait(self.oldest[PATCHER] <= version)
                self.own_foot = version == OLD
        if self.means == "ipi":
            with atomic("sends the IPI"):
                self.ipi = True
            if not self.no_wait:
                with atomic("it has answered"):
                    wait(not self.ipi)
        if self.means == "rcu":
            with atomic("synchronize_rcu_tasks(): waits until each task has been to a quiescent state"):
                self.rcu_waits = True
            with atomic("synchronize_rcu_tasks(): returns"):
                wait(not self.rcu_waits)

    @rule(lane="CPU 1")
    def quiescent(self) -> None:
        """Schedules: a quiescent state; it fetches nothing anew."""
        wait(self.rcu_waits)
        self.rcu_waits = False

    @rule(lane="CPU 1")
    def take_ipi(self) -> None:
        """Takes the IPI, and synchronises its core."""
        wait(self.ipi)
        self.ipi = False
        self.oldest[REMOTE] = self.memory

    @rule(lane="CPU 1")
    def execute(self) -> None:
        """Executes the instruction, of any version that it may still be given."""
        version = choose((OLD, NEW))
        wait(self.oldest[REMOTE] <= version and version <= self.memory)
        self.late = self.late or (self.done and version == OLD)

    @never("late", "nobody executes the old instruction after the caller has returned", "the flip is not in force")
    def too_late(self) -> bool:
        return self.late

    @never(
        "own-foot",
        "what spreads the change does not run the old instruction",
        "it runs through what it patches",
    )
    def through_itself(self) -> bool:
        return self.own_foot

    @sometimes("scene-done", "the caller returns")
    def returns(self) -> bool:
        return self.done
