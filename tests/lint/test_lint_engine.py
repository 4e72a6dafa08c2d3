from __future__ import annotations

import subprocess

import pytest
from slow_walk import slow_walk

from nostale.lint import Rule, lint, load_image
from nostale.lint.engine import Run
from nostale.lint.flow import Flow
from nostale.lint.reach import Scope
from nostale.outside.compressed import read_whole
from nostale.systems.entry.image import NOINSTR_ESCAPE_RULE, RULES

INDIRECT = "entry.noinstr-indirect"
INSTRUMENTED = "entry.noinstr-instrumented"


def verdicts(image, of="entry.noinstr-escape"):
    return [result.verdict for result in lint(image, RULES).results if result.id == of]


def words(image, of="entry.noinstr-escape"):
    return [verdict.word for verdict in verdicts(image, of)]


def last(verdict):
    return verdict.path[-1]


def test_a_call_before_the_range_is_found_and_one_inside_is_left_alone(assemble):
    image = assemble("FUNC f\n call traced\n BEGIN\n call traced\n END\n ret\nENDF f")
    (verdict,) = verdicts(image)
    assert (verdict.word, last(verdict).place, last(verdict).callee) == ("violated", "f+0x0", "traced")
    assert last(verdict).what == "call to traced() leaves .noinstr.text section"


def test_an_annotation_takes_effect_before_the_instruction_that_it_names(assemble):
    marked = '1: call traced\n.pushsection .discard.instr_begin,""\n.long 1b - .\n.popsection\n END\n ret\n'
    assert words(assemble(f"FUNC f\n {marked}ENDF f")) == ["holds"]


def test_a_conditional_tail_call_is_an_escape_too(assemble):
    (verdict,) = verdicts(assemble("FUNC f\n BEGIN\n END\n jne traced\n ret\nENDF f"))
    assert (last(verdict).place, last(verdict).callee) == ("f+0x2", "traced")


def test_a_function_outside_the_image_is_instrumentable(assemble):
    (verdict,) = verdicts(assemble("FUNC f\n BEGIN\n END\n call elsewhere\n ret\nENDF f"))
    assert (verdict.word, last(verdict).callee) == ("violated", "elsewhere")


def test_a_jump_into_an_instrumentable_section_is_an_escape(assemble):
    image = assemble("FUNC f\n BEGIN\n END\n jmp 1f\n.text\n1: call traced\n ret\n.section .noinstr.text\nENDF f")
    assert [last(verdict).what for verdict in verdicts(image)] == ["jump to .text+0x1() leaves .noinstr.text section"]


def test_a_jump_label_into_an_instrumentable_section_is_an_escape(assemble):
    table = '.pushsection __jump_table,"aw"\n.long 1b - ., 9f - .\n.quad key - .\n.popsection'
    nop = "1: .byte 0x0f,0x1f,0x44,0,0\n" + table
    image = assemble(f"FUNC f\n BEGIN\n END\n{nop}\n ret\nENDF f\n.data\nkey: .quad 0\n.text\n9: call traced\n ret")
    (verdict,) = verdicts(image)
    assert (verdict.word, last(verdict).place, last(verdict).callee) == ("violated", "f+0x2", ".text+0x1")


def test_a_call_of_a_nameless_place_in_another_section_is_an_escape(assemble):
    label = '.pushsection .discard.unwind_hints,""\n.long 1b - .\n.long 0, 0\n.popsection'
    image = assemble(
        f"FUNC f\n BEGIN\n END\n ret\nENDF f\nasm:\n1: call 9f\n{label}\n ret\n.size asm, . - asm\n.text\n9: ret"
    )
    (verdict,) = verdicts(image)
    assert (verdict.word, last(verdict).place) == ("violated", "asm+0x0")


def test_an_escape_in_replacement_code_is_told_at_its_original(assemble):
    image = assemble("""FUNC f
 BEGIN
 END
661: nop;nop;nop;nop;nop
662: ret
ENDF f
.pushsection .altinstructions,"a"
.long 661b - ., 663f - ., 5
.byte 5, 5
.popsection
.pushsection .altinstr_replacement,"ax"
663: call traced
.popsection""")
    (verdict,) = verdicts(image)
    assert "(alternative of f+0x2)" in last(verdict).what


def test_a_return_inside_a_range_is_found(assemble):
    image = assemble("FUNC f\n BEGIN\n je 1f\n END\n1: ret\nENDF f")
    (verdict,) = verdicts(image, "entry.noinstr-unbalanced")
    assert (verdict.word, last(verdict).place) == ("violated", "f+0x4")
    assert [step.what for step in verdict.path][-2] == "branch taken, to f+0x4"


