"""codegen.patchable-before-sync on small entries of our own."""

from __future__ import annotations

import subprocess

import pytest

from nostale.contract import BadInput
from nostale.lint import lint, load_image
from nostale.systems.codegen.image import PATCHABLE_BEFORE_SYNC_RULE

NOP5 = ".byte 0x0f,0x1f,0x44,0,0"
PRELUDE = """
.macro KEY name
771: .byte 0x0f,0x1f,0x44,0,0
.pushsection __jump_table,"aw"
.balign 8
.long 771b - ., 772f - .
.quad \\name - .
.popsection
772:
.endm
.macro ALT feature, flags=0
.pushsection .altinstructions,"a"
.long 661b - ., 663b - .
.short \\feature, \\flags
.byte 662b - 661b, 664b - 663b
.popsection
.endm
.macro CR3
661: jmp 665f
662:
.pushsection .altinstr_replacement,"ax"
663: .byte 0x66, 0x90
664:
.popsection
 ALT 7*32+11
 mov %cr3, %rax
 and $~0x1800, %rax
 mov %rax, %cr3
665:
.endm
.data
.globl key, other
.type key, @object
key: .quad 0
.size key, 8
.section .data..ro_after_init,"aw"
.type sealed, @object
sealed: .quad 0
.size sealed, 8
.text
.type traced, @function
traced: ret
.size traced, . - traced
.section .noinstr.text,"ax"
.type handler, @function
handler:
{handler}
 ret
.size handler, . - handler
.section .entry.text,"ax"
.globl entry_SYSCALL_64
entry_SYSCALL_64:
{entry}
 sysretq
.size entry_SYSCALL_64, . - entry_SYSCALL_64
.globl asm_exc_page_fault
asm_exc_page_fault:
{fault}
 iretq
.size asm_exc_page_fault, . - asm_exc_page_fault
"""
SYNCED = " CR3\n call handler"


def answer(tmp_path, compiler, entry=SYNCED, handler="", fault=" CR3", sync_at="cr3", more=""):
    source, made = tmp_path / "a.s", tmp_path / "a.o"
    text = PRELUDE.replace("{entry}", entry).replace("{handler}", handler).replace("{fault}", fault)
    source.write_text(text + more + "\n")
    subprocess.run([compiler.path, "-c", "-o", made, source], check=True)
    return lint(load_image(made), [PATCHABLE_BEFORE_SYNC_RULE], sync_at=sync_at)


def words(found, machine):
    return [one.verdict.word for one in found.results if f"({machine}," in one.title]


def keys(found):
    return {row[0]: row[1:] for row in found.tables[0].rows}


def test_a_key_before_the_cr3_write_is_found_and_one_after_it_left_alone(tmp_path, compiler):
    early = answer(tmp_path, compiler, " KEY key\n" + SYNCED)
    late = answer(tmp_path, compiler, SYNCED, " KEY key")
    assert (words(early, "PTI"), words(late, "PTI")) == (["violated"], ["holds"])
    assert keys(early)["key"][:4] == ("static key", "no", "entry_SYSCALL_64", "entry_SYSCALL_64")


def test_without_pti_the_same_entry_has_no_sync_point(tmp_path, compiler):
    found = answer(tmp_path, compiler, SYNCED, " KEY key\n call traced")
    assert words(found, "PTI") == ["holds"]
    assert words(found, "no PTI") == ["violated", "violated"]
    last = [one.verdict.path[-1].what for one in found.results if one.verdict.word == "violated"]
    assert last == ["static key key", "goes to traced, which may be traced, probed and patched"]
    assert keys(found)["key"][2:4] == ("-", "entry_SYSCALL_64")
    assert found.tables[1].rows[0] == (
        "entry_SYSCALL_64",
        "SYSCALL",
        "nothing patchable",
        "1 patchable, no sync before instrumentable code",
    )


def test_a_key_that_is_read_only_after_boot_is_listed_and_in_nobodys_way(tmp_path, compiler):
    found = answer(tmp_path, compiler, " KEY sealed\n" + SYNCED)
    assert words(found, "PTI") == ["holds"]
    assert keys(found)["sealed"][:3] == ("static key", "yes", "entry_SYSCALL_64")


def test_a_key_that_the_image_does_not_define_is_a_doubt(tmp_path, compiler):
    found = answer(tmp_path, compiler, " KEY elsewhere\n" + SYNCED)
    assert words(found, "PTI") == ["unknown"]
    (doubt,) = [one.verdict.why for one in found.results if "(PTI," in one.title]
    assert doubt == "cannot tell whether elsewhere is __ro_after_init: this image does not define it"


def test_the_path_of_a_key_in_a_called_function_names_the_call(tmp_path, compiler):
    found = answer(tmp_path, compiler, " call handler\n" + SYNCED, " KEY key")
    (path,) = [one.verdict.path for one in found.results if "(PTI," in one.title]
    assert [(step.place, step.what) for step in path] == [
        ("entry_SYSCALL_64+0x0", "entered"),
        ("entry_SYSCALL_64+0x0", "calls handler"),
        ("handler+0x0", "static key key"),
    ]
    assert path[-1].why == "1 such instruction, on the way from entry_SYSCALL_64"


def test_every_entry_that_reaches_a_key_is_named(tmp_path, compiler):
    found = answer(tmp_path, compiler, " KEY key\n" + SYNCED, fault=" KEY key\n CR3")
    assert keys(found)["key"][2] == "all 2"


