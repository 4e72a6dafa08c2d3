"""Explore a system by the generated C, or by the reference where there is no compiler, or from the cache."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from nostale import __version__
from nostale.contract import NotHere, Search
from nostale.outside.cache import Cache, key_of
from nostale.outside.cc import Compiler, build, build_text
from nostale.prove import interpreter, reference
from nostale.prove.cgen import Source, generate
from nostale.prove.exploration import Bounds, Crew, Exploration, Progress, Stopped, Tick, most_varied
from nostale.prove.ir import System
from nostale.prove.symmetry import contradicted

# The explorer is compiled once for a size, a system for each model: there -O2 would cost more than it brings.
_EXPLORER_FLAGS = ("-O2", "-std=gnu11", "-pthread", "-c")
_SYSTEM_FLAGS = ("-Og", "-std=gnu11", "-pthread")
_EXPLORER = Path(__file__).with_name("explorer")
_PARTS = sorted(path for path in _EXPLORER.iterdir() if path.suffix in (".c", ".h"))
_NO_BOUND = (1 << 32) - 1
_REASONS = {1: "states", 2: "memory", 3: "time"}


@dataclass(frozen=True, slots=True)
class How:
    """By what an exploration was made: `by` is native, interpreter or cache."""

    by: str


def explore(
    system: System,
    *,
    compiler: Compiler | None,
    cache: Cache | None,
    max_states: int | None = None,
    seconds: float | None = None,
    memory_bytes: int | None = None,
    crew: Crew | None = None,
    tick: Tick = lambda progress: None,
) -> tuple[Exploration, How]:
    """Explore every reachable state.

    Args:
        system: what to explore.
        compiler: None for the reference explorer.
        cache: where earlier explorations of exactly this system are; None to explore in any case.
        max_states: explore the levels that fit into so many states; None for no such bound.
        seconds: stop after so long; None for never.
        memory_bytes: stop when so much is held; None for two thirds of what is now available.
        crew: how many threads; None for one a usable CPU.
        tick: told now and then how far it is.

    Raises:
        BadInput: the model left a range: where and how; or what it declares interchangeable is not.
    """
    bounds = Bounds(max_states, seconds, memory_bytes or available_bytes() * 2 // 3)
    source = generate(system)
    names = [slot.name for slot in system.slots]  # told of a search that stopped
    key = key_of("explored", __version__, source.text, *(path.read_text() for path in _PARTS), str(max_states), *names)
    if cache and (kept := cache.recall(key)):
        return _read(kept), How("cache")
    if compiler:
        made = _native(system, explorer(compiler, source, cache), bounds, crew or Crew(), tick)
    else:
        made = reference.explore(system, bounds, tick)
    if cache and (made.stopped is None or made.stopped.reason == "states"):
        cache.remember(key, _written(made))
    return made, How("native" if compiler else "interpreter")


def explorer(compiler: Compiler, source: Source, cache: Cache | None) -> Path:
    """Compile a generated system and link it to the explorer of its size.

    Raises:
        NotHere: the compiler refuses.
    """
    flags = (*_SYSTEM_FLAGS, f"-I{_EXPLORER}", str(explorer_of_size(compiler, source.sizes, cache)))
    return build_text(compiler, source.text, flags, cache)


def explorer_of_size(compiler: Compiler, sizes: tuple[tuple[str, int], ...], cache: Cache | None) -> Path:
    """Compile the explorer for all systems of a size.

    Raises:
        NotHere: the compiler refuses.
    """
    flags = (*_EXPLORER_FLAGS, *(f"-D{name}={number}" for name, number in sizes))
    return build(compiler, [_EXPLORER / "explorer.c"], flags, depends=_PARTS, cache=cache)


def available_bytes() -> int:
    """Return how much memory could be had without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 1 << 30


def _native(system: System, program: Path, bounds: Bounds, crew: Crew, tick: Tick) -> Exploration:
    most = _NO_BOUND if bounds.max_states is None else bounds.max_states
    asked = [crew.threads, crew.alone_states, most, bounds.memory_bytes, bounds.seconds or 0]
    with _running([str(program), *map(str, asked)]) as running:
        assert running.stderr is not None and running.stdout is not None
        for progress in _progress(running.stderr):
            tick(progress)
        answer = running.stdout.read()
    if running.returncode:
        raise NotHere(
            "the generated explorer",
            f"ended with status {running.returncode}",
            cause="too little memory",
            remedy="use --max-states to bound the search",
        )
    return _parsed(system, answer)


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a program; whatever happens here, it does not outlive the block."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            yield running
        except BaseException:
            running.kill()
            raise


def _progress(lines: Iterator[str]) -> Iterator[Progress]:
    before, then = 0, time.monotonic()
    for line in lines:
        if line.startswith("tick"):
            states, waiting, size_bytes = map(int, line.split()[1:])
            now = time.monotonic()
            yield Progress(states, waiting, (states - before) / max(now - then, 1e-6), size_bytes)
            before, then = states, now


def _parsed(system: System, answer: str) -> Exploration:
    search, found = Search(0, 0, 0, False), dict[int, tuple[int, ...]]()
    why: tuple[int, ...] = ()
    varied: list[tuple[int, ...]] = []
    for line in answer.splitlines():
        word, *numbers = line.split()
        values = tuple(map(int, numbers))
        if word == "error":
            raise_model_error(system, values)
        elif word == "asymmetric":
            raise contradicted(system, values[0], system.rules[values[1]] if values[1] < len(system.rules) else None)
        elif word == "counts":
            search = Search(values[0], values[1], values[2], bool(values[3]))
        elif word == "stopped":
            why = values
        elif word == "slot":
            varied.append(values[1:])
        elif word == "found":
            found[values[0]] = values[1:]
    stopped = Stopped(_REASONS[why[0]], why[1], most_varied(system.slots, varied)) if why else None
    return Exploration(search, found, stopped)


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
    return json.dumps(asdict(made) | {"found": {str(n): way for n, way in sorted(made.found.items())}})


def _read(text: str) -> Exploration:
    kept = json.loads(text)
    stopped = kept["stopped"] and Stopped(**kept["stopped"] | {"varied": tuple(kept["stopped"]["varied"])})
    return Exploration(Search(**kept["search"]), {int(n): tuple(way) for n, way in kept["found"].items()}, stopped)
