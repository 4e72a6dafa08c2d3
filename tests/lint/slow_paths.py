"""Every way with its whole stack of open calls, one by one: the oracle of `paths`, for small programs."""

from __future__ import annotations

from nostale.lint.targets import How


def slow_paths(flow, automaton, events_at, entry, start, *, deepest):
    """Return the shortest length to each (address, event) without an edge, over stacks of at most `deepest` calls."""
    level = [(edge.to, start, ()) for edge in flow.arrive(entry)]
    met, best, length = set(level), {}, 1
    while level:
        following = []
        for address, state, stack in level:
            site, after = flow.site(address), state
            for occurrence in events_at(site):
                to = automaton.step(after, occurrence.event)
                if to is None:
                    best.setdefault((address, occurrence.event), length)
                else:
                    after = to
            following += [(to, after, left) for to, left in moves(flow, site, stack, deepest)]
        level = []
        for one in following:
            if one not in met:
                met.add(one)
                level.append(one)
        length += 1
    return best


def moves(flow, site, stack, deepest):
    """Return (address, stack) of each way on; a stack holds the places to come back to, the innermost first."""
    transfer, on = site.transfer, [edge.to for edge in site.edges]
    if transfer is None:
        return [(to, stack) for to in on]
    if transfer.how is How.RETURN:
        return [(to, stack[1:]) for to in stack[0]] if stack else []
    found = []
    for target in transfer.targets:
        inner = (tuple(on), *stack) if transfer.how is How.CALL else stack
        if target.address is not None and len(inner) <= deepest:
            found += [(edge.to, inner) for edge in flow.arrive(target.address)]
        if target.address is None and transfer.how is How.TAIL and stack:
            found += [(to, stack[1:]) for to in stack[0]]
        if target.address is None:
            found += [(to, stack) for to in on]
    if transfer.how is How.TAIL:
        found += [(to, stack) for to in on]
    return found