def test_of_several_ways_the_shortest_is_told(tmp_path, compiler):
    entry = " test %eax, %eax\n jz 1f\n nop\n nop\n1: KEY key\n" + SYNCED
    assert keys(answer(tmp_path, compiler, entry))["key"][-1] == "entry_SYSCALL_64 (3 instructions)"


STATIC_CALL = """
.section .static_call.text,"ax"
.globl __SCT__idle
.type __SCT__idle, @function
__SCT__idle: jmp.d32 handler
.size __SCT__idle, 5
.data
.globl __SCK__idle
.type __SCK__idle, @object
__SCK__idle: .quad handler, 0
.size __SCK__idle, 16
"""


def test_a_static_call_is_a_patch_site_and_where_it_goes_a_doubt(tmp_path, compiler):
    found = answer(tmp_path, compiler, " call __SCT__idle\n" + SYNCED, more=STATIC_CALL)
    assert words(found, "PTI") == ["violated", "unknown"]
    assert keys(found)["idle"][:2] == ("static call", "no")


def test_an_ftrace_site_in_protected_code_is_found(tmp_path, compiler):
    site = f'1: {NOP5}\n.pushsection __mcount_loc,"a"\n.quad 1b\n.popsection\n'
    assert keys(answer(tmp_path, compiler, " call handler\n" + SYNCED, site))["handler"][:2] == ("ftrace", "-")


IDLE = """
.section .cpuidle.text,"ax"
.type idle, @function
idle: sti
 hlt
 nop
 ret
.size idle, . - idle
"""


def test_an_idle_wake_up_goes_on_in_its_caller_which_is_a_doubt(tmp_path, compiler):
    found = answer(tmp_path, compiler, more=IDLE)
    verdicts = [one.verdict for one in found.results if "(PTI, from idle" in one.title]
    assert {one.word for one in verdicts} == {"unknown"}
    assert "what its callers run before a sync point was not followed" in [one.why for one in verdicts]


def test_instructions_open_to_kprobes_are_one_finding_with_their_number(tmp_path, compiler):
    found = answer(tmp_path, compiler, more=IDLE)
    whys = [one.verdict.path[-1].why for one in found.results if "(PTI, from idle" in one.title]
    assert "2 such instructions in idle, on the way from idle+0x2" in whys


def test_a_function_on_the_blacklist_is_closed_to_kprobes(tmp_path, compiler):
    blacklist = '.section _kprobe_blacklist,"aw"\n.quad idle\n'
    assert "idle" not in keys(answer(tmp_path, compiler, more=IDLE + blacklist))


def test_idle_code_that_is_linked_among_noinstr_code_is_closed_to_kprobes(tmp_path, compiler):
    linked = IDLE.replace("idle: sti", "__noinstr_text_start: idle: sti") + "__noinstr_text_end: nop\n"
    assert "idle" not in keys(answer(tmp_path, compiler, more=linked))
    apart = IDLE + '.section .noinstr.text,"ax"\n__noinstr_text_start: nop\n__noinstr_text_end: nop\n'
    assert "idle" in keys(answer(tmp_path, compiler, more=apart))


@pytest.mark.parametrize(
    ("entry", "sync_at", "word"),
    [
        (" cpuid\n KEY key", "serialize", "holds"),
        (" lfence\n KEY key", "serialize", "violated"),
        (" cpuid\n KEY key", "cr3", "violated"),
        (" call handler\n KEY key", "handler", "holds"),
        (" KEY key\n call handler", "handler", "violated"),
        ("here: KEY key", "here", "violated"),
        ("nop\nhere: nop\n KEY key", "here", "holds"),
    ],
)
def test_the_sync_point_is_the_one_that_is_named(tmp_path, compiler, entry, sync_at, word):
    found = answer(tmp_path, compiler, entry, sync_at=sync_at, fault="")
    assert words(found, "no PTI") == [word]


def test_a_sync_point_that_is_not_in_the_image_is_an_error_with_the_nearest_name(tmp_path, compiler):
    with pytest.raises(BadInput, match="no symbol 'handlr'") as caught:
        answer(tmp_path, compiler, sync_at="handlr")
    assert "did you mean handler?" in str(caught.value)


def test_an_image_without_kernel_entries_has_no_result_and_says_so(tmp_path, compiler):
    source, made = tmp_path / "a.s", tmp_path / "a.o"
    source.write_text("f: ret\n")
    subprocess.run([compiler.path, "-c", "-o", made, source], check=True)
    found = lint(load_image(made), [PATCHABLE_BEFORE_SYNC_RULE])
    assert (found.results, found.tables, found.coverage["kernel_entries"]) == ((), (), 0)


@pytest.mark.shared
def test_a_kernel_with_pti_runs_nothing_patchable_before_its_cr3_write(shared):
    found = lint(load_image(shared / "data/lint/vmlinux_base.o.xz"), [PATCHABLE_BEFORE_SYNC_RULE])
    assert words(found, "PTI")[:1] == ["holds"]
    assert "violated" in words(found, "no PTI")
    entered = {row[0]: row[2:] for row in found.tables[1].rows}
    assert entered["entry_SYSCALL_64"][0] == "nothing patchable"
    assert "no sync before instrumentable code" in entered["asm_exc_nmi in entry code"][2]


@pytest.mark.shared
def test_a_kernel_of_a_machine_whose_exceptions_synchronise_is_not_asked(shared):
    answer = lint(load_image(shared / "data/lint/arm64_partial.o.xz"), [PATCHABLE_BEFORE_SYNC_RULE])
    assert (answer.results, answer.coverage["kernel_entries"]) == ((), 0)
    assert answer.coverage["not_about_this_image"] == ["codegen.patchable-before-sync"]
