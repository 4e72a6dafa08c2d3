"""What an indirect call goes through is told where the image shows it, and nowhere else."""

from __future__ import annotations

import pytest

from nostale.lint import lint, load_image
from nostale.systems.entry.image import NOINSTR_INDIRECT_RULE

RETPOLINE = """
.section .text..__x86.indirect_thunk,"ax"
FUNC __x86_indirect_thunk_rax
 jmp *%rax
ENDF __x86_indirect_thunk_rax
"""
VARIABLE = """
.section .data,"aw"
.type {name}, @object
{name}: .quad {first}, 0
.size {name}, 16
"""
FUNCTION = "FUNC f\n BEGIN\n END\n{body}\n ret\nENDF f\n"


def word(image):
    (result,) = lint(image, [NOINSTR_INDIRECT_RULE]).results
    return result.verdict.word


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (" mov $quiet, %rax\n call *%rax", "holds"),
        (" lea quiet(%rip), %rax\n call *%rax", "holds"),
        (" mov $quiet, %rbx\n mov %rbx, %rax\n call __x86_indirect_thunk_rax", "holds"),
        (" mov $quiet, %rbx\n call quiet\n call *%rbx", "holds"),
        (" mov $traced, %rax\n call *%rax", "violated"),
        (" mov $traced, %rax\n call __x86_indirect_thunk_rax", "violated"),
        # The nearest forms that do not tell: changed since, clobbered by a call, another way in, half of the register.
        (" mov $quiet, %rax\n add $8, %rax\n call *%rax", "unknown"),
        (" mov $quiet, %rax\n call quiet\n call *%rax", "unknown"),
        (" mov $quiet, %rax\n 2: call *%rax\n test %rdi, %rdi\n jne 2b", "unknown"),
        (" mov $quiet, %rax\n 2: nop\n call *%rax\n test %rdi, %rdi\n jne 2b", "unknown"),
        (" mov $quiet, %rax\n mov %dil, %al\n call *%rax", "unknown"),
        (" call *%rax", "unknown"),
    ],
)
def test_a_register_is_followed_to_its_one_assignment(assemble, body, expected):
    assert word(assemble(FUNCTION.format(body=body) + RETPOLINE)) == expected


STORES = [
    ("", "holds"),
    ("movq $quiet, hook(%rip)", "holds"),
    ("movq $0, hook(%rip)", "holds"),
    ("mov $quiet, %rdx\n mov %rdx, hook(%rip)", "holds"),
    ("mov %rdi, hook+8(%rip)", "holds"),
    ("cmpq $0, hook(%rip)", "holds"),
    ("mov hook(%rip), %rax", "holds"),
    ("movq $traced, hook(%rip)", "violated"),
    ("mov %rdi, hook(%rip)", "unknown"),
    ("xchg %rdi, hook(%rip)", "unknown"),
    ("lea hook(%rip), %rax", "unknown"),
    ("mov $hook, %rax", "unknown"),
    ("movq $hook, other(%rip)", "unknown"),
    ("mov %rdi, hook(,%rax,8)", "unknown"),
]


@pytest.mark.parametrize(("store", "expected"), STORES)
@pytest.mark.parametrize("call", [" call *hook(%rip)", " mov hook(%rip), %rax\n call __x86_indirect_thunk_rax"])
def test_a_static_variable_is_known_when_all_its_uses_are(assemble, call, store, expected):
    setup = f"\n.text\nFUNC setup\n {store}\n ret\nENDF setup\n"
    text = FUNCTION.format(body=call) + VARIABLE.format(name="hook", first="quiet") + setup + RETPOLINE
    assert word(assemble(text)) == expected


def test_a_variable_that_others_can_name_is_a_doubt(assemble):
    text = FUNCTION.format(body=" call *hook(%rip)") + VARIABLE.format(name="hook", first="quiet")
    assert word(assemble(text)) == "holds"
    assert word(assemble(text + "\n.globl hook\n")) == "unknown"


def test_a_pointer_to_the_variable_elsewhere_makes_it_a_doubt(assemble):
    text = FUNCTION.format(body=" call *hook(%rip)") + VARIABLE.format(name="hook", first="quiet")
    assert word(assemble(text + "\n.quad hook\n")) == "unknown"
    assert word(assemble(text + "\n.quad hook+16\n")) == "holds"


C = """
#define noinstr __attribute__((section(".noinstr.text"), noinline))
#define BEGIN asm volatile("1: nop; .pushsection .discard.instr_begin,\\"\\"; .long 1b - .; .popsection")
noinstr static void quiet(void) { asm volatile("nop"); }
noinstr static void still(void) { asm volatile("nop; nop"); }
void traced(void) { asm volatile(""); }
static void (*hook)(void) = quiet;
void choose_still(void) { hook = still; }
void choose(void (*given)(void)) { hook = HOW; }
noinstr void f(void) { hook(); asm volatile("" ::: "memory"); BEGIN; }
"""


@pytest.mark.parametrize(("how", "expected"), [("quiet", "holds"), ("traced", "violated"), ("given", "unknown")])
def test_what_a_compiler_makes_of_it_is_told_too(build, how, expected):
    flags = ("-fno-pic", "-mcmodel=kernel", "-fcf-protection=none", f"-DHOW={how}")
    assert word(load_image(build(C, *flags, suffix=".c"))) == expected
