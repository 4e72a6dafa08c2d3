"""Take away fences, syncs, flushes and waits, one at a time and then in sets: which of them carry the proof?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import combinations

from nostale.contract import Answer, BadInput, Result, Unknown, Violated
from nostale.prove.expressions import Removable
from nostale.prove.frontend import compile_model
from nostale.prove.language import Model
from nostale.prove.proof import Means, prove

_MOST_SETS = 256  # sets of calls tried together; beyond it the sets are not complete, and that is said


def ablate(model: Model, target: str, means: Means, tell: Callable[[str], None] = lambda text: None) -> Answer:
    """Prove a model, then without each removable call, then without sets of those that it does not need by themselves.

    Args:
        model: one that holds.
        target: its name.
        means: to prove with.
        tell: told what is being tried.

    Returns:
        The proof of the whole as the first part, which alone counts, then one part a call; `coverage` says which calls
        are load-bearing, which are not needed by themselves, which sets suffice, and what is no longer reached.

    Raises:
        BadInput: the model does not hold to begin with.
    """
    base = prove(model, target, means)
    if base.verdict != "holds":
        raise BadInput(target, f"is {base.verdict} as it stands", remedy="ablate a model that holds")
    calls = compile_model(model).removable
    parts = {}
    for number, call in enumerate(calls, 1):
        tell(f"without {number} of {len(calls)}")
        parts[call.key] = _without(model, target, means, (call,))
    spare = [call for call in calls if not broken(parts[call.key]) and parts[call.key].search]
    sets, tried_all = _removable_sets(model, target, means, spare, tell)
    coverage: dict[str, int | str | bool | list[str]] = {
        "removable calls": len(calls),
        "load-bearing": [str(call) for call in calls if broken(parts[call.key])],
        "not needed by themselves": [str(call) for call in spare],
        "needed for the model to run": [str(call) for call in calls if not parts[call.key].search],
        "sets that suffice": [_named(calls, kept) for kept in sets],
        "sets complete": tried_all,
        "no longer reached": _unreached(calls, parts),
    }
    return Answer(
        "prove",
        f"{target} --ablate",
        coverage,
        (),
        parts=(base, *(replace(part, counted=False) for part in parts.values())),
    )


def broken(answer: Answer) -> bool:
    """Whether something is violated that is more than a scene which is no longer reached."""
    return any(isinstance(one.verdict, Violated) and one.verdict.path for one in answer.results)


def _without(model: Model, target: str, means: Means, calls: tuple[Removable, ...]) -> Answer:
    name = f"{target} without {' and '.join(map(str, calls))}"
    try:
        return replace(prove(model, name, means, frozenset(call.key for call in calls)), notes=())
    except BadInput as error:
        # It guards the model itself: without it an index or a value leaves its range.
        cannot = Result(f"{model.system}.ablation", "the model runs without it", "", (), Unknown(str(error)))
        return Answer("prove", name, {}, (cannot,))


def _removable_sets(
    model: Model, target: str, means: Means, spare: list[Removable], tell: Callable[[str], None]
) -> tuple[list[frozenset[str]], bool]:
    """Return the greatest sets that can go together, as keys, and whether all were tried.

    What fails without a set is taken to fail without more; so a set is tried only when all its parts can go.
    """
    good: list[frozenset[str]] = [frozenset()] + [frozenset((call.key,)) for call in spare]
    level: list[tuple[Removable, ...]] = [(call,) for call in spare]
    tried = 0
    while level:
        following: list[tuple[Removable, ...]] = []
        for first, second in combinations(level, 2):
            joined = tuple(dict.fromkeys((*first, *second)))
            keys = frozenset(call.key for call in joined)
            fresh = keys not in [frozenset(c.key for c in one) for one in following]
            parts_go = all(keys - {key} in good for key in keys)
            if len(joined) != len(first) + 1 or not fresh or not parts_go:
                continue
            if tried >= _MOST_SETS:
                return _greatest(good), False
            tried += 1
            tell(f"without {len(joined)} together, set {tried}")
            if not broken(_without(model, target, means, joined)):
                following.append(joined)
                good.append(keys)
        level = following
    return _greatest(good), True


def _greatest(sets: list[frozenset[str]]) -> list[frozenset[str]]:
    return [one for one in sets if not any(one < other for other in sets)]


def _named(calls: tuple[Removable, ...], gone: frozenset[str]) -> str:
    return " + ".join(str(call) for call in calls if call.key not in gone) or "none of them"


def _unreached(calls: tuple[Removable, ...], parts: Mapping[str, Answer]) -> list[str]:
    return [
        f"{one.id} without {call}"
        for call in calls
        for one in parts[call.key].results
        if isinstance(one.verdict, Violated) and not one.verdict.path
    ]
