"""An automaton along interprocedural paths: calls are entered and come back to whoever made them, and to nobody else.

`Paths` is made once for an automaton over one control flow and asked of one entry after the other:

    paths = Paths(flow, automaton, events_at, enters=lambda site, target: target.kind in PROTECTED)
    ways = paths.of(entry, "stale")
    for finding in ways.findings:
        ways.trail(finding)      # a shortest way from the entry: Hop(address, state, depth, ...)
    ways.open                    # calls whose targets the image does not tell: doubts, never followed by guessing

A function is looked at once for each state that it is entered in, whoever calls it (the tabulation of Reps, Horwitz
and Sagiv, "Precise interprocedural dataflow analysis via graph reachability", POPL 1995): its summary is the states it
comes back in, each with the length of a shortest way. Lengths are found in rising order (Knuth, "A generalization of
Dijkstra's algorithm", 1977), so that every way told is a shortest. Recursion needs no bound. What functions were found
to do is kept from one entry to the next.

Where some targets of a call are known and others may exist, the known ones are followed and the call is in `open`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple, Protocol

from nostale.contract import BEYOND, Automaton
from nostale.lint.flow import Edge, Site
from nostale.lint.rule import Occurrence
from nostale.lint.targets import How, Target, Transfer
from nostale.lint.walk import EventsAt, Finding

Enters = Callable[[Site, Target], bool]
Passes = Callable[[int, str], bool]


class ControlFlow(Protocol):
    """What is needed of a control flow; `flow.Flow` is one."""

    def site(self, address: int, /) -> Site:
        """Return the instruction at a place."""

    def arrive(self, address: int, why: str = "", /) -> Iterator[Edge]:
        """Yield the ways to begin at a place."""


class Hop(NamedTuple):
    """One instruction of a way.

    Args:
        address: of the instruction.
        state: in which it is arrived at.
        depth: how many calls are open.
        inside: the start of a function that was called here and has come back by the next hop; None elsewhere.
    """

    address: int
    state: str
    depth: int
    inside: int | None = None


class _Origin(NamedTuple):
    """How a pair was come to: from which pair (-1 at the start), and what was called and came back in between."""

    pair: int
    callee: _Context | None = None
    number: int = 0  # of the state that the callee came back in


_START = _Origin(-1)


@dataclass(eq=False, slots=True)
class _Context:
    """A function, or an entry, or some entries together, in one state on arrival.

    A pair is (end of a run of plain instructions) * n_states + state: only these are kept.
    """

    starts: tuple[int, ...]
    number: int
    heads: set[int] = field(default_factory=set)  # where runs of plain instructions were begun at
    lengths: dict[int, int] = field(default_factory=dict)
    origins: dict[int, _Origin] = field(default_factory=dict)
    exits: dict[int, tuple[int, _Origin]] = field(default_factory=dict)
    callers: list[tuple[_Context, int, int, How]] = field(default_factory=list)
    calls: list[tuple[_Context, int]] = field(default_factory=list)
    findings: dict[tuple[int, str], tuple[int, Finding]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """Plain instructions up to one that has events, a transfer or several ways on: that one and how many came first."""

    end: int
    before: int


@dataclass(slots=True)
class Paths:
    """One automaton over one control flow.

    Args:
        flow: where control goes on.
        automaton: what is run.
        events_at: the events of an instruction, in the order in which they take effect, before control goes on. It is
            asked once an instruction.
        enters: whether a call, tail call or jump to a target is followed. One that is not is stepped over, and leaves
            the state as it was; whether that is right, or an event, is for the rule to say.
        until: states in which a path is not followed any further: nothing of interest comes after them.
        passes: whether a function that begins at a place is known to have no event in a state, and to come back in it:
            it is stepped over too, and its instructions do not count for the length of a way.
    """

    flow: ControlFlow
    automaton: Automaton
    events_at: EventsAt
    enters: Enters = lambda site, target: True
    until: frozenset[str] = frozenset()
    passes: Passes = lambda start, state: False
    _numbers: dict[str, int] = field(init=False)
    _contexts: dict[tuple[int, int], _Context] = field(default_factory=dict)
    _runs: dict[int, Run] = field(default_factory=dict)
    _spans: dict[int, Sequence[int]] = field(default_factory=dict)  # the instructions of a run, by where it begins
    _events: dict[int, tuple[Occurrence, ...]] = field(default_factory=dict)
    # (length, tie, context, pair or state number of an exit, how it was come to, whether it is an exit)
    _queue: list[tuple[int, int, _Context, int, _Origin, bool]] = field(default_factory=list)
    _tie: int = 0
    _open: dict[int, Transfer] = field(default_factory=dict)
    _beyond: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._numbers = {state: at for at, state in enumerate(self.automaton.states)}

    def of(self, entry: int, state: str) -> Ways:
        """Return every way from `entry`, begun in `state`. Cost: O(edges x states squared) for what is new to it."""
        context = self._context(entry, self._numbers[state])
        self._settle()
        return Ways(self, context)

    def of_any(self, entries: Sequence[int], state: str) -> Ways:
        """Return every way from some entries, begun in `state`: what they have in common is walked once for all.

        The way to a finding is a shortest one from whichever entry is nearest.
        """
        context = self._begun(tuple(entries), self._numbers[state])
        self._settle()
        return Ways(self, context)

    def run(self, address: int) -> Run:
        """Return the run of plain instructions that begins at `address`."""
        if address in self._runs:
            return self._runs[address]
        met: list[int] = []
        at, site, known_events = address, self.flow.site, self._events
        while at not in self._runs:
            met.append(at)
            here = site(at)
            if at not in known_events:
                known_events[at] = tuple(self.events_at(here))
            plain = not known_events[at] and here.transfer is None and not here.stuck and len(here.edges) == 1
            if not plain or here.edges[0].to in met:  # the latter is a loop of plain instructions
                self._runs[at] = Run(met.pop(), 0)
            else:
                at = here.edges[0].to
        known = self._runs[at]
        for back, place in enumerate(reversed(met), 1):
            self._runs[place] = Run(known.end, known.before + back)
        return self._runs[address]

    def events(self, address: int) -> tuple[Occurrence, ...]:
        """Return the events of the instruction at `address`."""
        found = self._events.get(address)
        if found is None:
            found = self._events[address] = tuple(self.events_at(self.flow.site(address)))
        return found

    def after(self, address: int, state: str) -> tuple[str, list[tuple[Occurrence, str]]]:
        """Return the state after an instruction's events, and those without an edge with the state they came in."""
        broken = []
        for occurrence in self.events(address):
            following = self.automaton.step(state, occurrence.event)
            if following is None:
                broken.append((occurrence, state))
            else:
                if following == BEYOND != state:
                    self._beyond.add(address)
                state = following
        return state, broken

    # The queue.

    def _context(self, start: int, number: int) -> _Context:
        found = self._contexts.get((start, number))
        if found is None:
            found = self._contexts[start, number] = self._begun((start,), number)
        return found

    def _begun(self, starts: tuple[int, ...], number: int) -> _Context:
        found = _Context(starts, number)
        for edge in self._arrivals(found):
            self._push(1, found, edge.to, number, _START)
        return found

    def _arrivals(self, context: _Context) -> Iterator[Edge]:
        for start in context.starts:
            yield from self.flow.arrive(start)

    def _push(self, length: int, context: _Context, address: int, number: int, origin: _Origin) -> None:
        run = self.run(address)
        context.heads.add(address)
        pair = run.end * len(self._numbers) + number
        if pair not in context.lengths:
            self._tie += 1
            heappush(self._queue, (length + run.before, self._tie, context, pair, origin, False))

    def _push_exit(self, length: int, context: _Context, number: int, origin: _Origin) -> None:
        if number not in context.exits:
            self._tie += 1
            heappush(self._queue, (length, self._tie, context, number, origin, True))

    def _settle(self) -> None:
        """Take what waits in order of length: whoever is taken out first was come to by a shortest way.

        A context that is met on the way begins at length one although longer ones were taken out before. That does no
        harm: a caller's length is greater than that of any part of the callee that it is made of.
        """
        queue = self._queue
        while queue:
            length, _, context, what, origin, leaving = heappop(queue)
            if leaving:
                if what not in context.exits:
                    context.exits[what] = (length, origin)
                    for caller, pair, number, how in context.callers:
                        self._come_back(caller, pair, number, how, context, what)
            elif what not in context.lengths:
                context.lengths[what] = length
                context.origins[what] = origin
                self._take(context, what, length)

    def _take(self, context: _Context, pair: int, length: int) -> None:
        address, number = divmod(pair, len(self._numbers))
        site = self.flow.site(address)
        after, broken = self.after(address, self.automaton.states[number])
        for occurrence, state in broken:
            key = (address, occurrence.event)
            context.findings.setdefault(key, (pair, Finding(occurrence, address, state)))
        if after in self.until:
            return
        number, transfer = self._numbers[after], site.transfer
        if transfer is None or transfer.how is How.RESUME:
            self._go_on(context, pair, length, number, site)
        elif transfer.how is How.RETURN:
            self._push_exit(length, context, number, _Origin(pair))
        elif transfer.how is How.JUMP:
            self._go_on(context, pair, length, number, site, transfer)
        else:
            self._call(context, pair, length, number, site)

    def _go_on(
        self, context: _Context, pair: int, length: int, number: int, site: Site, jump: Transfer | None = None
    ) -> None:
        barred = {one.address for one in jump.targets if not self.enters(site, one)} if jump else set()
        for edge in site.edges:
            if edge.to not in barred:
                self._push(length + 1, context, edge.to, number, _Origin(pair))

    def _call(self, context: _Context, pair: int, length: int, number: int, site: Site) -> None:
        transfer = site.transfer
        assert transfer is not None
        skipped, state = not transfer.targets, self.automaton.states[number]
        if not transfer.complete or any(one.address is None for one in transfer.targets):
            self._open[site.address] = transfer
        for target in transfer.targets:
            if target.address is None or not self.enters(site, target) or self.passes(target.address, state):
                skipped = True
                continue
            callee = self._context(target.address, number)
            context.calls.append((callee, pair))
            callee.callers.append((context, pair, number, transfer.how))
            for leaving in list(callee.exits):
                self._come_back(context, pair, number, transfer.how, callee, leaving)
        if skipped and transfer.how is How.TAIL:
            self._push_exit(length, context, number, _Origin(pair))
        if skipped or transfer.how is How.TAIL:  # of a conditional tail call the other arm
            self._go_on(context, pair, length, number, site)

    def _come_back(
        self, caller: _Context, pair: int, number: int, how: How, callee: _Context, exit_number: int
    ) -> None:
        length = caller.lengths[pair] + callee.exits[exit_number][0]
        origin = _Origin(pair, callee, exit_number)
        if how is How.TAIL:
            self._push_exit(length, caller, exit_number, origin)
            return
        for edge in self.flow.site(pair // len(self._numbers)).edges:
            self._push(length + 1, caller, edge.to, exit_number, origin)


@dataclass(slots=True)
class Ways:
    """Every way from one entry.

    Args:
        findings: events without an edge, once an (instruction, event), by address; each with its shortest way.
    """

    paths: Paths
    root: _Context
    findings: list[Finding] = field(init=False)
    _places: dict[tuple[int, str], tuple[_Context, int]] = field(init=False)
    _came: dict[_Context, tuple[int, _Context | None, int]] = field(init=False)

    def __post_init__(self) -> None:
        self._came = self._reach()
        best: dict[tuple[int, str], tuple[int, _Context, int, Finding]] = {}
        for context, (distance, _, _) in self._came.items():
            for key, (pair, finding) in context.findings.items():
                length = distance + context.lengths[pair]
                if key not in best or length < best[key][0]:
                    best[key] = (length, context, pair, finding)
        self.findings = [best[key][3] for key in sorted(best)]
        self._places = {key: (one[1], one[2]) for key, one in best.items()}

    @property
    def reached(self) -> set[int]:
        """Every instruction on some way."""
        heads = {head for context in self._came for head in context.heads}
        return {at for head in heads for at in self._plain(head)}

    @property
    def open(self) -> dict[int, Transfer]:
        """Calls on some way whose targets are not all known, or not in this image, by address."""
        return {at: self.paths._open[at] for at in self._ends() if at in self.paths._open}

    def states(self, address: int) -> set[str]:
        """Return the states in which an instruction with events, a transfer or several ways on is arrived at."""
        states = self.paths.automaton.states
        pairs = {address * len(states) + number: state for number, state in enumerate(states)}
        return {pairs[pair] for context in self._came for pair in pairs.keys() & context.lengths.keys()}

    @property
    def stuck(self) -> dict[int, str]:
        """Places where a way ends that should not, and why."""
        sites = (self.paths.flow.site(at) for at in self._ends())
        return {site.address: site.stuck for site in sites if site.stuck}

    @property
    def beyond(self) -> list[int]:
        """Places where the automaton lost count, sorted."""
        return sorted(self._ends() & self.paths._beyond)

    @property
    def pairs(self) -> int:
        """How many (instruction, state, calling context) were told apart."""
        return sum(len(context.lengths) for context in self._came)

    @property
    def exits(self) -> list[str]:
        """The states in which the entry returns, in the automaton's order."""
        return [self.paths.automaton.states[number] for number in sorted(self.root.exits)]

    def length(self, finding: Finding) -> int:
        """Return the number of instructions from the entry to the finding, both included, those of calls as well."""
        context, pair = self._places[finding.address, finding.occurrence.event]
        return self._came[context][0] + context.lengths[pair]

    def trail(self, finding: Finding, *, inside: bool = False) -> list[Hop]:
        """Return a shortest way from the entry to the finding.

        Args:
            inside: also tell what calls did that came back before. It may be long.
        """
        context, pair = self._places[finding.address, finding.occurrence.event]
        legs: list[tuple[_Context, int]] = [(context, pair)]
        while True:
            _, caller, call = self._came[context]
            if caller is None:
                break
            legs.append((caller, call))
            context = caller
        hops: list[Hop] = []
        for depth, (one, end) in enumerate(reversed(legs)):
            hops += self._leg(one, end, depth, inside=inside)
        return hops

    def way_out(self, state: str) -> list[Hop]:
        """Return a shortest way from the entry to where it returns in a state (see `exits`)."""
        return self._whole(self.root, self.paths.automaton.states.index(state), 0, inside=False)

    # One context.

    def _leg(self, context: _Context, pair: int, depth: int, *, inside: bool) -> list[Hop]:
        """Return the hops from the start of a context to one of its pairs."""
        count, states = len(self.paths.automaton.states), self.paths.automaton.states
        chain: list[tuple[int, _Origin]] = []
        while pair != -1:
            chain.append((pair, context.origins[pair]))
            pair = context.origins[pair].pair
        hops: list[Hop] = []
        for end, origin in reversed(chain):
            address, number = divmod(end, count)
            before = origin.pair // count if origin.pair != -1 else None
            if origin.callee is not None:
                if inside:
                    hops += self._whole(origin.callee, origin.number, depth + 1, inside=True)
                else:
                    hops[-1] = hops[-1]._replace(inside=origin.callee.starts[0])
            edges = self.paths.flow.site(before).edges if before is not None else self.paths._arrivals(context)
            ways = [edge.to for edge in edges if self.paths.run(edge.to).end == address]
            begin = min(ways, key=lambda way: self.paths.run(way).before)
            hops += [Hop(at, states[number], depth) for at in self._plain(begin)]
        return hops

    def _whole(self, context: _Context, number: int, depth: int, *, inside: bool) -> list[Hop]:
        """Return the hops of a function from its start to where it comes back in a state."""
        _, origin = context.exits[number]
        hops = self._leg(context, origin.pair, depth, inside=inside)
        if origin.callee is None:
            return hops
        return hops + self._whole(origin.callee, origin.number, depth + 1, inside=inside)

    def _plain(self, address: int) -> Sequence[int]:
        """Return the instructions of the run that begins at `address`, its end included."""
        known = self.paths._spans.get(address)
        if known is None:
            run = self.paths.run(address)
            found = [address]
            for _ in range(run.before):
                found.append(self.paths.flow.site(found[-1]).edges[0].to)
            known = self.paths._spans[address] = found
        return known

    def _ends(self) -> set[int]:
        count = len(self.paths.automaton.states)
        return {pair // count for context in self._came for pair in context.lengths}

    def _reach(self) -> dict[_Context, tuple[int, _Context | None, int]]:
        """Return each context that is entered: after how many instructions, by whom and from which pair."""
        found: dict[_Context, tuple[int, _Context | None, int]] = {}
        queue: list[tuple[int, int, _Context, _Context | None, int]] = [(0, 0, self.root, None, -1)]
        tie = 0
        while queue:
            distance, _, context, caller, pair = heappop(queue)
            if context in found:
                continue
            found[context] = (distance, caller, pair)
            for callee, call in context.calls:
                if callee not in found:
                    tie += 1
                    heappush(queue, (distance + context.lengths[call], tie, callee, context, call))
        return found
