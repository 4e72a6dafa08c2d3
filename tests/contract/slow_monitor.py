"""The slow obvious run: every occurrence looks at every instance there can be. The oracle of `Monitor`."""

from itertools import product

from nostale.contract import UNNAMED


def slow_run(contract, domains, start, events, keys):
    """Return (which occurrence, instance) where there was no edge."""
    states, known, broken = {}, [dict.fromkeys(domains.get(key, ())) for key in contract.keys], []
    for at, (event, named) in enumerate(zip(events, keys, strict=True)):
        for values, value in zip(known, named, strict=True):
            if value != UNNAMED:
                values.setdefault(value)
        for instance in product(*known):
            if all(value in (UNNAMED, own) for value, own in zip(named, instance, strict=True)):
                following = contract.automaton.step(states.get(instance, start), event)
                if following is None:
                    broken.append((at, instance))
                else:
                    states[instance] = following
    return broken