def test_a_tail_call_inside_a_range_is_found_unless_it_never_returns(assemble):
    image = assemble("FUNC f\n BEGIN\n END\n BEGIN\n jmp quiet\nENDF f\nFUNC g\n BEGIN\n jmp panic\nENDF g")
    found = verdicts(image, "entry.noinstr-unbalanced")
    assert [last(verdict).place for verdict in found] == ["f+0x3"]


def test_a_count_below_zero_at_a_return_is_left_alone(assemble):
    assert words(assemble("FUNC f\n END\n ret\nENDF f"), "entry.noinstr-unbalanced") == ["holds"]


def test_a_call_through_a_pointer_is_not_known_and_inside_a_range_need_not_be(assemble):
    image = assemble("FUNC f\n call *%rax\n BEGIN\n call *%rax\n END\n ret\nENDF f")
    (verdict,) = verdicts(image, INDIRECT)
    assert (verdict.word, last(verdict).place, last(verdict).callee) == ("unknown", "f+0x0", "{dynamic}")


SLOTS = """
FUNC f
 BEGIN
 END
 call *{table}+8(%rip)
 ret
ENDF f
.section {section}
.globl {table}
.type {table}, @object
{table}: .quad traced, {target}
.size {table}, 16
"""


def slots(table, target, section='.rodata,"a"'):
    return SLOTS.format(table=table, target=target, section=section)


def test_a_pointer_that_never_changes_is_as_good_as_its_target(assemble):
    assert words(assemble(slots("ops", "quiet")), INDIRECT) == ["holds"]
    assert words(assemble(slots("ops", "traced")), INDIRECT) == ["violated"]


def test_a_pointer_that_may_change_is_a_doubt_with_its_first_target_named(assemble):
    (verdict,) = verdicts(assemble(slots("ops", "quiet", '.data,"aw"')), INDIRECT)
    assert (verdict.word, last(verdict).callee) == ("unknown", "*ops+0x8")
    assert "known targets: quiet (noinstr)" in verdict.why


def test_a_paravirt_slot_is_known_by_its_initialiser(assemble):
    assert words(assemble(slots("pv_ops", "quiet", '.data,"aw"')), INDIRECT) == ["holds"]
    assert words(assemble(slots("pv_ops", "traced", '.data,"aw"')), INDIRECT) == ["violated"]


@pytest.mark.parametrize(("target", "word"), [("quiet", "holds"), ("traced", "violated")])
def test_a_paravirt_slot_is_also_what_the_image_stores_there(assemble, target, word):
    store = f"\n.text\nFUNC setup\n movq ${target}, pv_ops+8(%rip)\n ret\nENDF setup"
    assert words(assemble(slots("pv_ops", "quiet", '.data,"aw"') + store), INDIRECT) == [word]


def test_a_paravirt_slot_that_gets_something_unknown_is_a_doubt(assemble):
    store = "\n.text\nFUNC setup\n movq %rax, pv_ops+8(%rip)\n ret\nENDF setup"
    assert words(assemble(slots("pv_ops", "quiet", '.data,"aw"') + store), INDIRECT) == ["unknown"]


STATIC_CALL = """
FUNC f
 BEGIN
 END
 call __SCT__idle
 ret
ENDF f
.section .static_call.text,"ax"
FUNC __SCT__idle
 jmp.d32 {target}
 ud1 %esp, %ecx
ENDF __SCT__idle
.section {section}
.globl __SCK__idle
.type __SCK__idle, @object
__SCK__idle: .quad {target}, 0
.size __SCK__idle, 16
"""


@pytest.mark.parametrize("target", ["quiet", "traced"])
def test_a_static_call_is_a_doubt_whatever_it_starts_with(assemble, target):
    (verdict,) = verdicts(assemble(STATIC_CALL.format(target=target, section='.data,"aw"')))
    assert (verdict.word, last(verdict).callee) == ("unknown", "__SCT__idle")
    assert f"known targets: {target} (" in verdict.why
    assert "every static_call_update(idle)" in verdict.why


def test_a_static_call_whose_key_is_constant_is_as_good_as_its_target(assemble):
    assert words(assemble(STATIC_CALL.format(target="quiet", section='.rodata,"a"'))) == ["holds"]


