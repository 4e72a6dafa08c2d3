"""What a breakpoint handler runs before it is safe from breakpoints of its own."""

from __future__ import annotations

import subprocess

import pytest

from nostale.lint import lint, load_image
from nostale.systems.entry.image import PROBE_RECURSION_RULE

# A handler in small: what it does between poke_int3_handler() and kprobe_int3_handler() is the test's.
SOURCE = """
.macro FUNC name:req
.globl \\name
.type \\name, @function
\\name:
.endm
.macro ENDF name:req
.size \\name, . - \\name
.endm
.macro NOKPROBE name:req
.pushsection _kprobe_blacklist,"aw"; .quad \\name; .popsection
.endm
.macro LABEL
661: jmp 662f
662:
.pushsection __jump_table,"aw"; .long 661b - ., 662b - .; .quad key - .; .popsection
.endm
.macro FTRACE
663: nopl 0(%rax,%rax)
.pushsection __mcount_loc,"a"; .quad 663b; .popsection
.endm
.data
.type key, @object
key: .quad 0
.size key, 8
.local current_kprobe, nmi_state
.comm current_kprobe, 8
.comm nmi_state, 8
.section .noinstr.text,"ax"
FUNC poke_int3_handler
{poke}
 ret
ENDF poke_int3_handler
FUNC irqentry_enter_from_user_mode
 ret
ENDF irqentry_enter_from_user_mode
FUNC exc_int3
 call poke_int3_handler
{body}
 call kprobe_int3_handler
 call later
 ret
ENDF exc_int3
{more}
.text
FUNC plain
 ret
ENDF plain
FUNC later
 ret
ENDF later
FUNC helper
 ret
ENDF helper
FUNC helper.cold
 ret
ENDF helper.cold
NOKPROBE helper
FUNC kprobe_int3_handler
{kprobe}
 ret
ENDF kprobe_int3_handler
NOKPROBE kprobe_int3_handler
"""


@pytest.fixture
def found(tmp_path, compiler):
    def run(body="", poke="", kprobe="", more=""):
        (tmp_path / "a.s").write_text(
            SOURCE.replace("{body}", body).replace("{poke}", poke).replace("{kprobe}", kprobe).replace("{more}", more)
        )
        subprocess.run([compiler.path, "-c", "-o", tmp_path / "a.o", tmp_path / "a.s"], check=True)
        results = lint(load_image(tmp_path / "a.o"), [PROBE_RECURSION_RULE]).results
        verdicts = [one.verdict for one in results]
        return [(one.word, one.path[-1].what if one.word == "violated" else "") for one in verdicts]

    return run


HOLDS = [("holds", "")]
PROBE = [("violated", "call of plain(), which can be probed")]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", HOLDS),
        ("call plain", PROBE),
        ("call helper", HOLDS),
        ("call helper.cold", HOLDS),  # a split-off part is covered by the function that it is of
        ("call irqentry_enter_from_user_mode\n call plain", HOLDS),
        ("test %edi, %edi\n je 1f\n call irqentry_enter_from_user_mode\n 1: call plain", PROBE),
        ("LABEL", HOLDS),  # poke_int3_handler() would have handled it
        ("call plain\n ud2", HOLDS),  # nothing comes back from there
    ],
)
def test_between_the_two_handlers_nothing_can_be_probed(found, body, expected):
    assert found(body) == expected


@pytest.mark.parametrize(
    ("poke", "expected"),
    [
        ("LABEL", [("violated", "jump label on key")]),
        ("FTRACE", [("violated", "ftrace site")]),
        ("call plain", PROBE),
        ("nop", HOLDS),
    ],
)
def test_what_handles_the_patchers_breakpoint_is_not_patched_itself(found, poke, expected):
    assert found(poke=poke) == expected


@pytest.mark.parametrize(
    ("kprobe", "expected"),
    [
        ("call plain", PROBE),
        ("mov %rdi, current_kprobe(%rip)\n call plain", HOLDS),
        ("mov current_kprobe(%rip), %rdi\n call plain", PROBE),
    ],
)
def test_a_probe_is_safe_from_others_when_it_is_current(found, kprobe, expected):
    assert found(kprobe=kprobe) == expected


NMI = "FUNC exc_nmi\n {}\n ret\nENDF exc_nmi"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("call plain", PROBE),
        ("LABEL", [("violated", "jump label on key")]),
        ("movl $1, nmi_state(%rip)\n LABEL\n call plain", HOLDS),
        ("call irqentry_enter_from_user_mode\n call plain", PROBE),  # an NMI from user mode is an NMI all the same
    ],
)
def test_an_nmi_says_that_it_is_handled_before_anything_may_break(found, body, expected):
    assert found(more=NMI.format(body)) == expected


DEBUG = "FUNC exc_debug\n {}\n ret\nENDF exc_debug"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("call plain", PROBE),
        ("mov %rax, %dr7\n call plain", HOLDS),
        ("mov %rax, %dr6\n call plain", PROBE),
        ("mov %dr7, %rax\n test %rax, %rax\n je 1f\n mov %rbx, %dr7\n 1: call plain", HOLDS),
    ],
)
def test_a_debug_exception_disarms_breakpoints_first(found, body, expected):
    assert found(more=DEBUG.format(body)) == expected


GETS = """FUNC native_get_debugreg
 ret
ENDF native_get_debugreg
"""


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("mov $7, %edi", HOLDS),
        ("mov $7, %r12d\n mov %r12, %rdi", HOLDS),
        ("mov $6, %edi", PROBE),
        ("mov $7, %edi\n mov %rbx, %rdi", PROBE),
        ("mov $7, %edi\n inc %edi", PROBE),
        ("mov $7, %edi\n test %ebx, %ebx\n je 1f\n 1: nop", PROBE),  # not a straight run: another path may come there
        ("mov $7, %esi", PROBE),
    ],
)
def test_with_paravirt_the_number_of_the_debug_register_is_an_argument(found, argument, expected):
    assert found(more=GETS + DEBUG.format(f"{argument}\n call native_get_debugreg\n call plain")) == expected


STATIC_CALL = """
.section .static_call.text,"ax"
FUNC __SCT__hypercall
 jmp first
ENDF __SCT__hypercall
.data
.globl __SCK__hypercall
.type __SCK__hypercall, @object
__SCK__hypercall: .quad first, 0
.size __SCK__hypercall, 16
.section .noinstr.text,"ax"
FUNC first
 call plain
 ret
ENDF first
"""


def test_what_a_static_call_starts_with_is_not_followed_and_where_it_goes_is_a_doubt(found):
    more = STATIC_CALL + DEBUG.format("call __SCT__hypercall\n mov %rax, %dr7")
    assert found(more=more) == [("unknown", "")]


def test_what_is_not_in_the_image_or_through_a_pointer_is_a_doubt(found):
    assert [word for word, _ in found("call elsewhere")] == ["unknown"]
    assert [word for word, _ in found("call *%rax")] == ["unknown"]


@pytest.mark.shared
def test_the_kernels_handlers_have_no_violation_and_say_what_the_partial_object_lacks(shared):
    results = lint(load_image(shared / "data/lint/vmlinux_base.o.xz"), [PROBE_RECURSION_RULE]).results
    assert {one.verdict.word for one in results} == {"unknown"}
