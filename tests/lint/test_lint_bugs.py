"""Real bugs of the kernel, made again in small: the rule finds each, and what it was mended to is clean.

The rows are those of the list of bugs that the project is measured by. Rules know nothing of a row; where a bug breaks
a protocol of its own, an automaton beside the source says what that is.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from nostale.lint import custom_rule, lint, load_image
from nostale.systems.catalogue import SYSTEMS
from nostale.systems.entry.demo import FLAGS

BUGS = Path(__file__).parent / "bugs"
# Row, by which rule it is found, in which function and at which callee.
ROWS = [
    ("B02", "user.caught-up", "exc_nmi", "handle"),
    ("B11", "user.seen", "arch_jump_label_transform", None),
    ("B13", "entry.order", "irqentry_enter", "lockdep_hardirqs_off"),
    ("B14", "entry.noinstr-escape", "__enter_from_user_mode", "preempt_count_add"),
    ("B16", "user.patcher", "patch_alternative", "__fentry__"),
    ("B17", "entry.noinstr-escape", "intel_idle_ibrs", "sched_smt_active"),
    ("B18", "entry.probe-recursion", "exc_int3", "do_int3"),
    ("B19", "entry.probe-recursion", "poke_int3_handler", "bsearch"),
    ("B22", "entry.order", "vcpu_enter_exit", None),
    ("B24", "entry.noinstr-escape", "do_machine_check", "mce_panic"),
    ("B25", "entry.swapgs-fence", "paranoid_entry", None),
    ("B37", "user.masked", "exit_lazy_flush_tlb", "switch_mm_irqs_off"),
    ("B52", "user.both", "change_protection", None),
    ("B66", "user.slot", "arch_uprobe_copy_ixol", None),
]


def rule_of(row, id):
    if not id.startswith("user."):
        return next(rule for system in SYSTEMS for rule in system.rules() if rule.id == id)
    dot, bind = BUGS / f"{row}.dot", BUGS / f"{row}.toml"
    return custom_rule(dot.read_text(), dot.name, bind.read_text(), bind.name)


def verdicts(row, id, directory, *flags):
    (source,) = [path for path in BUGS.glob(f"{row}_*")]
    found = shutil.which("cc") or shutil.which("gcc")
    if found is None:
        pytest.skip("no C compiler")
    built = directory / "bug.o"
    subprocess.run([found, *FLAGS, *flags, "-o", built, source], check=True)
    return [result.verdict for result in lint(load_image(built), [rule_of(row, id)]).results]


@pytest.mark.parametrize(("row", "id", "function", "callee"), ROWS, ids=[row[0] for row in ROWS])
def test_the_bug_is_found_where_it_is(tmp_path, row, id, function, callee):
    (verdict,) = [one for one in verdicts(row, id, tmp_path) if one.word == "violated"]
    last = verdict.path[-1]
    assert (last.place.split("+")[0], last.callee) == (function, callee)


@pytest.mark.parametrize(("row", "id"), [row[:2] for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_it_was_mended_to_holds(tmp_path, row, id):
    assert [one.word for one in verdicts(row, id, tmp_path, "-DFIXED")] == ["holds"]


def test_every_source_is_in_the_table():
    assert sorted({path.name.split("_")[0] for path in BUGS.glob("B*_*")}) == [row[0] for row in ROWS]
