"""The reference explorer: breadth first, the slow and obvious way.

It is the oracle of the generated explorer and takes over where there is no C compiler.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from nostale.contract import BadInput, Search
from nostale.prove.exploration import VALUES_APART, Bounds, Exploration, Progress, Stopped, Tick, most_varied
from nostale.prove.interpreter import State, apply, holds
from nostale.prove.ir import System
from nostale.prove.symmetry import Outcome, canonical, contradicted, contradiction, refuse_bad_shape
from nostale.prove.ways import Steps, fewest_switches

_BYTES_A_STATE = 1000  # roughly, of Python's objects


def explore(system: System, bounds: Bounds | None = None, tick: Tick = lambda progress: None) -> Exploration:
    """Explore every reachable state, level by level.

    Args:
        system: what to explore.
        bounds: how far to go.
        tick: told now and then how far it is.

    Raises:
        BadInput: a value left its range, or the declared symmetry is none.
    """
    refuse_bad_shape(system)
    run = _Reference(system, bounds or Bounds(), tick)
    while run.goes_on():
        run.expand_level()
    return run.result()


@dataclass(slots=True)
class _Reference:
    system: System
    bounds: Bounds
    tick: Tick
    levels: list[list[State]] = field(default_factory=list)
    parent: dict[State, State | None] = field(default_factory=dict)
    edges: dict[State, list[State]] = field(default_factory=dict)
    transitions: int = 0
    lengths: dict[int, int] = field(default_factory=dict)
    contradiction: tuple[int, int] | None = None
    reason: str = ""
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        first = canonical(self.system, self.system.initial)
        self.levels.append([first])
        self.parent[first] = None
        self.look(first, 0)

    @property
    def error(self) -> int:
        """The number that stands for a value that leaves its range."""
        return self.system.n_properties

    def goes_on(self) -> bool:
        return bool(self.levels[-1]) and not self.reason and self.error not in self.lengths and not self.contradiction

    def met(self, number: int, length: int) -> None:
        self.lengths[number] = min(self.lengths.get(number, length), length)

    def look(self, state: State, length: int) -> None:
        for predicate in self.system.predicates:
            if holds(self.system, state, predicate.condition):
                self.met(predicate.number, length)

    def outcomes(self, state: State) -> list[Outcome]:
        """Return what each enabled rule makes of a state; a value out of range is a property broken, without one."""
        made: list[Outcome] = []
        for number in range(len(self.system.rules)):
            try:
                effect = apply(self.system, state, number)
            except BadInput:
                made.append(((), (self.error,), number))
                continue
            if effect is not None:
                made.append((effect.state, effect.broken, number))
        return made

    def marks(self, state: State) -> object:
        conditions = [predicate.condition for predicate in self.system.predicates]
        return [holds(self.system, state, condition) for condition in (*conditions, self.system.ended)]

    def expand_level(self) -> None:
        depth, fresh, transitions = len(self.levels) - 1, list[State](), 0
        met = dict(self.lengths)
        for done, state in enumerate(self.levels[-1]):
            transitions += self.expand(state, depth, fresh)
            if self.stopping(len(self.parent)):
                break
            if done % 4096 == 4095:
                self.tell(len(self.levels[-1]) - done + len(fresh))
        if self.reason == "states":
            self.lengths = met  # what the bound leaves to see must be the same for every explorer
        if not self.reason:
            self.transitions += transitions
        self.levels.append(fresh)

    def is_stuck(self, state: State) -> bool:
        return not self.edges[state] and not holds(self.system, state, self.system.ended)

    def stopping(self, states: int) -> bool:
        if self.bounds.seconds is not None and time.monotonic() - self.started > self.bounds.seconds:
            self.reason = "time"
        if self.bounds.memory_bytes is not None and states * _BYTES_A_STATE > self.bounds.memory_bytes:
            self.reason = "memory"
        if self.bounds.max_states is not None and states > self.bounds.max_states:
            self.reason = "states"
        return bool(self.reason)

    def tell(self, waiting: int) -> None:
        states, seconds = len(self.parent), time.monotonic() - self.started
        self.tick(Progress(states, waiting, states / seconds if seconds else 0.0, states * _BYTES_A_STATE))

    def expand(self, state: State, depth: int, fresh: list[State]) -> int:
        """Expand one state; return how many rules are enabled in it."""
        following = self.edges[state] = list[State]()
        for made, broken, _ in self.outcomes(state):
            for number in broken:
                self.met(number, depth + 1)
            if self.error in broken:
                continue
            after = canonical(self.system, made)
            following.append(after)
            if after not in self.parent:
                self.parent[after] = state
                fresh.append(after)
                self.look(after, depth + 1)
        if self.is_stuck(state):
            self.met(self.error - 1, depth)
        odd = contradiction(self.system, state, self.outcomes, self.marks)
        if odd is not None and (self.contradiction is None or odd < self.contradiction):
            self.contradiction = odd
        return len(following)

    def result(self) -> Exploration:
        if self.contradiction is not None:
            move, number = self.contradiction
            rules = self.system.rules
            raise contradicted(self.system, move, rules[number] if number < len(rules) else None)
        if self.error in self.lengths:
            self.raise_error(self.way(self.error))
        whole = [level for level in self.levels[: -1 if self.reason else None] if level]
        search = Search(sum(map(len, whole)), self.transitions, len(whole) - 1, not self.reason)
        found = {number: self.way(number) for number in sorted(self.lengths)}
        stopped = Stopped(self.reason, len(whole[-1]), self.varied(whole[-1])) if self.reason else None
        return Exploration(search, found, stopped)

    def varied(self, frontier: list[State]) -> tuple[str, ...]:
        counts = (
            tuple(Counter((state[index] - slot.low) % VALUES_APART for state in frontier).values())
            for index, slot in enumerate(self.system.slots)
        )
        return most_varied(self.system.slots, counts)

    def raise_error(self, way: tuple[int, ...]) -> None:
        state = self.system.initial
        for number in way:
            effect = apply(self.system, state, number)
            state = effect.state if effect else state
        raise AssertionError("the reference explorer met an error that it does not meet again")

    def way(self, number: int) -> tuple[int, ...]:
        scenes = {predicate.number for predicate in self.system.predicates if predicate.kind == "sometimes"}
        if number in scenes:
            return self.retrace(number)
        ends, breaks = self.ends(number), False
        if not ends:
            ends, breaks = self.breaking_states(number), True
        useful = [ends]
        for level in reversed(self.levels[: self.lengths[number] - breaks]):
            useful.append({state for state in level if not useful[-1].isdisjoint(self.edges[state])})
        useful.reverse()
        return fewest_switches(self.system.initial, useful, breaks, self.steps(number))

    def ends(self, number: int) -> set[State]:
        """Return the states, as near as any, in which a predicate is true or all are stuck."""
        level = self.levels[self.lengths[number]] if self.lengths[number] < len(self.levels) else []
        asked = [p.condition for p in self.system.predicates if p.number == number]
        if asked:
            return {state for state in level if any(holds(self.system, state, one) for one in asked)}
        if number == self.error - 1:
            return {state for state in level if state in self.edges and self.is_stuck(state)}
        return set()

    def breaking_states(self, number: int) -> set[State]:
        level = self.levels[self.lengths[number] - 1]
        return {state for state in level if self.breaking(state, number)}

    def breaking(self, state: State, number: int) -> list[int]:
        return [rule for _, broken, rule in self.outcomes(state) if number in broken]

    def steps(self, number: int) -> Steps:
        def successors(state: State) -> list[tuple[int, State]]:
            return [(rule, made) for made, broken, rule in self.outcomes(state) if self.error not in broken]

        return Steps(
            successors,
            lambda state: self.breaking(state, number),
            lambda state: canonical(self.system, state),
            tuple(rule.lane for rule in self.system.rules),
        )

    def retrace(self, number: int) -> tuple[int, ...]:
        """Return a way by the parents, in real states."""
        asked = [p.condition for p in self.system.predicates if p.number == number]
        level = self.levels[self.lengths[number]]
        chain: list[State] = [next(s for s in level if any(holds(self.system, s, one) for one in asked))]
        while (before := self.parent[chain[-1]]) is not None:
            chain.append(before)
        state, way = self.system.initial, list[int]()
        for wanted in reversed(chain[:-1]):
            rule, state = next(
                (rule, made)
                for rule, made in self.steps(number).successors(state)
                if canonical(self.system, made) == wanted
            )
            way.append(rule)
        return tuple(way)
