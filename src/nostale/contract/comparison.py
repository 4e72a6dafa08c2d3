"""What one answer has found over another: findings matched by what they are, not by where a build has put them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from nostale.contract.answer import Answer, Result
from nostale.contract.finding import FindingKey, finding_key
from nostale.contract.verdict import Holds


def compare(old: Answer, new: Answer) -> Answer:
    """Return what `new` has gained over `old`, as an answer whose verdict is that of what was gained.

    A function may have several findings of one key; only as many as `new` has more of are gained, the last of them by
    address. A rule that gained nothing holds, within that bound. What was lost and kept stands in the coverage.
    """
    before, after = _counted(old), _counted(new)
    fresh = after - before
    results: list[Result] = []
    for id in dict.fromkeys(result.id for result in (*new.results, *old.results)):
        gained = _gained([result for result in new.results if result.id == id], fresh)
        results += gained or [_nothing(id, old, new, before, after)]
    lost = sorted((before - after).elements())
    coverage: dict[str, int | str | bool | list[str]] = {
        "over": old.target,
        "gained": sum(fresh.values()),
        "kept": sum((before & after).values()),
        "lost": len(lost),
    }
    if lost:
        coverage["no longer there"] = [str(key) for key in lost]
    return Answer("lint", new.target, coverage, tuple(results), notes=old.notes + new.notes)


def _counted(answer: Answer) -> Counter[FindingKey]:
    return Counter(key for result in answer.results if (key := finding_key(result)) is not None)


def _gained(results: list[Result], fresh: Counter[FindingKey]) -> list[Result]:
    left, found = Counter(fresh), []
    for result in reversed(results):
        key = finding_key(result)
        if key is not None and left[key] > 0:
            left[key] -= 1
            found.append(result)
    return found[::-1]


def _nothing(id: str, old: Answer, new: Answer, before: Counter[FindingKey], after: Counter[FindingKey]) -> Result:
    stated = next(result for result in (*new.results, *old.results) if result.id == id)
    kept = sum(number for key, number in (before & after).items() if key.id == id)
    gone = sum(number for key, number in (before - after).items() if key.id == id)
    bound = f"nothing gained over {old.target}: {kept} findings kept, {gone} lost"
    return replace(stated, verdict=Holds((bound,)), remedy="", accepted="")