def test_the_targets_that_the_image_itself_sets_are_named(assemble):
    update = """.text
FUNC setup
 mov $other, %rdx
 mov $__SCT__idle, %rsi
 mov $__SCK__idle, %rdi
 call __static_call_update
 ret
ENDF setup
FUNC other
 ret
ENDF other"""
    (verdict,) = verdicts(assemble(STATIC_CALL.format(target="quiet", section='.data,"aw"') + update))
    assert "known targets: other (text), quiet (noinstr)" in verdict.why


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("__ubsan_handle_out_of_bounds", "entry.noinstr-escape"),
        ("__sanitizer_cov_trace_pc", INSTRUMENTED),
        ("__tsan_func_entry", INSTRUMENTED),
    ],
)
def test_what_objtool_lets_pass_by_name_is_a_doubt_not_a_violation_and_told_once(assemble, name, rule):
    answer = lint(assemble(f"FUNC f\n BEGIN\n END\n call {name}\n ret\nENDF f"), RULES)
    assert [(one.id, one.verdict.word) for one in answer.results if one.verdict.word != "holds"] == [(rule, "unknown")]


@pytest.mark.parametrize("name", ["__fentry__", "__asan_load8_noabort", "__tsan_read8", "__gcov_flush"])
def test_what_the_compiler_inserts_is_told_once_inside_of_a_range_too(assemble, name):
    answer = lint(assemble(f"FUNC f\n BEGIN\n call {name}\n END\n call {name}\n ret\nENDF f"), RULES)
    bad = [(one.id, one.verdict.path[-1].place) for one in answer.results if one.verdict.word == "violated"]
    assert bad == [(INSTRUMENTED, "f+0x1"), (INSTRUMENTED, "f+0x7")]


def test_a_function_whose_name_only_looks_like_instrumentation_is_an_escape(assemble):
    image = assemble("FUNC f\n BEGIN\n END\n call fentry_handler\n ret\nENDF f")
    assert (words(image), words(image, INSTRUMENTED)) == (["violated"], ["holds"])


MCOUNT = '.pushsection __mcount_loc,"a"; .quad 1b; .popsection'


def test_an_ftrace_site_that_is_a_nop_is_instrumentation_in_noinstr_and_nothing_elsewhere(assemble):
    noinstr = assemble(f"FUNC f\n 1: nopl 0(%rax,%rax)\n {MCOUNT}\n ret\nENDF f")
    (verdict,) = verdicts(noinstr, INSTRUMENTED)
    assert (verdict.word, last(verdict).place) == ("violated", "f+0x0")
    elsewhere = assemble(f"FUNC f\n ret\nENDF f\n.text\nFUNC g\n 1: nopl 0(%rax,%rax)\n {MCOUNT}\n ret\nENDF g")
    assert words(elsewhere, INSTRUMENTED) == ["holds"]


def test_idle_code_may_have_been_traceable(assemble):
    idle = assemble(f'.section .cpuidle.text,"ax"\nFUNC f\n 1: call __fentry__\n {MCOUNT}\n ret\nENDF f')
    (verdict,) = verdicts(idle, INSTRUMENTED)
    assert verdict.word == "unknown" and "v6.3" in verdict.why


def test_an_image_without_protected_code_is_nothing_to_look_at(build):
    image = load_image(build("f: ret\n"))
    assert {result.verdict.word for result in lint(image, RULES).results} == {"unknown"}
    assert "nothing to look at" in lint(image, RULES).results[0].verdict.missing[0]


def test_without_annotations_each_transfer_is_a_doubt_and_nothing_holds(assemble):
    found = verdicts(assemble("FUNC f\n call traced\n ret\nENDF f"))
    assert [verdict.word for verdict in found] == ["unknown", "unknown"]
    assert (last(found[0]).place, last(found[0]).callee) == ("f+0x0", "traced")
    assert found[1].missing[0].startswith("the image has no .discard.instr_begin, .discard.instr_end")


def test_code_that_no_path_comes_to_is_said(assemble):
    image = assemble("FUNC f\n BEGIN\n END\n ret\nENDF f\nhidden: call traced\n ret")
    (verdict,) = verdicts(image)
    assert verdict.word == "unknown"
    assert "2 instructions on no path from any entry" in verdict.missing[0]


def test_code_written_in_assembly_is_entered_at_its_unwind_hints(assemble):
    hint = '.pushsection .discard.unwind_hints,""\n.long 1b - .\n.long 0, 0\n.popsection'
    image = assemble(
        f"FUNC f\n BEGIN\n END\n ret\nENDF f\nhidden:\n1: call traced\n{hint}\n ret\n.size hidden, . - hidden"
    )
    (verdict,) = verdicts(image)
    assert (verdict.word, last(verdict).place) == ("violated", "hidden+0x0")


def test_a_global_label_that_nothing_comes_to_is_entered_from_elsewhere(assemble):
    image = assemble("FUNC f\n BEGIN\n END\n ret\n.globl vmexit\nvmexit: call traced\n ret\nENDF f")
    (verdict,) = verdicts(image)
    assert (verdict.word, last(verdict).place) == ("violated", "f+0x3")


