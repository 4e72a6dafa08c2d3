"""The way to show, the slow and obvious way: of all shortest ways one with the fewest switches of lane.

It walks through real states, where the generated explorer reckons with canonical ones: the two are each other's test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

State = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Steps:
    """How a system moves.

    Args:
        successors: of a real state, the rules and the states they make, in rule order.
        breaking: of a real state, the rules that break what is asked on their way out.
        canonical: of a state.
        lanes: of each rule.
    """

    successors: Callable[[State], list[tuple[int, State]]]
    breaking: Callable[[State], list[int]]
    canonical: Callable[[State], State]
    lanes: tuple[str, ...]


def fewest_switches(start: State, useful: list[set[State]], breaks: bool, steps: Steps) -> tuple[int, ...]:
    """Return the rules of the way.

    Args:
        start: the initial state.
        useful: by level, the canonical states on some shortest way.
        breaks: whether the way ends with a rule that breaks something, out of the last level.
    """
    levels = _real_levels(start, useful, steps)
    plans: list[dict[State, _Plan]] = []
    for depth in reversed(range(len(levels))):
        last = depth == len(levels) - 1
        following = {} if last else plans[-1]
        plans.append({state: _plan(state, following, steps, last and breaks) for state in levels[depth]})
    plans.reverse()
    way: list[int] = []
    state, lane = start, None
    for depth in range(len(levels) - (not breaks)):
        _, number = _cheapest(plans[depth][state], lane)
        way.append(number)
        lane = steps.lanes[number]
        state = dict(steps.successors(state)).get(number, state)
    return tuple(way)


_Plan = dict[str, tuple[int, int]]  # by the lane of the next step: switches from then on, and the rule to take


def _real_levels(start: State, useful: list[set[State]], steps: Steps) -> list[set[State]]:
    levels = [{start}]
    for wanted in useful[1:]:
        made = (state for before in levels[-1] for _, state in steps.successors(before))
        levels.append({state for state in made if steps.canonical(state) in wanted})
    return levels


def _plan(state: State, following: dict[State, _Plan], steps: Steps, breaks: bool) -> _Plan:
    plan: _Plan = {}
    for number in steps.breaking(state) if breaks else ():
        plan.setdefault(steps.lanes[number], (0, number))
    for number, after in steps.successors(state):
        if after in following:
            lane = steps.lanes[number]
            switches = _cheapest(following[after], lane)[0] if following[after] else 0
            plan[lane] = min(plan.get(lane, (switches, number)), (switches, number))
    return plan


def _cheapest(plan: _Plan, lane: str | None) -> tuple[int, int]:
    return min((switches + (lane not in (None, other)), number) for other, (switches, number) in plan.items())
