"""Kernel objects with a known defect each: what objtool reported must be found, at the same place."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from nostale.lint import lint, load_image
from nostale.lint.tables import annotated, warnings
from nostale.outside.compressed import read_whole
from nostale.systems.entry.image import RULES as ALL_RULES

pytestmark = pytest.mark.shared

_ESCAPE = re.compile(r"(\S+): call to (.*)\(\) leaves")
_UNBALANCED = re.compile(r"(\S+): return with instrumentation enabled")

# objtool stops at the first warning of a function and looks at each instruction once; what follows is behind one of
# those limits, each read off the patch and the disassembly.
RULES = [rule for rule in ALL_RULES if rule.id.startswith("entry.noinstr-")]  # what objtool has a check for
BEYOND_OBJTOOL = {
    # mut_cond: begun if bit 0, ended if bit 1, so a return with the range open if only bit 0 is set.
    # mut_cond2: begun if bit 0, then the call on both ways; the way without begin comes to it second.
    "m9_path_dependent": {("mut_cond+0x16", None), ("mut_cond2+0x9", "mut_bar")},
}
MUTANTS = ["base", "m1_drop_begin_irqentry_enter", "m4_printk_in_noinstr", "m5_begin_without_end"]
MUTANTS += ["m7_static_key_slowpath", "m9_path_dependent", "m11_tailcall_out"]


def reported(entry):
    """Return (place, callee) of every noinstr warning that objtool printed, in either mode."""
    found = set()
    for line in entry["objtool_noinstr_warnings"] + entry["objtool_full_warnings"]:
        if match := _ESCAPE.match(line):
            found.add((match[1], match[2]))
        elif match := _UNBALANCED.match(line):
            found.add((match[1], None))
    return found


@pytest.fixture(scope="module")
def manifest(shared):
    return json.loads((shared / "data/lint/manifest.json").read_text())


def answer_for(shared, entry):
    return lint(load_image(shared / "data/lint" / entry["file"]), RULES)


def test_every_object_of_the_manifest_is_tried(manifest):
    assert sorted(manifest) == sorted(MUTANTS)


@pytest.mark.parametrize("name", MUTANTS)
def test_what_objtool_reports_is_violated_there_and_nothing_else(shared, manifest, name):
    answer = answer_for(shared, manifest[name])
    last = [result.verdict.path[-1] for result in answer.results if result.verdict.word == "violated"]
    found = [(step.place, step.callee) for step in last]
    assert len(found) == len(set(found))
    assert set(found) == reported(manifest[name]) | BEYOND_OBJTOOL.get(name, set())


def test_where_objtool_passes_a_static_call_outside_of_a_range_base_is_unknown(shared, manifest):
    answer = answer_for(shared, manifest["base"])
    doubts = [result.verdict for result in answer.results if result.verdict.word == "unknown"]
    assert [(one.path[-1].place, one.path[-1].callee) for one in doubts] == [
        ("sched_clock_noinstr+0x4", "__SCT__pv_sched_clock"),
        ("arch_cpu_idle+0x4", "__SCT__x86_idle"),
    ]
    assert "default_idle (cpuidle), mwait_idle (cpuidle)" in doubts[1].why


def test_every_trap_that_the_bug_table_calls_a_warning_is_annotated_as_reachable(shared, manifest):
    image = load_image(shared / "data/lint" / manifest["base"]["file"])
    warned, reachable = warnings(image), set(annotated(image, ".discard.reachable"))
    assert len(warned) > 300
    assert warned <= reachable


def test_at_least_the_instructions_that_objtool_visits_are_walked(shared, manifest):
    coverage = answer_for(shared, manifest["base"]).coverage
    visited = int(re.search(r"visited (\d+)", manifest["base"]["proto_sound_stats"])[1])
    assert coverage["instructions_walked"] >= visited
    assert coverage["instructions_not_reached"] == coverage["not_decodable"] == 0
    # Of the 288 annotations in protected sections one is not on a path: it follows a call in sysvec_reboot() that
    # never returns.
    assert (coverage["annotations"], coverage["jump_labels"]) == (147 + 4 + 133 + 4 - 1, 44 + 7)


def test_the_paravirt_call_of_base_is_settled_by_its_slot(shared, manifest):
    coverage = answer_for(shared, manifest["base"]).coverage
    assert (coverage["indirect_calls"], coverage["indirect_calls_resolved"]) == (5, 1)


def test_a_kernel_stripped_of_its_annotations_never_holds(shared, manifest, tmp_path):
    objcopy = shutil.which("objcopy")
    if objcopy is None:
        pytest.skip("no objcopy")
    packed, stripped = tmp_path / "base.o", tmp_path / "stripped.o"
    packed.write_bytes(read_whole(shared / "data/lint" / manifest["base"]["file"]))
    tables = [f"--remove-section={name}" for name in (".discard.instr_begin", ".discard.instr_end")]
    subprocess.run([objcopy, *tables, packed, stripped], check=True)
    answer = lint(load_image(stripped), RULES)
    # What the compiler inserted is instrumentation in any case, so that rule needs no annotations.
    needing = [result for result in answer.results if result.id != "entry.noinstr-instrumented"]
    assert {result.verdict.word for result in needing} == {"unknown"}
    assert len(needing) > 100


def test_a_static_key_before_the_nmi_is_latched_is_found_by_who_looks_for_it(shared, manifest):
    rules = [rule for rule in ALL_RULES if rule.id == "entry.probe-recursion"]
    answer = lint(load_image(shared / "data/lint" / manifest["m7_static_key_slowpath"]["file"]), rules)
    (last,) = [one.verdict.path[-1] for one in answer.results if one.verdict.word == "violated"]
    assert (last.place, last.what) == ("exc_nmi+0xb", "jump label on mut_key")
