"""prove beside Spin and Rumur on the three reference models: the explorer, the whole way to a verdict, memory, threads.

The peers are compiled as their users are told to: pan by gcc -O2 -DSAFETY -DNOREDUCE, Rumur's verifier by gcc -O3. pan
is given the least depth limit, a power of ten, that its depth-first search needs. Counts are checked in every run.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._peers import ROOT, ROUNDS, Row, Spent, in_turn, median, need, report, run, shared, together

from nostale.cli.models import find_model
from nostale.outside.cache import Cache
from nostale.outside.cc import Compiler, find_compiler
from nostale.prove import compile_model
from nostale.prove.cgen import Source, generate
from nostale.prove.explore import explorer, explorer_of_size

PAN = ("gcc", "-O2", "-DSAFETY", "-DNOREDUCE", "-o", "pan", "pan.c")
MEMORY = 8 << 30
ALONE = 4_000


@dataclass(frozen=True, slots=True)
class Work:
    """One model in all three languages, its counts, and the depth that pan needs."""

    name: str
    file: str
    states: int
    transitions: int
    depth: int
    pan_depth: int


WORKS = (
    Work("tp6", "text_poke", 353_094, 3_357_768, 39, 10_000),
    Work("filter5", "filter_lock", 223_105, 741_065, 48, 100_000),
    Work("phil12", "philosophers", 531_441, 4_251_528, 34, 1_000_000),
)
TEXT_POKE_7 = (2_273_186, 25_143_122, 43)


def main() -> None:
    need("spin", "rumur", "gcc")
    data = shared() / "data" / "prove"
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="nostale-bench-") as directory:
        for work in WORKS:
            rows += explorers(work, data, fresh(directory, work.name))
            rows += whole(work, data, fresh(directory, f"{work.name}-whole"))
        rows += large(data, fresh(directory, "tp7"))
    report("prove", rows)


def fresh(directory: str, name: str) -> Path:
    place = Path(directory, name)
    place.mkdir()
    return place


def explorers(work: Work, data: Path, where: Path) -> list[Row]:
    """The search alone: three programs, compiled before."""
    ours = compiled(work.file, {}, where)
    pan_made(work, data, where)
    rumur_made(data / f"{work.name}.m", where, threads=1)
    results = in_turn(
        {
            "nostale": lambda: run(ours, "1", ALONE, (1 << 32) - 1, MEMORY, "0", where=where),
            "pan": lambda: pan_run(work, where),
            "rumur": lambda: run("./verifier", where=where),
        }
    )
    check(results, work)
    us = results["nostale"]
    rows = []
    for peer in ("pan", "rumur"):
        for promise, what, unit in (("explorer CPU", "cpu_s", "s"), ("explorer memory", "peak_bytes", "B a state")):
            share = work.states if what == "peak_bytes" else 1
            rows.append(
                row(promise, work.name, median(us, what) / share, median(results[peer], what) / share, peer, unit)
            )
    return rows


def whole(work: Work, data: Path, where: Path) -> list[Row]:
    """From the command line to the verdict, compilers and generators counted, nothing of the model cached.

    What is the same for all models was compiled before, as spin and rumur were: the explorer of this size, and Python's
    bytecode. The very first run on a machine, which compiles the explorer too, is measured as well.
    """

    def ours(first: bool) -> Spent:
        with tempfile.TemporaryDirectory(dir=where) as cache:
            if not first:
                size_compiled(work.file, Cache(Path(cache, "nostale")))
            model = ROOT / "bench" / "models" / f"{work.file}.py"
            env = {"XDG_CACHE_HOME": cache, "PYTHONDONTWRITEBYTECODE": ""}
            return run(nostale(), "prove", "--no-cache", model, where=where, env=env)

    def spin() -> Spent:
        return together(*pan_made(work, data, where), pan_run(work, where))

    def rumur() -> Spent:
        return together(*rumur_made(data / f"{work.name}.m", where, threads=1), run("./verifier", where=where))

    ours(first=False)  # writes the bytecode
    ways = {"to the verdict": False, "to the first ever": True}
    candidates: dict[str, Callable[[], Spent]] = {w: lambda first=first: ours(first) for w, first in ways.items()}
    results = in_turn(candidates | {"pan": spin, "rumur": rumur})
    check(results, work)
    return [
        row(f"{way}, {kind}", work.name, median(results[way], what), median(results[peer], what), name, "s")
        for way in ways
        for peer, name in (("pan", "spin + gcc + pan"), ("rumur", "rumur + gcc + verifier"))
        for kind, what in (("CPU", "cpu_s"), ("wall clock", "wall_s"))
    ]


def large(data: Path, where: Path) -> list[Row]:
    """text_poke with 7 CPUs: bytes a state, and what a second thread brings, to us and to Rumur."""
    ours = compiled("text_poke", {"cpus": "7"}, where)
    rumur_made(murphi_of_seven(data, where), where, threads=1)
    (where / "verifier").rename(where / "verifier1")
    rumur_made(where / "tp7.m", where, threads=2)
    candidates: dict[str, Callable[[], Spent]] = {
        f"{threads}": lambda n=threads: run(ours, n, ALONE, (1 << 32) - 1, MEMORY, "0", where=where)
        for threads in (1, 2)
    }
    candidates["rumur1"] = lambda: run("./verifier1", where=where)
    candidates["rumur2"] = lambda: run("./verifier", where=where)
    results = in_turn(candidates, rounds=max(3, ROUNDS // 2))
    for spent in results["1"] + results["2"]:
        assert f"counts {' '.join(map(str, TEXT_POKE_7))} 1" in spent.output, spent.output
    states = TEXT_POKE_7[0]
    wall = {name: median(spent, "wall_s") for name, spent in results.items()}
    size = {name: median(spent, "peak_bytes") / states for name, spent in results.items()}
    gain = wall["1"] / wall["2"]
    return [
        row("bytes a state", "textpoke(7)", size["1"], 48, "promised at most", "B a state"),
        row("bytes a state", "textpoke(7)", size["1"], size["rumur1"], "rumur", "B a state"),
        row("bytes a state, 2 threads", "textpoke(7)", size["2"], 48, "promised at most", "B a state"),
        row("2 threads, wall clock", "textpoke(7)", wall["2"], wall["1"], "nostale, 1 thread", "s"),
        row("2 threads, wall clock", "textpoke(7)", wall["2"], wall["rumur2"], "rumur, 2 threads", "s"),
        Row("gain by a 2nd thread", "textpoke(7)", gain, wall["rumur1"] / wall["rumur2"], "rumur", "times",
            wall["rumur1"] / wall["rumur2"] / gain),
    ]  # fmt: skip


def murphi_of_seven(data: Path, where: Path) -> Path:
    """Widen the Murphi model by one CPU: what it says of CPU 5 is said of CPU 6 too."""
    lines = []
    for line in (data / "tp6.m").read_text().splitlines():
        if line.startswith('rule "ipi'):
            line = line.replace("ip5 := 1;", "ip5 := 1; ip6 := 1;").replace("ak5 := 0;", "ak5 := 0; ak6 := 0;")
        elif line.startswith('rule "wait'):
            line = line.replace("(ak5 = 1)", "(ak5 = 1) & (ak6 = 1)")
        elif re.search(r"_5\b|\b(pc|ip|ak)5\b|\"i5\"", line):
            lines.append(re.sub(r"_5\b", "_6", re.sub(r"\b(pc|ip|ak|i)5\b", r"\g<1>6", line)))
        lines.append(line)
    target = where / "tp7.m"
    target.write_text("\n".join(lines) + "\n")
    return target


def compiled(file: str, settings: dict[str, str], where: Path) -> Path:
    return explorer(c_compiler(), source(file, settings), Cache(where / "cache"))


def size_compiled(file: str, cache: Cache) -> None:
    """Compile the explorer that a model needs, and nothing of the model."""
    explorer_of_size(c_compiler(), source(file, {}).sizes, cache)


def source(file: str, settings: dict[str, str]) -> Source:
    model, _ = find_model(str(ROOT / "bench" / "models" / f"{file}.py"))
    return generate(compile_model(model(settings, "")).system)


def c_compiler() -> Compiler:
    compiler = find_compiler()
    assert compiler is not None
    return compiler


def pan_made(work: Work, data: Path, where: Path) -> tuple[Spent, ...]:
    return run("spin", "-a", data / f"{work.name}.pml", where=where), run(*PAN, where=where)


def pan_run(work: Work, where: Path) -> Spent:
    return run("./pan", f"-m{work.pan_depth}", where=where)


def rumur_made(model: Path, where: Path, *, threads: int) -> tuple[Spent, ...]:
    made = run("rumur", "--threads", threads, "--output", "verifier.c", model, where=where)
    flags = ("-std=c11", "-O3", "-march=native", "-o", "verifier", "verifier.c", "-lpthread")
    return made, run("gcc", *flags, where=where)


def nostale() -> Path:
    return Path(sys.executable).parent / "nostale"


def check(results: dict[str, list[Spent]], work: Work) -> None:
    """Every run of everyone must have seen the same states; pan counts an initial transition more."""
    wanted = {
        "nostale": rf"counts {work.states} {work.transitions} {work.depth} 1|"
        rf"{work.states:,} states, {work.transitions:,} transitions, depth {work.depth}, complete",
        "pan": rf"{work.states} states, stored[^$]*\n +{work.transitions + 1} transitions",
        "rumur": rf"{work.states} states, {work.transitions} rules fired",
    }
    for name, spent in results.items():
        for one in spent:
            if not re.search(wanted.get(name, wanted["nostale"]), one.output):
                sys.exit(f"{name} on {work.name}: other counts than facts/prove.md has\n{one.output}")


def row(promise: str, work: str, ours: float, peer: float, peer_name: str, unit: str) -> Row:
    return Row(promise, work, round(ours, 4), round(peer, 4), peer_name, unit, round(peer / ours, 2))


if __name__ == "__main__":
    main()
