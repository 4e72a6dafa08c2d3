"""A trail of instructions told as a path: the entry, the choices on the way, the annotations, and the end."""

from __future__ import annotations

from itertools import pairwise

from nostale.contract import Changed, Path, Step
from nostale.lint.flow import Flow
from nostale.lint.rule import Rule
from nostale.lint.walk import EventsAt, Finding, Walked


def tell(flow: Flow, rule: Rule, walked: Walked, finding: Finding, events_at: EventsAt) -> Path:
    """Return the steps of a finding; instructions that only lead on to the next one are left out."""
    image, contract = flow.image, rule.contract
    trail = walked.trail(finding)
    entry = trail[0][0]
    function = flow.function(entry)
    observer = function.name if function else image.name(entry)
    steps = [Step(observer, image.place(flow.home(entry)), "entered", rule.binding.start_why)]
    for (address, state), (following, after) in pairwise(trail):
        place = image.place(flow.home(address))
        marks = [one for one in events_at(flow.site(address)) if contract.automaton.step(state, one.event) != state]
        if state != after:
            what = ", ".join(one.what or contract.event(one.event).what for one in marks)
            steps.append(Step(observer, place, what, changed=(Changed(rule.counted, state, after),)))
        why = next((edge.why for edge in flow.site(address).edges if edge.to == following), "")
        if why:
            steps.append(Step(observer, place, f"{why}, to {image.place(flow.home(following))}"))
    last = finding.occurrence
    what = last.what or contract.event(last.event).what
    place = image.place(finding.address)
    if flow.home(finding.address) != finding.address:
        what += f" (alternative of {image.place(flow.home(finding.address))})"
    return (*steps, Step(observer, place, what, last.why, last.callee))
