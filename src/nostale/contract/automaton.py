"""A deterministic automaton over event names: what every contract compiles to, and what the engines run.

As in the kernel's runtime verification (Documentation/trace/rv/deterministic_automata.rst), an event of the alphabet
that has no edge from the present state is the violation. Events outside the alphabet are not the automaton's concern.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nostale.contract.errors import BadInput


@dataclass(frozen=True, slots=True)
class Automaton:
    """States, edges and where to start.

    Args:
        name: an identifier, as the kernel's `.dot` files have it.
        states: in a fixed order, the initial one first.
        events: the alphabet, sorted.
        edges: (state, event) to the next state. A pair that is not here is a violation.
        final: states in which a run may end; empty where every state will do.

    Raises:
        BadInput: an edge names a state or an event that is not declared.
    """

    name: str
    states: tuple[str, ...]
    events: tuple[str, ...]
    edges: Mapping[tuple[str, str], str]
    final: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for (state, event), following in self.edges.items():
            for named in (state, following):
                if named not in self.states:
                    raise BadInput(
                        f"automaton {self.name}", f"an edge names the state {named!r}, which is not declared"
                    )
            if event not in self.events:
                raise BadInput(f"automaton {self.name}", f"an edge names the undeclared event {event!r}")

    @property
    def initial(self) -> str:
        """The state a run starts in."""
        return self.states[0]

    def step(self, state: str, event: str) -> str | None:
        """Return the state after `event`, or None where the automaton has no such edge: a violation."""
        if event not in self.events:
            return state
        return self.edges.get((state, event))

    @classmethod
    def of(
        cls,
        name: str,
        edges: Iterable[tuple[str, str, str]],
        *,
        initial: str,
        final: Iterable[str] = (),
        forbidden: Iterable[str] = (),
    ) -> Automaton:
        """Build one from (state, event, next state) triples; `forbidden` events are in the alphabet without an edge.

        >>> gate = Automaton.of("gate", [("shut", "open", "ajar"), ("ajar", "shut", "shut")], initial="shut")
        >>> gate.step("shut", "open"), gate.step("shut", "shut")
        ('ajar', None)
        """
        table: dict[tuple[str, str], str] = {}
        named: set[str] = set(final)
        for state, event, following in edges:
            if table.setdefault((state, event), following) != following:
                raise BadInput(f"automaton {name}", f"two edges leave {state!r} on {event!r}: it is not deterministic")
            named |= {state, following}
        states = (initial, *sorted(named - {initial}))
        alphabet = {event for _, event in table} | set(forbidden)
        return cls(name, states, tuple(sorted(alphabet)), table, frozenset(final))


FRESH, STALE = "fresh", "stale"


def rule_automaton(
    name: str, *, changes: Iterable[str], syncs: Iterable[str], uses: Iterable[str], relies: Iterable[str]
) -> Automaton:
    """Compile the rule: after a change no use and no rely before a sync.

    >>> rule_automaton("tlb", changes=["unmap"], syncs=["flush"], uses=["access"], relies=["free"]).step(STALE, "free")
    """
    edges = [(state, change, STALE) for change in changes for state in (FRESH, STALE)]
    edges += [(state, sync, FRESH) for sync in syncs for state in (FRESH, STALE)]
    edges += [(FRESH, event, FRESH) for event in (*uses, *relies)]
    return Automaton.of(name, edges, initial=FRESH)


def depth_automaton(
    name: str, *, enter: str, leave: str, needs_inside: str | None, needs_outside: str | None, limit: int
) -> Automaton:
    """Build the automaton of a nesting depth in [-limit, limit]; beyond it there is no edge but the one to `beyond`.

    Args:
        enter: the event that raises the depth.
        leave: the event that lowers it. It is not clamped at zero: an end without a begin makes the next begin void.
        needs_inside: an event allowed at a depth above zero only, or None.
        needs_outside: an event allowed at zero or below only, or None.
        limit: the greatest depth told apart; past it the state is `beyond`, in which nothing is a violation and
            nothing can be concluded.
    """
    edges: list[tuple[str, str, str]] = []
    for depth in range(-limit, limit + 1):
        here = str(depth)
        edges.append((here, enter, str(depth + 1) if depth < limit else BEYOND))
        edges.append((here, leave, str(depth - 1) if depth > -limit else BEYOND))
        if needs_inside and depth > 0:
            edges.append((here, needs_inside, here))
        if needs_outside and depth <= 0:
            edges.append((here, needs_outside, here))
    edges += [(BEYOND, event, BEYOND) for event in (enter, leave, needs_inside, needs_outside) if event]
    return Automaton.of(name, edges, initial="0")


BEYOND = "beyond"
