"""One word a CPU, {work, status}, exchanged at entry: does it give RCU what it needs, and may others act meanwhile?

The counter-design of Andy Lutomirski to the deferral series: status says KERNEL, USER or, while another CPU has pinned
it, INDETERMINATE; entry is one atomic exchange before the kernel's CR3 is loaded; try_pin_remote_cpu() lets another CPU
act for one that stays in user mode. Paul McKenney's requirements of RCU on any such word: what a CPU did before a
sojourn in user mode is seen by whoever saw the sojourn (1a), and what it does after it sees what they did before (1b);
two looks tell whether they saw one sojourn or two (2a, 2b); a CPU that was away and is back already has still been away
(3), which needs a count.
"""

from __future__ import annotations

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
from nostale.prove.hardware.tso import TSO

CPU, OTHER = 0, 1  # who comes and goes, and who looks
WORD, POINTER = 0, 1
OLD, NEW = 0, 1  # the object that the pointer names
NOTHING = 2


class StatusWord(Model):
    """A CPU comes and goes; RCU looks whether it was away, and frees; another CPU pins it."""

    system = "isolation"
    requirements = ("TI-4", "TI-18")
    title = "one exchanged word a CPU: what RCU needs of it, and pinning"
    not_modelled = (
        "NMIs, weaker memory than x86-TSO (1a cannot fail on it: no store passes an earlier load), several CPUs that "
        "come and go, the work bits (see deferral), a count that wraps within a grace period"
    )

    counter = param(True, "whether leaving the kernel counts in the word")
    entry = param("xchg", "how the word is written at entry", choices=("xchg", "store"))
    rounds = param(2, "how often the CPU comes in")
    pins = param(1, "how often the CPU is pinned")

    ignores_pin = variant("entry does not look whether the CPU is pinned")
    no_fence = variant("the grace period begins without a full barrier")

    def build(self) -> None:
        most = 2 * self.rounds + 1  # odd in the kernel, even away; the count above
        self.memory = TSO(2, 2, lambda: upto(max(most, NEW)), {WORD: 0, POINTER: OLD}, depth=1)
        self.away_words = tuple(range(0, most + 1, 2))
        self.pinned = flag()
        self.pinnings = upto(self.pins)
        self.count = upto(self.rounds)
        self.entries = upto(self.rounds)
        self.holds = upto(NOTHING, first=NOTHING)
        self.runs = flag()  # past the entry, in the kernel
        self.left = flag()  # since the snapshot
        self.left_since_look = flag()
        self.snapshot = upto(most)
        self.look = upto(most)
        self.quiescent = flag()
        self.freed = flag()
        self.after_free = flag()
        self.missed = flag()
        self.mistaken = flag()

    def assumptions(self) -> tuple[str, ...]:
        return ("x86-TSO, a store buffer of one store each", "leaving the kernel writes the word by a locked operation")

    @process(lane="CPU 0")
    def comes_and_goes(self) -> None:
        while self.entries < self.rounds:
            with atomic("entry: writes {work, KERNEL}, if nobody has pinned it"):
                if not self.ignores_pin:
                    wait(not self.pinned)
                self.entries += 1
                self.runs = True
                if self.entry == "xchg":
                    self.memory.exchange(CPU, WORD, 2 * self.count + 1)
                else:
                    self.memory.store(CPU, WORD, 2 * self.count + 1)
            with atomic("rcu_dereference(): reads the pointer"):
                self.holds = self.memory.load(CPU, POINTER)
            with atomic("uses what it points to"):
                self.after_free = self.after_free or (self.freed and self.holds == OLD)
            with atomic("rcu_read_unlock()"):
                self.holds = NOTHING
            with atomic("exit: writes {0, USER}, and counts"):
                self.count += 1 if self.counter else 0
                self.memory.exchange(CPU, WORD, 2 * self.count)
                self.runs = False
                self.left = True
                self.left_since_look = True

    @process(lane="RCU")
    def grace_period(self) -> None:
        with atomic("rcu_assign_pointer(): another object"):
            self.memory.store(OTHER, POINTER, NEW)
        self.barrier()
        with atomic("the grace period begins: looks at the word"):
            self.snapshot = self.memory.load(OTHER, WORD)
            self.left = False
        while not self.quiescent:
            with atomic("looks again: is it away, or was it since?"):
                now = self.memory.load(OTHER, WORD)
                if self.is_away(now) or now != self.snapshot:
                    self.quiescent = True
                else:
                    self.missed = self.missed or self.left
        with atomic("the grace period ends: frees the old object"):
            self.freed = True

    @removable("fence")
    def barrier(self) -> None:
        if not self.no_fence:
            with atomic("smp_mb()"):
                self.memory.fence(OTHER)

    def is_away(self, word: int) -> bool:
        return any(word == away for away in self.away_words)

    @process(lane="watcher")
    def looks_twice(self) -> None:
        with atomic("looks at the word"):
            first = self.memory.load(OTHER, WORD)
            self.look = first
            self.left_since_look = False
        with atomic("looks again: the same word is taken for the same sojourn"):
            second = self.memory.load(OTHER, WORD)
            self.mistaken = self.mistaken or (second == self.look and self.left_since_look)

    @process(lane="remote")
    def pins_it(self) -> None:
        while self.pinnings < self.pins:
            with atomic("try_pin_remote_cpu(): cmpxchg of USER to INDETERMINATE"):
                wait(self.is_away(self.memory.cell[WORD]))
                self.pinned = True
                self.pinnings += 1
            with atomic("acts for it, and lets go"):
                self.pinned = False

    @never("rcu-1", "nothing is used after it was freed", "1a and 1b: the order around a sojourn")
    def used_after_free(self) -> bool:
        return self.after_free

    @never("rcu-2", "two sojourns are not taken for one", "2a and 2b: whoever acts on the first acts on the wrong one")
    def taken_for_one(self) -> bool:
        return self.mistaken

    @never("rcu-3", "a CPU that was away is seen to have been", "3: else a grace period may never end")
    def was_missed(self) -> bool:
        return self.missed

    @never("pinned", "no kernel text runs while the CPU is pinned", "another CPU acts for one that is said to be away")
    def runs_pinned(self) -> bool:
        return self.pinned and self.runs

    @sometimes("scene-freed", "a grace period ends while the CPU is in the kernel")
    def freed_meanwhile(self) -> bool:
        return self.freed and self.runs