def test_a_local_label_of_a_unit_is_entered_from_elsewhere_and_one_within_is_not(assemble):
    unit = "FUNC f\n BEGIN\n END\n ret\nENDF f\npart: {within}call traced\n ret"
    (verdict,) = verdicts(assemble(unit.format(within="") + "\n.size part, . - part"))
    assert (verdict.word, last(verdict).place) == ("violated", "part+0x0")
    (verdict,) = verdicts(assemble(unit.format(within="")))
    assert (verdict.word, verdict.path) == ("unknown", ())


STUBS = """FUNC f
 BEGIN
 END
 ret
ENDF f
.globl irq_entries_start
irq_entries_start:
.set vector, 0x7e
.rept 4
9: {pad}.byte 0x6a, vector & 0xff
 jmp common
.org 9b + {pitch}, 0xcc
.set vector, vector + 1
.endr
{more}
.size irq_entries_start, . - irq_entries_start
common: call traced
 ret
"""


@pytest.mark.parametrize(("pad", "pitch"), [("", 8), ("endbr64\n", 16)])
def test_each_stub_of_an_interrupt_is_an_entry(assemble, pad, pitch):
    (verdict,) = verdicts(assemble(STUBS.format(pad=pad, pitch=pitch, more="")))
    assert (verdict.word, last(verdict).callee) == ("violated", "traced")
    # A fifth slot that pushes no vector is none of the table's stubs.
    (verdict, unknown) = verdicts(assemble(STUBS.format(pad=pad, pitch=pitch, more=" nop\n nop\n nop\n jmp common")))
    assert "1 instructions on no path from any entry, at irq_entries_start+" in unknown.missing[0]


def test_bytes_that_do_not_decode_are_said(assemble):
    (verdict,) = verdicts(assemble("FUNC f\n BEGIN\n END\n .byte 0x06\n ret\nENDF f"))
    assert (verdict.word, verdict.missing) == ("unknown", ("f+0x2: does not decode",))


def test_an_annotation_in_the_middle_of_an_instruction_is_said(assemble):
    astray = '1: mov $1, %eax\n.pushsection .discard.instr_begin,""\n.long 1b + 2 - .\n.popsection'
    (verdict,) = verdicts(assemble(f"FUNC f\n {astray}\n ret\nENDF f"))
    assert verdict.missing == ("tables name what is not the start of an instruction, at f+0x2",)


def test_a_function_without_a_size_is_walked(assemble):
    (verdict,) = verdicts(assemble("FUNC f\n BEGIN\n END\n ret\nENDF f\n.type g, @function\ng: call traced\n ret"))
    assert (verdict.word, last(verdict).callee) == ("violated", "traced")


def test_results_are_equal_from_run_to_run(demos):
    assert lint(load_image(demos["broken"]), RULES) == lint(load_image(demos["broken"]), RULES)


def test_the_slow_walk_finds_the_same_on_the_demonstration(demos):
    assert_as_slow(load_image(demos["broken"]))


@pytest.mark.shared
@pytest.mark.parametrize("name", ["m9_path_dependent", "m5_begin_without_end", "m1_drop_begin_irqentry_enter"])
def test_the_slow_walk_finds_the_same_on_kernel_objects(shared, name):
    assert_as_slow(load_image(shared / "data/lint" / f"vmlinux_{name}.o.xz"))


def assert_as_slow(image):
    flow = Flow(image)
    for rule in (one for one in RULES if isinstance(one, Rule)):
        run = Run(flow, rule, Scope(flow, rule.scope))
        first = run.scope.first
        start = rule.binding.start
        slow = slow_walk(flow.site, flow.arrive, rule.contract.automaton, start, run.events_at, first)
        fast = {(one.address, one.occurrence.event): len(run.walked.trail(one)) for one in run.walked.findings}
        assert slow == fast


def test_instructions_begin_where_objdump_says(demos):
    assert_as_objdump(demos["good"])


@pytest.mark.shared
def test_instructions_of_a_kernel_begin_where_objdump_says(shared, tmp_path):
    path = tmp_path / "base.o"
    path.write_bytes(read_whole(shared / "data/lint/vmlinux_base.o.xz"))
    assert_as_objdump(path)


def assert_as_objdump(path):
    image = load_image(path)
    for section in image.sections:
        if section.kind not in NOINSTR_ESCAPE_RULE.scope:
            continue
        command = ["objdump", "-dz", "--no-show-raw-insn", "-j", section.name, str(path)]
        try:
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except FileNotFoundError:
            pytest.skip("no objdump")
        expected = [int(line.split(":")[0], 16) for line in told.splitlines() if line.startswith(" ")]
        assert [one[0] - section.start for one in image.decoded(section.start, section.end)] == expected
