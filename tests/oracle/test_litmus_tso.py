"""Litmus outcomes against a second machine: x86-TSO by brute force, in code of its own."""

import csv
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nostale.prove import Means
from nostale.prove.hardware.tso import TSO
from nostale.prove.litmus import decide

ALIAS = {f"e{one}": f"r{one}" for one in ("ax", "bx", "cx", "dx", "si", "di")}


def final_states(threads: list[list[str]]) -> set[frozenset]:
    """Every final state of AT&T instructions on a machine with unbounded store buffers, by depth-first search."""
    start = (tuple(0 for _ in threads), tuple(() for _ in threads), (), ())
    seen, todo, finals = {start}, [start], set()
    while todo:
        at, buffers, memory, registers = here = todo.pop()
        following = []
        for cpu, code in enumerate(threads):
            if buffers[cpu]:
                (place, value), *rest = buffers[cpu]
                following.append((at, put(buffers, cpu, tuple(rest)), write(memory, place, value), registers))
            if at[cpu] < len(code):
                following += execute(here, cpu, code[at[cpu]])
        if not following:
            finals.add(frozenset({**dict(memory), **dict(registers)}.items()))
        for one in following:
            if one not in seen:
                seen.add(one)
                todo.append(one)
    return finals


def execute(here, cpu: int, text: str):
    at, buffers, memory, registers = here
    on = put(at, cpu, at[cpu] + 1)
    if text == "mfence":
        return [] if buffers[cpu] else [(on, buffers, memory, registers)]
    word, source, target = re.match(r"(\w+) ([^,]+),(.+)", text).groups()
    if word == "xchgl":
        if buffers[cpu]:
            return []
        register, place = (cpu, ALIAS[source[1:]]), target[1:-1]
        old, new = dict(memory).get(place, 0), dict(registers).get(register, 0)
        return [(on, buffers, write(memory, place, new), write(registers, register, old))]
    if source.startswith("("):
        place = source[1:-1]
        own = [value for where, value in buffers[cpu] if where == place]
        value = own[-1] if own else dict(memory).get(place, 0)
        return [(on, buffers, memory, write(registers, (cpu, ALIAS[target[1:]]), value))]
    value = int(source[1:]) if source[0] == "$" else dict(registers).get((cpu, ALIAS[source[1:]]), 0)
    if target.startswith("("):
        return [(on, put(buffers, cpu, (*buffers[cpu], (target[1:-1], value))), memory, registers)]
    return [(on, buffers, memory, write(registers, (cpu, ALIAS[target[1:]]), value))]


def put(row: tuple, index: int, value) -> tuple:
    return (*row[:index], value, *row[index + 1 :])


def write(items: tuple, key, value) -> tuple:
    return tuple(sorted({**dict(items), key: value}.items(), key=str))


def ask(finals: set[frozenset], atoms: list[tuple]) -> str:
    reached = any(all(dict(final).get(place, 0) == value for place, value in atoms) for final in finals)
    return "Allowed" if reached else "Forbidden"


def read(text: str) -> tuple[list[list[str]], list[tuple]]:
    """The 28 tests' own layout: rows between the braces and `exists`, a conjunction after it."""
    body, condition = text.split("}", 1)[1].split("exists")
    rows = [[cell.strip() for cell in row.rstrip(" ;").split("|")] for row in body.strip().split("\n")][1:]
    threads = [[cell for cell in column if cell] for column in zip(*rows)]
    atoms = []
    for thread, register, place, value in re.findall(r"(?:(\d):(r\w\w)|\[(\w)\])=(\d)", condition):
        atoms.append(((int(thread), register) if thread else place, int(value)))
    return threads, atoms


def published(shared) -> list[tuple]:
    with (shared / "data/litmus/verdicts.csv").open() as file:
        rows = [(row["test"], row["file"], row["expected"]) for row in csv.DictReader(file)]
    return [(name, shared / "data/litmus" / file, expected) for name, file, expected in rows]


def outcome(path_or_text, compiler, name="t") -> str | None:
    text = path_or_text if isinstance(path_or_text, str) else path_or_text.read_text()
    return decide(text, name, Means(compiler, None)).results[0].outcome


@pytest.mark.shared
def test_all_28_x86_tests_agree_with_the_published_outcomes_and_the_second_machine(shared):
    x86 = [row for row in published(shared) if "x86_64/" in str(row[1])]
    assert len(x86) == 28 and sum(expected == "Allowed" for _, _, expected in x86) == 15
    for name, path, expected in x86:
        assert (outcome(path, None), ask(final_states(read(path.read_text())[0]), read(path.read_text())[1])) == (
            expected,
            expected,
        ), name


@pytest.mark.shared
def test_no_aarch64_test_gets_a_wrong_outcome(shared):
    aarch64 = [row for row in published(shared) if "aarch64" in str(row[1])]
    given = [(outcome(path, None), expected) for _, path, expected in aarch64]
    assert len(given) == 117 and all(ours in (None, expected) for ours, expected in given)


def never_buffered(self, cpu: int, slot: int, place: int) -> bool:
    return False


@pytest.mark.shared
def test_without_forwarding_from_the_own_buffer_published_outcomes_differ(shared, monkeypatch):
    monkeypatch.setattr(TSO, "buffered", never_buffered)
    wrong = [n for n, path, expected in published(shared) if "x86_64/" in str(path) and outcome(path, None) != expected]
    assert "SB+rfi-pos" in wrong


PLACES, REGISTERS = st.sampled_from(["x", "y"]), st.sampled_from(["eax", "ebx"])
INSTRUCTION = st.one_of(
    st.builds("movl ${},({})".format, st.integers(1, 2), PLACES),
    st.builds("movl ({}),%{}".format, PLACES, REGISTERS),
    st.builds("movl %{},({})".format, REGISTERS, PLACES),
    st.builds("movl ${},%{}".format, st.integers(1, 2), REGISTERS),
    st.builds("xchgl %{},({})".format, REGISTERS, PLACES),
    st.just("mfence"),
)
KEYS = st.one_of(st.tuples(st.integers(0, 1), st.sampled_from(["rax", "rbx"])), PLACES)


def written(threads: list[list[str]], atoms: list[tuple]) -> str:
    rows = max(map(len, threads))
    table = [" | ".join(code[row] if row < len(code) else "" for code in threads) + " ;" for row in range(rows)]
    asked = [f"{key[0]}:{key[1]}={value}" if isinstance(key, tuple) else f"[{key}]={value}" for key, value in atoms]
    conjunction = " /\\ ".join(asked)
    return "\n".join(["X86_64 made", "{ }", "P0 | P1 ;", *table, f"exists ({conjunction})\n"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(INSTRUCTION, min_size=1, max_size=4), min_size=2, max_size=2),
    st.lists(st.tuples(KEYS, st.integers(0, 2)), min_size=1, max_size=3),
)
def test_made_programs_of_two_threads_agree_with_the_second_machine(threads, atoms):
    assert outcome(written(threads, atoms), None) == ask(final_states(threads), atoms)
