"""Instruction bytes that change while other CPUs fetch them.

A CPU keeps what it prefetched, decoded or cached until it executes a serialising instruction; until then a fetch may
return any version of a byte that memory has held since the CPU's last such instruction (SDM vol. 3, "Handling Self- and
Cross-Modifying Code"). How the bytes of one instruction may mix is a parameter, because the manuals leave it open:

- `independent`: each byte may be of any of those versions. The weakest machine, and the default.
- `ordered`: a later byte is fetched no earlier than an earlier one, so it is at least as new a version.
- `line`: the instruction does not cross a fetch line, and all its bytes come from one version.

Not modelled: page-table changes beneath the code, and speculation that leaves no fetched bytes behind.
"""

from __future__ import annotations

from enum import IntEnum

from nostale.prove.language import Component, array, one_of, removable, upto, wait

FETCHES = ("independent", "ordered", "line")
_ASSUMED = {
    "independent": "each byte may be of any version since the CPU's last synchronisation (the weakest machine)",
    "ordered": "a later byte is at least as new as an earlier one (coherent fetch order)",
    "line": "all bytes come from one version (the instruction crosses no fetch line)",
}


class InstructionBytes(Component):
    """One instruction of several bytes, all its versions, and how old a version each CPU may still fetch.

    Args:
        first: what each byte holds at the start, members of one enum.
        changes: the most stores to it that are told apart.
        cpus: how many CPUs fetch it.
        fetch: one of `FETCHES`.
    """

    def __init__(self, first: tuple[IntEnum, ...], changes: int, cpus: int, fetch: str) -> None:
        self.first, self.fetch, self.versions = first, fetch, range(changes + 1)
        self.assumes = f"fetch = {fetch}: {_ASSUMED[fetch]}"
        self.now = upto(changes, shown=False)
        self.memory: list[int] = [one_of(type(held), first=held) for held in first]
        self.byte: list[list[int]] = [
            array(changes + 1, lambda held=held: one_of(type(held), first=held, shown=False))  # type: ignore[misc]
            for held in first
        ]
        self.oldest = array(cpus, lambda: upto(changes))

    def change(self, place: int, value: int) -> None:
        """A store to byte `place` reaches memory: there is one version more."""
        for index in range(len(self.first)):
            self.byte[index][self.now + 1] = value if place == index else self.byte[index][self.now]
        self.now += 1
        self.memory[place] = value

    @removable("core sync")
    def sync(self, cpu: int) -> None:
        """`cpu` executes a serialising instruction: it fetches nothing older than now."""
        self.oldest[cpu] = self.now

    def may_fetch(self, cpu: int, version: int) -> None:
        """Go on only if `cpu` may still be given a byte of this version."""
        wait(self.oldest[cpu] <= version)
        wait(version <= self.now)

    def may_follow(self, earlier: int, version: int) -> None:
        """Go on only if a later byte may be of `version` when an earlier one was of version `earlier`."""
        if self.fetch == "ordered":
            wait(version >= earlier)
        if self.fetch == "line":
            wait(version == earlier)
