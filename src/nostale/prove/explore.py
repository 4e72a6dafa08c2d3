"""Explore a system by the generated C, or by the interpreter where there is no compiler, or from the cache."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from nostale import __version__
from nostale.contract import NotHere, Search
from nostale.outside.cache import Cache, key_of
from nostale.outside.cc import Compiler, build_text
from nostale.prove import interpreter
from nostale.prove.cgen import generate, layout
from nostale.prove.interpreter import Exploration
from nostale.prove.ir import System

FLAGS = ("-O1", "-std=gnu11")
_TABLE_BYTES = 36  # a parent of 4, and a table of 8-byte entries at a load between a quarter and a half

Tick = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class How:
    """By what an exploration was made: `by` is native, interpreter or cache."""

    by: str


def explore(
    system: System, *, compiler: Compiler | None, cache: Cache | None, max_states: int | None, tick: Tick
) -> tuple[Exploration, How]:
    """Explore every reachable state.

    Args:
        system: what to explore.
        compiler: None for the interpreter.
        cache: where earlier explorations of exactly this system are; None to explore in any case.
        max_states: a bound, or None for what memory allows.
        tick: called now and then with the states known and those waiting.

    Raises:
        BadInput: the model left a range: where and how.
    """
    text = generate(system)
    bound = max_states or room_for(system)
    key = key_of("explored", __version__, text, str(max_states))
    if cache and (kept := cache.recall(key)):
        return _read(kept), How("cache")
    native = compiler and _native(system, text, compiler, cache, bound, tick)
    made = native or interpreter.explore(system, bound, tick)
    if cache:
        cache.remember(key, _written(made))
    return made, How("native" if compiler else "interpreter")


def room_for(system: System) -> int:
    """Return how many states the memory now available holds, and a third left over."""
    words = layout(system.slots)[1]
    try:
        meminfo = Path("/proc/meminfo").read_text()
        available = next(
            int(line.split()[1]) * 1024 for line in meminfo.splitlines() if line.startswith("MemAvailable")
        )
    except (OSError, StopIteration):
        available = 1 << 30
    return min(available * 2 // 3 // (8 * words + _TABLE_BYTES), (1 << 32) - 2)


def _native(system: System, text: str, compiler: Compiler, cache: Cache | None, bound: int, tick: Tick) -> Exploration:
    program = build_text(compiler, text, FLAGS, cache)
    with subprocess.Popen([program, str(bound)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None and running.stdout is not None
        try:
            for line in running.stderr:
                if line.startswith("tick"):
                    states, waiting = map(int, line.split()[1:])
                    tick(states, waiting)
            answer = running.stdout.read()
        except BaseException:
            running.kill()
            raise
    if running.returncode:
        raise NotHere(
            "the generated explorer",
            f"ended with status {running.returncode}",
            cause="too little memory",
            remedy="use --max-states to bound the search",
        )
    return _parsed(system, answer)


def _parsed(system: System, answer: str) -> Exploration:
    search, found = Search(0, 0, 0, False), {}
    for line in answer.splitlines():
        word, *numbers = line.split()
        values = tuple(map(int, numbers))
        if word == "error":
            raise_model_error(system, values)
        elif word == "counts":
            search = Search(values[0], values[1], values[2], bool(values[3]))
        elif word == "found":
            found[values[0]] = values[1:]
    return Exploration(search, found)


def raise_model_error(system: System, way: tuple[int, ...]) -> None:
    """Walk to where a value left its range; the interpreter raises the error with its place.

    Raises:
        BadInput: as said.
        AssertionError: the interpreter does not agree: a fault of nostale.
    """
    state = system.initial
    for number in way:
        effect = interpreter.apply(system, state, number)
        assert effect is not None, "the explorers disagree on a rule"
        state = effect.state
    raise AssertionError("the explorers disagree on a value's range")


def _written(made: Exploration) -> str:
    return json.dumps({"search": asdict(made.search), "found": {str(n): way for n, way in sorted(made.found.items())}})


def _read(text: str) -> Exploration:
    kept = json.loads(text)
    return Exploration(Search(**kept["search"]), {int(n): tuple(way) for n, way in kept["found"].items()})
