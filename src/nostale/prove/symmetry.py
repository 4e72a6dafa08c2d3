"""Interchangeable members: the canonical form of a state, and whether a declared symmetry is one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import combinations, permutations, product
from math import factorial, prod

from nostale.contract import BadInput
from nostale.prove.ir import Rule, System, reads_of, writes

State = tuple[int, ...]
Outcome = tuple[State, tuple[int, ...], int]  # the state made, the properties broken on the way, the rule
Move = tuple[tuple[int, ...], ...]  # of each group, whose record each member gets

_ALL_MOVES = 24  # up to so many permutations of the members, each state met is tried with every one


def canonical(system: System, state: State) -> State:
    """Sort the records of interchangeable members.

    >>> from nostale.prove.ir import Const, Slot
    >>> slots = tuple(Slot(name, 0, 3, 0) for name in "abcd")
    >>> canonical(System("m", slots, (), (), 1, Const(0), (((0, 1), (2, 3)),)), (2, 1, 0, 3))
    (0, 3, 2, 1)
    """
    if not system.symmetric:
        return state
    values = list(state)
    for group in system.symmetric:
        for member, record in zip(group, sorted(_record(system, state, member) for member in group)):
            for slot, value in zip(member, record):
                values[slot] = value
    return tuple(values)


def _record(system: System, state: State, member: tuple[int, ...]) -> State:
    return tuple(state[slot] for slot in member)


def moved(system: System, state: State, move: Move) -> State:
    """Permute the members: member `k` of a group gets the record of member `move[group][k]`."""
    values = list(state)
    for group, whose in zip(system.symmetric, move):
        for member, source in zip(group, whose):
            for slot, other in zip(member, group[source]):
                values[slot] = state[other]
    return tuple(values)


def moves(system: System) -> tuple[Move, ...]:
    """Return the permutations to try on each state: every one where they are few, else every swap of two members."""
    if not system.symmetric:
        return ()
    sizes = [len(group) for group in system.symmetric]
    still = tuple(tuple(range(size)) for size in sizes)
    if every_move(system):
        return tuple(move for move in product(*(permutations(range(size)) for size in sizes)) if move != still)
    return tuple(_swaps(still))


def every_move(system: System) -> bool:
    """Whether the members are so few that `moves` gives every permutation."""
    return prod(factorial(len(group)) for group in system.symmetric) <= _ALL_MOVES


def _swaps(still: Move) -> Iterator[Move]:
    for number, group in enumerate(still):
        for a, b in combinations(group, 2):
            swapped = tuple(b if k == a else a if k == b else k for k in group)
            yield (*still[:number], swapped, *still[number + 1 :])


def refuse_bad_shape(system: System) -> None:
    """Refuse groups that cannot be interchangeable whatever the rules are.

    Raises:
        BadInput: members of different shape, or a slot in two places.
    """
    used: set[int] = set()
    for group in system.symmetric:
        for member in group:
            for slot, first in zip(member, group[0]):
                a, b = system.slots[slot], system.slots[first]
                if len(member) != len(group[0]) or (a.low, a.high) != (b.low, b.high):
                    raise _refused(system, group, f"{a.name} and {b.name} differ in range")
                if slot in used:
                    raise _refused(system, group, f"{a.name} stands in it twice")
                used.add(slot)
            if len(member) != len(group[0]):
                raise _refused(system, group, "its members differ in size")


def _refused(system: System, group: tuple[tuple[int, ...], ...], why: str) -> BadInput:
    names = ", ".join(system.slots[member[0]].name if member else "nothing" for member in group)
    return BadInput(
        f"model {system.name}",
        f"the members of ({names}) are not interchangeable: {why}",
        cause="something tells them apart: a number of theirs that is stored, compared or ordered",
        remedy="take the declaration back, or make the rules treat them alike",
    )


def contradiction(
    system: System, state: State, outcomes: Callable[[State], list[Outcome]], marks: Callable[[State], object]
) -> tuple[int, int] | None:
    """Return the first move, and rule, that contradict the declared symmetry in this state; None where none does.

    Args:
        outcomes: of a state, what each enabled rule makes of it.
        marks: of a state, the predicates true in it and whether it may be the end.
    """
    for number, move in enumerate(moves(system)):
        other = moved(system, state, move)
        if marks(state) != marks(other):
            return number, len(system.rules)
        straight = sorted(outcomes(other))
        after = sorted((moved(system, made, move), broken, rule) for made, broken, rule in outcomes(state))
        odd = _odd_one(straight, after)
        if odd is not None:
            return number, odd
    return None


def _odd_one(a: list[Outcome], b: list[Outcome]) -> int | None:
    """Return the first rule whose outcome stands in one of two sorted lists only."""
    extra = _without(a, b) + _without(b, a)
    return min((rule for _, _, rule in extra), default=None)


def _without(a: list[Outcome], b: list[Outcome]) -> list[Outcome]:
    """Return what of `a` has no partner in `b`, rule numbers apart; of equal ones the last are left over."""
    have = Counter((state, broken) for state, broken, _ in b)
    left = []
    for outcome in a:
        have[outcome[:2]] -= 1
        if have[outcome[:2]] < 0:
            left.append(outcome)
    return left


def contradicted(system: System, move: int, rule: Rule | None) -> BadInput:
    """Return the refusal for a move of `moves(system)` that does not commute with `rule` (None: with a property)."""
    tried = moves(system)[move]
    number = next(n for n, whose in enumerate(tried) if whose != tuple(range(len(whose))))
    group = system.symmetric[number]
    a, b = next((k, whose) for k, whose in enumerate(tried[number]) if k != whose)
    names = f"{system.slots[group[a][0]].name} and {system.slots[group[b][0]].name}"
    what = (
        f"{rule.name} ({rule.site}) has no counterpart"
        if rule
        else "a never, always or sometimes, or the end of the model, answers otherwise"
    )
    return _refused(system, group, f"with the records of {names} exchanged, {what}")


def checked(system: System) -> str:
    """Say what was checked of the declared symmetry, for the coverage of an answer."""
    groups = "; ".join(
        f"{len(group)} x ({', '.join(system.slots[slot].name for slot in group[0])})" for group in system.symmetric
    )
    tried = "every permutation" if every_move(system) else f"every swap of two ({len(moves(system))})"
    return f"{groups}: {tried} of the members was tried on every state met"


def lanes_of_members(system: System) -> dict[str, tuple[int, int]]:
    """Return, of each lane that is one member's own, the group and the member.

    That is the member that all the lane's rules touch, those that touch none left out.

    A wrong guess would make a path with more switches of observer than need be, never a wrong path.
    """
    touched: dict[str, set[tuple[int, int]]] = {}
    place = {
        slot: (g, m) for g, group in enumerate(system.symmetric) for m, member in enumerate(group) for slot in member
    }
    for rule in system.rules:
        here = {place[slot] for slot in (*reads_of(rule.body), *writes(rule.body)) if slot in place}
        if here:
            touched[rule.lane] = touched[rule.lane] & here if rule.lane in touched else here
    return {lane: next(iter(members)) for lane, members in touched.items() if len(members) == 1}
