"""A trail of instructions told as a path: the entry, the choices on the way, the annotations, and the end."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from nostale.contract import Changed, Contract, Path, Step
from nostale.lint.flow import Flow
from nostale.lint.paths import Hop, Ways
from nostale.lint.rule import Rule
from nostale.lint.walk import EventsAt, Finding, Walked


def tell(flow: Flow, rule: Rule, walked: Walked, finding: Finding, events_at: EventsAt) -> Path:
    """Return the steps of a finding; instructions that only lead on to the next one are left out."""
    image, contract = flow.image, rule.contract
    trail = walked.trail(finding)
    entry = trail[0][0]
    function = flow.function(entry)
    observer = function.name if function else image.name(entry)
    begin = flow.home(entry)
    steps = [Step(observer, image.place(begin), "entered", rule.binding.start_why, source=image.source(begin))]
    for (address, state), (following, after) in pairwise(trail):
        place, source = image.place(flow.home(address)), image.source(flow.home(address))
        marks = [one for one in events_at(flow.site(address)) if contract.automaton.step(state, one.event) != state]
        if state != after:
            what = ", ".join(one.what or contract.event(one.event).what for one in marks)
            steps.append(Step(observer, place, what, source=source, changed=(Changed(rule.counted, state, after),)))
        why = next((edge.why for edge in flow.site(address).edges if edge.to == following), "")
        if why:
            steps.append(Step(observer, place, f"{why}, to {image.place(flow.home(following))}", source=source))
    last = finding.occurrence
    what = last.what or contract.event(last.event).what
    place = image.place(finding.address)
    if flow.home(finding.address) != finding.address:
        what += f" (alternative of {image.place(flow.home(finding.address))})"
    return (*steps, Step(observer, place, what, last.why, last.callee, image.source(finding.address)))


def tell_way(flow: Flow, contract: Contract, ways: Ways, finding: Finding, *, start_why: str, counted: str) -> Path:
    """Return the steps of an interprocedural finding: also each call that is open at its end, and each that matters.

    Args:
        start_why: why an entry is begun at in the state that it is.
        counted: what the automaton's state is, for a reader.
    """
    hops, last = ways.trail(finding), finding.occurrence
    what = last.what or contract.event(last.event).what
    if flow.home(finding.address) != finding.address:
        what += f" (alternative of {flow.image.place(flow.home(finding.address))})"
    place, source = flow.image.place(finding.address), flow.image.source(finding.address)
    step = Step(_named(flow, hops[0].address), place, what, last.why, last.callee, source)
    return (*tell_hops(flow, contract, ways, hops, start_why=start_why, counted=counted), step)


def tell_hops(flow: Flow, contract: Contract, ways: Ways, hops: Sequence[Hop], *, start_why: str, counted: str) -> Path:
    """Return the steps of an interprocedural way up to its last hop, which is left to whoever knows what it is."""
    image, observer = flow.image, _named(flow, hops[0].address)
    begin = flow.home(hops[0].address)
    steps = [Step(observer, image.place(begin), "entered", start_why, source=image.source(begin))]
    for hop, following in pairwise(hops):
        what = _said(flow, contract, ways, hop, following)
        callee = _named(flow, following.address) if following.depth > hop.depth else None
        changed = (Changed(counted, hop.state, following.state),) if hop.state != following.state else ()
        if what:
            home = flow.home(hop.address)
            source = image.source(home)
            steps.append(Step(observer, image.place(home), what, callee=callee, source=source, changed=changed))
    return tuple(steps)


def _said(flow: Flow, contract: Contract, ways: Ways, hop: Hop, following: Hop) -> str:
    """Say what an instruction of a way did: events that changed the state, the call it made, the branch it took."""
    moved = [
        one for one in ways.paths.events(hop.address) if contract.automaton.step(hop.state, one.event) != hop.state
    ]
    said = [one.what or contract.event(one.event).what for one in moved if hop.state != following.state]
    if following.depth > hop.depth:
        said.append(f"calls {_named(flow, following.address)}")
    elif hop.inside is not None:
        if hop.state != following.state:
            said.append(f"calls {_named(flow, hop.inside)}, which comes back")
    else:
        why = next((edge.why for edge in flow.site(hop.address).edges if edge.to == following.address), "")
        if why and why != "jump":  # that one leaves no choice
            said.append(f"{why}, to {flow.image.place(flow.home(following.address))}")
    return ", ".join(said)


def _named(flow: Flow, address: int) -> str:
    function = flow.function(address)
    return function.name if function else flow.image.name(flow.home(address))
