"""Models written again by hand for Spin and Rumur: equal states, transitions, verdicts, lengths of the shortest ways.

Interpreter and generated C share a front end; these share nothing with it. Spin's transitions are one more than ours,
because it counts the arrival in the initial state.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from nostale.cli.models import find_model
from nostale.contract import Answer, Violated
from nostale.outside.cc import Compiler
from nostale.prove import Means, prove

PEERS = Path(__file__).parent / "peers"
ROOT = Path(__file__).resolve().parents[2]
PROMISES = re.compile(r"^\s*(invariant|assert) .*$", re.M)


class Peer(NamedTuple):
    """A model of ours, with the settings that make it as large as the peers' files of `name`."""

    name: str
    target: str
    settings: dict[str, str]


MODELS = [
    Peer("text_poke", "codegen", {"cpus": "3"}),
    Peer("peterson", "docs/examples/peterson.py", {}),
    Peer("dekker", "docs/examples/dekker.py", {}),
    Peer("ticket_lock", "docs/examples/ticket_lock.py", {}),
    Peer("rcu", "docs/examples/rcu.py", {}),
]


def model(peer: Peer):
    """The model with every order of its CPUs a state of its own, as the peers' files have it."""
    target = peer.target if peer.target.isidentifier() else str(ROOT / peer.target)
    found = find_model(target)[0]
    return type(found.__name__, (found,), {"interchangeable": ()})


CASES = [(peer, variant) for peer in MODELS for variant in ("", *model(peer).variants())]
NAMES = [f"{peer.name}:{variant}" for peer, variant in CASES]


class Found(NamedTuple):
    states: int
    transitions: int
    shortest: int | None  # steps to the first promise that is broken


def ours(peer: Peer, variant: str, compiler: Compiler) -> Found:
    answer: Answer = prove(model(peer)(peer.settings, variant), peer.name, Means(compiler, None))
    ways = [
        len(result.verdict.path)
        for result in answer.results
        if isinstance(result.verdict, Violated) and not re.search(r"\.(scene-|no-deadlock)", result.id)
    ]
    return Found(answer.search.states, answer.search.transitions, min(ways, default=None))


def tool(name: str, package: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"no {name} to compare with: apt-get install {package}")


def run(command: list[str | Path], place: Path) -> str:
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout, f"{command}: {done.stderr}"
    return done.stdout


def build(compiler: Compiler, source: Path, *flags: str) -> Path:
    program = source.with_suffix("")
    subprocess.run([compiler.path, "-w", "-O0", *flags, "-o", program, source, "-lpthread"], check=True)
    return program


def by_spin(peer: Peer, variant: str, compiler: Compiler, place: Path) -> tuple[int, int, bool]:
    """Spin's counts, from a run without promises (its never claim steps on where nobody can), and its verdict."""
    flags = [f"-D{variant.replace('-', '_')}"] if variant else []
    states, transitions, _ = spin(peer, flags, compiler, place)
    return states, transitions, spin(peer, [*flags, "-Dpromised"], compiler, place)[2] > 0


def spin(peer: Peer, flags: list[str], compiler: Compiler, place: Path) -> tuple[int, int, int]:
    subprocess.run(["spin", "-o1", "-o2", "-o3", *flags, "-a", PEERS / f"{peer.name}.pml"], cwd=place, check=True)
    program = build(compiler, place / "pan.c", "-DSAFETY", "-DNOREDUCE")
    said = run([program, "-w16", "-c0", "-m100000"], place)
    assert "max search depth too small" not in said, said
    (states,) = re.findall(r"(\d+) states, stored", said)
    (transitions,) = re.findall(r"(\d+) transitions", said)
    (errors,) = re.findall(r"errors: (\d+)", said)
    return int(states), int(transitions), int(errors)


def by_rumur(peer: Peer, variant: str, compiler: Compiler, place: Path) -> Found:
    """Rumur's counts, from a run without promises, and the length of its shortest way to a broken one."""
    text = (PEERS / f"{peer.name}.m").read_text()
    if variant:
        word = variant.replace("-", "_")
        assert f"{word}: false;" in text
        text = text.replace(f"{word}: false;", f"{word}: true;")
    counted = rumur(PROMISES.sub("", text), compiler, place / "counts.m")
    (states, transitions) = map(int, re.findall(r"(\d+) states, (\d+) rules fired", counted)[0])
    promised = rumur(text, compiler, place / "promises.m")
    if "No error found" in promised:
        return Found(states, transitions, None)
    assert "error(s) found" in promised, promised
    return Found(states, transitions, promised.count("Rule "))


def rumur(text: str, compiler: Compiler, file: Path) -> str:
    file.write_text(text)
    source = file.with_suffix(".c")
    subprocess.run(["rumur", "--deadlock-detection", "off", "--threads", "1", "-o", source, file], check=True)
    return run([build(compiler, source, "-mcx16")], file.parent)


@pytest.mark.parametrize(("peer", "variant"), CASES, ids=NAMES)
def test_spin_has_the_same_states_and_the_same_verdict(peer, variant, compiler, tmp_path):
    tool("spin", "spin")
    mine = ours(peer, variant, compiler)
    states, transitions, broken = by_spin(peer, variant, compiler, tmp_path)
    assert (states, transitions - 1, broken) == (mine.states, mine.transitions, mine.shortest is not None)


@pytest.mark.parametrize(("peer", "variant"), CASES, ids=NAMES)
def test_rumur_has_the_same_states_and_as_short_a_way(peer, variant, compiler, tmp_path):
    tool("rumur", "rumur")
    found = by_rumur(peer, variant, compiler, tmp_path)
    assert found == ours(peer, variant, compiler)
