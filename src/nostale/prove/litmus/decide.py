"""Decide a litmus test by exploring every interleaving of it on the hardware of its architecture."""

from __future__ import annotations

from dataclasses import replace

from nostale.contract import Answer, Holds, Path, Result, Search, Unknown
from nostale.prove.exploration import Exploration
from nostale.prove.explore import explore
from nostale.prove.frontend import Compiled, compile_model
from nostale.prove.hardware.tso import TSO
from nostale.prove.ir import Rule, Site, Slot, System
from nostale.prove.litmus.parse import Test, parse
from nostale.prove.litmus.program import StraightLine
from nostale.prove.litmus.x86 import Translated, Undecided, translate
from nostale.prove.proof import Means
from nostale.prove.replay import replay

_ASSUMED = (
    "x86-TSO (Sewell et al. 2010): first-in-first-out store buffers with room for every store of the test, write-back "
    "memory, aligned accesses of one size",
)
_TOLD = {
    "Allowed": "the machine may end so; the steps show a shortest way",
    "Forbidden": "no execution on this machine ends so",
    "Required": "every execution on this machine ends so",
}


def decide(text: str, target: str, means: Means) -> Answer:
    """Return what a litmus test's outcome is: a result that holds, with Allowed, Forbidden or Required; or unknown.

    Args:
        text: the file's.
        target: the file, as typed.
        means: with what to explore.

    Raises:
        BadInput: it is not a litmus test.
    """
    test = parse(text, target)
    if test.arch != "X86_64":
        return _undecided(test, _NEEDED.get(test.arch, f"a model of {test.arch}; X86_64 tests are decided"))
    try:
        made = translate(test)
    except Undecided as lacking:
        return _undecided(test, str(lacking))
    compiled = compile_model(StraightLine(made.program, TSO))
    compiled = replace(compiled, system=_named(compiled.system, test, made))
    explored, _ = explore(
        compiled.system, compiler=means.compiler, cache=means.cache, max_states=means.max_states, tick=means.tick
    )
    return _decided(test, compiled, explored)


_NEEDED = {
    "AArch64": "a model of Arm's instruction fetch, caches and dependencies that decides every outcome for sure; the "
    "hardware library has choice at use, which is weaker"
}


def _undecided(test: Test, missing: str) -> Answer:
    verdict = Unknown("the hardware library does not decide this test", (missing,))
    result = Result("user.litmus", f"{test.name}: {test.asked}", "", (), verdict)
    return Answer("prove", test.path, _coverage(test), (result,))


def _coverage(test: Test) -> dict[str, int | str | bool | list[str]]:
    instructions = sum(len(thread) for thread in test.threads)
    return {"architecture": test.arch, "threads": len(test.threads), "instructions": instructions}


def _decided(test: Test, compiled: Compiled, explored: Exploration) -> Answer:
    ways = {one.name: _way(compiled, explored, one.name) for one in compiled.properties if "outcome" in one.name}
    outcome = _outcome(
        test.quantifier, explored.search, reached=ways["outcome"] is not None, other=ways["other-outcome"] is not None
    )
    title = f"{test.name}: {test.asked}"
    if not outcome:
        missing = (f"the states beyond the first {explored.search.states:,}: the search reached its limit",)
        verdict = Unknown("not everything could be seen", missing, (), _ASSUMED)
        result = Result("user.litmus", title, "", (), verdict)
    else:
        bounds = (f"{explored.search.states:,} states, every interleaving",)
        path = ways["outcome"] if outcome == "Allowed" else ()
        result = Result(
            "user.litmus", title, _TOLD[outcome], (), Holds(bounds, _ASSUMED), outcome=outcome, witness=path or ()
        )
    return Answer("prove", test.path, _coverage(test), (result,), search=explored.search)


def _outcome(quantifier: str, search: Search, *, reached: bool, other: bool) -> str:
    """Say what the test's condition is: Allowed in some final states, Forbidden in all, or (`forall`) Required in all.

    What was reached is so whether or not the search was complete; "" where it would have to be, and was not.
    """
    if reached and (quantifier != "forall" or other):
        return "Allowed"
    if not search.complete:
        return ""
    return "Required" if reached else "Forbidden"


def _way(compiled: Compiled, explored: Exploration, name: str) -> Path | None:
    asked = next(one for one in compiled.properties if one.name == name)
    if asked.number not in explored.found:
        return None
    return replay(compiled.system, explored.found[asked.number], asked)


def _named(system: System, test: Test, made: Translated) -> System:
    """Name rules and variables as the test's file does."""
    return replace(
        system,
        name=test.name,
        slots=tuple(_slot(slot, made) for slot in system.slots),
        rules=tuple(_rule(rule, test) for rule in system.rules),
    )


def _slot(slot: Slot, made: Translated) -> Slot:
    names = {f"memory.cell[{index}]": f"[{name}]" for index, name in enumerate(made.places)}
    for thread, row in enumerate(made.registers):
        names |= {f"register[{thread}][{index}]": f"{thread}:{name}" for index, name in enumerate(row)}
    if slot.name not in names:
        return slot
    return replace(slot, name=names[slot.name], words=tuple(map(str, made.values)))


def _rule(rule: Rule, test: Test) -> Rule:
    """Tell an instruction by its text and line; a store buffer's step keeps its own words."""
    kind, _, rest = rule.name.partition("[")
    numbers = [int(number) for number in rest.split("]")[0].split(",")]
    if kind != "execute" or numbers[1] >= len(test.threads[numbers[0]]):
        return replace(rule, name=f"{rule.name}", lane=rule.lane.replace("CPU ", "P"))
    line = test.threads[numbers[0]][numbers[1]]
    suffix = rule.name.partition("/")[2]
    name = f"P{numbers[0]}:{numbers[1]}" + (f"/{suffix}" if suffix else "")
    return replace(rule, name=name, what=line.text, site=Site(test.path, line.number))
