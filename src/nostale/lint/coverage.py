"""What was looked at, in numbers: the coverage of an answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from nostale.lint.flow import Flow
from nostale.lint.reach import Scope
from nostale.lint.targets import How, Transfer, Via
from nostale.lint.walk import Walked

Coverage = dict[str, int | str | bool | list[str]]

_COUNTED = {
    How.CALL: "calls",
    How.TAIL: "tail_calls",
    How.JUMP: "jumps_between_sections",
    How.RETURN: "returns",
    How.RESUME: "resumes",
}


def coverage(flow: Flow, scope: Scope, marks: Iterable[str], walks: Sequence[Walked]) -> Coverage:
    """Count what the walks of all rules together came to.

    Args:
        scope: what was walked.
        marks: the sections of annotations that were read.
        walks: one a rule.
    """
    reached = set().union(*(one.reached for one in walks))
    began = {entry for one in walks for entry in one.entries}
    looked = scope.look(reached)
    return {
        "sections": [section.name for section in scope.sections],
        "functions": len({flow.function(entry) for entry in began} - {None}),
        "entries": len(began),
        "instructions_decoded": flow.image.decoded_count,
        "instructions_walked": len(reached),
        "instructions_not_reached": len(looked.missed),
        "not_decodable": looked.invalid,
        "pairs": sum(one.pairs for one in walks),
        **_tables(flow, marks, reached),
        **_transfers(looked.transfers),
    }


def _tables(flow: Flow, marks: Iterable[str], reached: set[int]) -> dict[str, int]:
    """Count the entries of tables that stand on a path; annotations also elsewhere."""
    named = [place for table in marks for place in flow.annotated(table)]
    within = sum(place in reached for place in named)
    return {
        "annotations": within,
        "annotations_elsewhere": len(named) - within,
        "alternatives": sum(place in reached for place in flow.tables.alternatives),
        "jump_labels": sum(place in reached for place in flow.tables.jump_labels),
        "fixups": sum(place in reached for place in flow.tables.fixups),
    }


def _transfers(transfers: Sequence[Transfer]) -> dict[str, int]:
    """Count what leaves a function; of static and indirect calls, how many have all their targets known."""
    hows = Counter(_COUNTED[one.how] for one in transfers)
    static = [one.complete for one in transfers if one.via is Via.STATIC_CALL]
    indirect = [one.complete for one in transfers if one.via in (Via.SLOT, Via.POINTER)]
    outside = {target.name for one in transfers for target in one.targets if target.address is None}
    return {
        **{name: hows[name] for name in _COUNTED.values()},
        "static_calls": len(static),
        "static_calls_resolved": sum(static),
        "indirect_calls": len(indirect),
        "indirect_calls_resolved": sum(indirect),
        "indirect_calls_unresolved": len(indirect) - sum(indirect),
        "undefined_callees": len(outside),
    }
