"""Random defects put into a kernel object: whatever objtool reports of them must be found, at the same place.

Needs objtool itself, which `python bench/_kernel.py objtool` makes; NOSTALE_OBJTOOL names another one.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from bench._kernel import place

from nostale.lint import build_image, lint
from nostale.outside.compressed import read_whole
from nostale.outside.elf import RELOCATION, parse_elf
from nostale.systems.entry.image import RULES

pytestmark = pytest.mark.shared

MUTANTS = int(os.environ.get("NOSTALE_OBJTOOL_MUTANTS", "25"))
_PLAIN = ("--noinstr", "--link")
_HACKS = ("--hacks=jump_label", "--hacks=noinstr", "--orc", "--retpoline", "--rethunk", "--uaccess", "--static-call")
MODES = (_PLAIN, _PLAIN + _HACKS)
_WARNING = re.compile(r"objtool: (\S+): (?:call to (.*)\(\) leaves|return with instrumentation)")
_PROTECTED = (".noinstr.text", ".cpuidle.text", ".entry.text")
_ANNOTATIONS = (".discard.instr_begin", ".discard.instr_end")
_OUTSIDE = ("_printk", "schedule", "__warn_printk", "trace_hardirqs_on")


@pytest.fixture(scope="module")
def objtool():
    path = Path(os.environ.get("NOSTALE_OBJTOOL") or place() / "objtool")
    if not path.exists():
        pytest.skip(f"no objtool at {path}: `python bench/_kernel.py objtool` makes it in half a minute")
    return path


@pytest.fixture(scope="module")
def base(shared):
    return parse_elf(read_whole(shared / "data/lint/vmlinux_base.o.xz"), "base.o")


def mutant(base, draw):
    """Return the object with one annotation moved out of the way or one call sent elsewhere, up to three times."""
    data = bytearray(base.data)
    named = {section.name: section for section in base.sections}
    starts, owner = base.symbols["name"].tolist(), base.symbols["section"].tolist()
    names = [base.names[at : base.names.index(0, at)].decode() for at in starts]
    protected = {named[name].index for name in _PROTECTED}
    for _ in range(draw.choice([1, 1, 2, 3])):
        moved = draw.random() < 0.6
        table = draw.choice(_ANNOTATIONS if moved else _PROTECTED[:2])
        rows = base.relocations(named[table].index).tolist()
        at = named[f".rela{table}"].offset
        if moved:
            inside = [number for number, row in enumerate(rows) if owner[row[2]] in protected]
            other = draw.choice([row for row in rows if owner[row[2]] == named[".text"].index])
            number, (_, kind, symbol, addend) = draw.choice(inside), other
        else:
            calls = [number for number, row in enumerate(rows) if row[1] == 4 and "thunk" not in names[row[2]]]
            number = draw.choice(calls)
            kind, symbol, addend = rows[number][1], names.index(draw.choice(_OUTSIDE)), rows[number][3]
        changed = np.array([(rows[number][0], kind, symbol, addend)], RELOCATION).tobytes()
        data[at + 24 * number : at + 24 * number + 24] = changed
    return bytes(data)


@pytest.mark.parametrize("seed", range(MUTANTS))
def test_nothing_that_objtool_reports_is_missed(objtool, base, tmp_path, seed):
    path = tmp_path / "mutant.o"
    path.write_bytes(mutant(base, random.Random(seed)))
    told = set()
    for mode in MODES:
        command = [objtool, *mode, "--dry-run", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, env={"SRCARCH": "x86"}, check=False, timeout=60)
        told |= {(match[1], match[2]) for match in _WARNING.finditer(done.stdout + done.stderr)}
    results = lint(build_image(parse_elf(path.read_bytes(), "mutant.o")), RULES).results
    # Of a call through a pointer objtool assumes the worst; here it is a doubt.
    words = {True: ("violated", "unknown"), False: ("violated",)}
    for where, callee in told:
        found = [
            one.verdict for one in results if one.verdict.word in words[callee == "{dynamic}"] and one.verdict.path
        ]
        assert (where, callee) in {(one.path[-1].place, one.path[-1].callee) for one in found}
