"""The slow obvious walk: each entry alone, plain sets, whole paths carried along. The oracle of `walk`."""

from __future__ import annotations

from collections import deque


def slow_walk(site_of, arrive, automaton, start, events_at, entries):
    """Return the shortest path's length in instructions to each (address, event) without an edge."""
    best = {}
    for entry in entries:
        waiting = deque(((edge.to, start), 1) for edge in arrive(entry))
        met = {pair for pair, _ in waiting}
        while waiting:
            (address, state), length = waiting.popleft()
            site, broken, after = site_of(address), False, state
            for occurrence in events_at(site):
                following = automaton.step(after, occurrence.event)
                if following is None:
                    broken = True
                    key = (address, occurrence.event)
                    best[key] = min(best.get(key, length), length)
                else:
                    after = following
            for edge in site.edges:
                pair = (edge.to, after)
                if pair not in met and not (broken and edge.leaves):
                    met.add(pair)
                    waiting.append((pair, length + 1))
    return best
