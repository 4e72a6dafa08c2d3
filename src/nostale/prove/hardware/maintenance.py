"""New instructions on arm64 and riscv, where caches of instructions do not follow memory by themselves.

One instruction, written whole and fetched whole, and its versions by number: choice at use, as in `fetch`.

- arm64: DC CVAU cleans a line to where instruction and data sides meet (the point of unification), DSB waits for that,
  IC IVAU invalidates it in every PE's instruction cache, DSB waits for that, and an ISB (or another context
  synchronisation event) makes its own PE fetch anew. CTR_EL0.IDC makes the clean unnecessary, DIC the invalidation.
  Source: Arm ARM, "Concurrent modification and execution of instructions" and "CTR_EL0"; Simner et al., "ARMv8-A
  System Semantics: Instruction Fetch in Relaxed Architectures" (2020). See `serialising.CHANGEABLE_ON_ARM64` for which
  instructions may be changed while they may be executed; any other pair is not covered by this.
- riscv: FENCE.I makes its own hart fetch what it has stored or seen stored; no other hart. Source: unprivileged ISA,
  "Zifencei"; Documentation/arch/riscv/cmodx.rst.

Not modelled: order of the data side (a store is visible at once: combine with `memory`), several lines, lines that
share an instruction, and that with DIC a PE does not go back to an older version (the model is weaker there).
"""

from __future__ import annotations

from nostale.prove.language import Component, array, choose, upto, wait


class Versions(Component):
    """One instruction: the newest version in memory, and the oldest that each CPU may still fetch."""

    def __init__(self, cpus: int, changes: int) -> None:
        self.cpus, self.versions = cpus, range(changes + 1)
        self.now = upto(changes)
        self.oldest = array(cpus, lambda: upto(changes))

    def write(self) -> None:
        """A new version is stored and visible to loads."""
        self.now += 1

    def fetch(self, cpu: int) -> int:
        """Return any version that `cpu` may still be given."""
        version = choose(self.versions)
        wait(self.oldest[cpu] <= version)
        wait(version <= self.now)
        return version


class Arm64Instruction(Versions):
    """One instruction on arm64.

    Args:
        cpus: PEs of one inner shareable domain.
        changes: the most stores to it.
        idc, dic: of CTR_EL0.
    """

    def __init__(self, cpus: int, changes: int, *, idc: bool = False, dic: bool = False) -> None:
        super().__init__(cpus, changes)
        self.idc, self.dic = idc, dic
        # No older version is at the point of unification, or in any instruction cache.
        self.unified = upto(changes)
        self.cached = upto(changes)
        # What a DC or IC that this CPU has issued will have brought about once its DSB is through.
        self.cleaning = array(cpus, lambda: upto(changes, shown=False))
        self.invalidating = array(cpus, lambda: upto(changes, shown=False))

    def write(self) -> None:
        """A new version is stored."""
        self.now += 1
        if self.idc:
            self.unify(self.now)

    def dc_cvau(self, cpu: int) -> None:
        """DC CVAU: starts to clean what is in memory now."""
        self.cleaning[cpu] = self.now

    def ic_ivau(self, cpu: int) -> None:
        """IC IVAU: starts to invalidate; a cache may fill again, with what is at the point of unification by now."""
        self.invalidating[cpu] = self.unified

    def dsb(self, cpu: int) -> None:
        """DSB ISH: what this CPU has started is done, for every PE."""
        self.unify(self.newer(self.cleaning[cpu], self.unified))
        self.cached = self.newer(self.invalidating[cpu], self.cached)

    def isb(self, cpu: int) -> None:
        """ISB: what comes next is fetched from the caches."""
        self.oldest[cpu] = self.newer(self.cached, self.oldest[cpu])

    def unify(self, version: int) -> None:
        """The point of unification holds nothing older; with DIC neither do the instruction caches."""
        self.unified = version
        if self.dic:
            self.cached = version

    def newer(self, one: int, other: int) -> int:
        """Return the higher of two versions."""
        return one if one > other else other


class RiscvInstruction(Versions):
    """One instruction on riscv; `cpus` are harts."""

    def fence_i(self, hart: int) -> None:
        """FENCE.I: this hart, and no other, fetches nothing older than now."""
        self.oldest[hart] = self.now
