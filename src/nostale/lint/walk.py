"""An automaton over every path: breadth first over (instruction, state), so that the first way found is a shortest.

A visited mark per instruction, as objtool has it, lets one path hide another: the state that arrives second is never
looked at. Here each pair is, and every finding is reported, not the first of a function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from nostale.contract import BEYOND, Automaton
from nostale.lint.flow import Flow, Site
from nostale.lint.rule import Occurrence

EventsAt = Callable[[Site], Sequence[Occurrence]]


@dataclass(frozen=True, slots=True)
class Finding:
    """An event without an edge.

    Args:
        occurrence: the event.
        address: of the instruction.
        state: in which the instruction was arrived at.
    """

    occurrence: Occurrence
    address: int
    state: str


@dataclass(slots=True)
class Walked:
    """What a walk saw.

    Args:
        automaton: that was run.
        findings: by address.
        reached: every instruction on some path.
        stuck: places where a path ends that should not, and why.
        beyond: places where the automaton lost count.
        pairs: (instruction, state) pairs visited.
        entries: where paths began.
    """

    automaton: Automaton
    findings: list[Finding] = field(default_factory=list)
    reached: set[int] = field(default_factory=set)
    stuck: dict[int, str] = field(default_factory=dict)
    beyond: list[int] = field(default_factory=list)
    pairs: int = 0
    entries: list[int] = field(default_factory=list)
    # A pair is one number, address * n_states + state; each is mapped to the one it was reached from, entries to -1.
    _parents: dict[int, int] = field(default_factory=dict)

    def states(self, address: int) -> list[str]:
        """Return the states in which an instruction was arrived at."""
        states = self.automaton.states
        return [state for at, state in enumerate(states) if address * len(states) + at in self._parents]

    def trail(self, finding: Finding) -> list[tuple[int, str]]:
        """Return (address, state on arrival) of each instruction from the entry to the finding, both included.

        Made when asked for: all of them at once would take memory in the square of the code's length.
        """
        states, trail = self.automaton.states, []
        pair = finding.address * len(states) + states.index(finding.state)
        while pair != -1:
            trail.append((pair // len(states), states[pair % len(states)]))
            pair = self._parents[pair]
        return trail[::-1]


def walk(
    flow: Flow, automaton: Automaton, start: str, events_at: EventsAt, first: Iterable[int], later: Iterable[int]
) -> Walked:
    """Run `automaton` along every path from every entry.

    Args:
        start: the state at each entry.
        events_at: the events of an instruction, in the order in which they take effect.
        first: entries, all at once: a path is a shortest one from the nearest of them.
        later: entries that are begun at only where nothing has come by yet, one after the other.

    Returns:
        Each finding once, by the shortest path to it. Cost: O(edges x states of the automaton).
    """
    numbers = {state: at for at, state in enumerate(automaton.states)}
    return _Run(flow, automaton, events_at, numbers, Walked(automaton)).all(start, first, later)


@dataclass(slots=True)
class _Run:
    flow: Flow
    automaton: Automaton
    events_at: EventsAt
    numbers: dict[str, int]
    seen: Walked
    found: set[tuple[int, str]] = field(default_factory=set)

    def all(self, start: str, first: Iterable[int], later: Iterable[int]) -> Walked:
        self._from(start, first)
        for entry in later:
            if entry not in self.seen.reached:
                self._from(start, [entry])
        self.seen.pairs = len(self.seen._parents)
        self.seen.findings.sort(key=lambda finding: (finding.address, finding.occurrence.event))
        return self.seen

    def _from(self, start: str, entries: Iterable[int]) -> None:
        states, count = self.automaton.states, len(self.automaton.states)
        parents, number, site, events_at = self.seen._parents, self.numbers[start], self.flow.site, self.events_at
        reached = self.seen.reached
        queue: list[int] = []
        for entry in entries:
            self.seen.entries.append(entry)
            for edge in self.flow.arrive(entry):
                pair = edge.to * count + number
                if pair not in parents:
                    parents[pair] = -1
                    queue.append(pair)
        for pair in queue:  # grows while it is gone through: the queue of a breadth-first search
            address, at = divmod(pair, count)
            reached.add(address)
            here = site(address)
            if here.stuck:
                self.seen.stuck[address] = here.stuck
            events = events_at(here)
            after, broken = self._through(here, states[at], events) if events else (at, False)
            for edge in here.edges:
                if broken and edge.leaves:
                    continue  # what follows is instrumentable code: said once, at the way into it
                following = edge.to * count + after
                if following not in parents:
                    parents[following] = pair
                    queue.append(following)

    def _through(self, site: Site, state: str, events: Sequence[Occurrence]) -> tuple[int, bool]:
        """Take the instruction's events; one without an edge is a finding and leaves the state as it was."""
        arrived, broken = state, False
        for occurrence in events:
            following = self.automaton.step(state, occurrence.event)
            if following is None:
                broken = True
                if (site.address, occurrence.event) not in self.found:
                    self.found.add((site.address, occurrence.event))
                    self.seen.findings.append(Finding(occurrence, site.address, arrived))
            elif following == BEYOND != state:
                self.seen.beyond.append(site.address)
            state = following or state
        return self.numbers[state], broken
