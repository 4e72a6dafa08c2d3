"""Prove a model: explore it, replay what was found, and say of every property whether it holds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from nostale.contract import Answer, Evidence, Holds, Result, Unknown, Verdict, Violated, Witness, judge
from nostale.outside.cache import Cache
from nostale.outside.cc import Compiler
from nostale.prove.exploration import Crew, Exploration, Tick
from nostale.prove.explore import explore
from nostale.prove.frontend import Compiled, Property, compile_model
from nostale.prove.language import Model
from nostale.prove.replay import replay
from nostale.prove.symmetry import checked

_BY = {
    "cache": "this exact model was explored before: the answer is from the cache",
    "interpreter": "no C compiler (cc, gcc, clang): the reference interpreter explored; slower, same counts",
}

_WHY = {
    "states": "the next step leads to more than --max-states",
    "memory": "the memory allowed is used up",
    "time": "the time allowed is used up",
}


@dataclass(frozen=True, slots=True)
class Means:
    """With what to prove.

    Args:
        compiler: None for the interpreter.
        cache: None to explore in any case.
        max_states: explore the levels that fit into so many states; None for what memory allows.
        tick: told of progress.
        seconds: stop after so long; None for never.
        memory_bytes: of the explorer; None for two thirds of what is now available.
        crew: how many threads; None for one a usable CPU.
    """

    compiler: Compiler | None
    cache: Cache | None
    max_states: int | None = None
    tick: Tick = lambda progress: None
    seconds: float | None = None
    memory_bytes: int | None = None
    crew: Crew | None = None


def prove(model: Model, target: str, means: Means, removed: frozenset[str] = frozenset()) -> Answer:
    """Explore every interleaving of a model and answer each of its properties; `removed` as of `compile_model`.

    Raises:
        BadInput: the model is outside the language or left a range.
        Disagreement: a fault of nostale: the explorers contradict each other.
    """
    compiled = compile_model(model, removed)
    explored, how = explore(
        compiled.system,
        compiler=means.compiler,
        cache=means.cache,
        max_states=means.max_states,
        seconds=means.seconds,
        memory_bytes=means.memory_bytes,
        crew=means.crew,
        tick=means.tick,
    )
    asked = sorted(compiled.properties, key=lambda p: p.number)
    contracts = [p for p in asked if p.kind == "contract"]
    results = [
        result
        for _, group in groupby(contracts, key=lambda p: id(p.bind))
        for result in _contract(compiled, explored, list(group))
    ]
    results += [_single(compiled, explored, p) for p in asked if p.kind != "contract"]
    coverage: dict[str, int | str | bool | list[str]] = {
        "model": type(model).__name__,
        "variant": model.variant or "none",
        "parameters": [f"{name}={getattr(model, name)}" for name in model.parameters()],
        "rules": len(compiled.system.rules),
        "variables": len(compiled.system.slots),
        "not modelled": model.not_modelled or "not stated by the model",
    }
    if compiled.system.symmetric:
        coverage["interchangeable"] = checked(compiled.system)
    notes = (f"{target}: {_BY[how.by]}",) if how.by in _BY else ()
    return Answer("prove", target, coverage, tuple(results), search=explored.search, notes=notes)


def _bounds(compiled: Compiled, explored: Exploration) -> tuple[str, ...]:
    model, search = compiled.model, explored.search
    given = ", ".join(f"{name} = {getattr(model, name)}" for name in model.parameters()) or "no parameters"
    one_order = f" (one order of the {' and '.join(model.interchangeable)} for all)" if model.interchangeable else ""
    return (f"{given}: {search.states:,} states{one_order}, every interleaving",)


def _unfinished(compiled: Compiled, explored: Exploration) -> tuple[str, ...]:
    stopped, search = explored.stopped, explored.search
    if stopped is None:
        return ()
    seen = f"the states beyond the {search.states:,} within {search.depth} steps: {_WHY[stopped.reason]}"
    waiting = f"{stopped.frontier:,} of them were still to be expanded"
    if not stopped.varied:
        return seen, waiting
    return seen, f"{waiting}; most varied among those: {', '.join(stopped.varied)}"


def _contract(compiled: Compiled, explored: Exploration, asked: list[Property]) -> list[Result]:
    bind = asked[0].bind
    assert bind is not None
    contract, by_event = bind.binding.contract, {p.event: p for p in asked}
    witnesses = [
        Witness(event, replay(compiled.system, explored.found[p.number], p))
        for event, p in by_event.items()
        if p.number in explored.found
    ]
    evidence = Evidence(
        tuple(witnesses), _unfinished(compiled, explored), _bounds(compiled, explored), compiled.model.assumptions()
    )
    return [
        Result(
            contract.id,
            contract.title,
            contract.why,
            contract.requirements,
            verdict,
            "" if isinstance(verdict, Holds) else contract.remedy,
        )
        for verdict in judge(bind.binding, evidence)
    ]


def _single(compiled: Compiled, explored: Exploration, asked: Property) -> Result:
    model = compiled.model
    return Result(f"{model.system}.{asked.name}", asked.title, asked.why, (), _verdict(compiled, explored, asked))


def _verdict(compiled: Compiled, explored: Exploration, asked: Property) -> Verdict:
    assumed, met = compiled.model.assumptions(), asked.number in explored.found
    missing = _unfinished(compiled, explored)
    path = replay(compiled.system, explored.found[asked.number], asked) if met else ()
    if met and asked.kind == "sometimes":
        return Holds((f"reached in {len(path)} steps",), assumed)
    if met:
        return Violated(path, None, assumed)
    if missing:
        return Unknown("not everything could be seen", missing, (), assumed)
    if asked.kind == "sometimes":
        return Violated((), None, assumed)
    return Holds(_bounds(compiled, explored), assumed)
