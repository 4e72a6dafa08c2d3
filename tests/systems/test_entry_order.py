"""SWAPGS and its fence, and the order in which an entry is told."""

from __future__ import annotations

import subprocess

import pytest

from nostale.lint import lint, load_image
from nostale.systems.entry.image import ORDER_RULE, SWAPGS_FENCE_RULE

HEAD = """
.macro FUNC name:req
.globl \\name
.type \\name, @function
\\name:
.endm
.macro FENCE feature
771: .byte 0x90, 0x90, 0x90
.pushsection .altinstructions,"a"
.long 771b - .
.long 881f - .
.long \\feature
.byte 3, 3
.popsection
.pushsection .altinstr_replacement,"ax"
881: lfence
.popsection
.endm
"""
USER, KERNEL = 11 * 32 + 4, 11 * 32 + 5


def path_of(result):
    return getattr(result.verdict, "path", ())


@pytest.fixture
def words(tmp_path, compiler):
    def run(text, rule):
        (tmp_path / "a.s").write_text(HEAD + text)
        subprocess.run([compiler.path, "-c", "-o", tmp_path / "a.o", tmp_path / "a.s"], check=True)
        results = lint(load_image(tmp_path / "a.o"), [rule]).results
        return [(one.verdict.word, path_of(one)[-1].what if path_of(one) else "") for one in results]

    return run


ENTRY = """
.section .entry.text,"ax"
FUNC entry
 testb $3, 8(%rsp)
 jz 1f
 swapgs
 {user}
 mov %gs:0, %rax
 jmp 2f
1: {kernel}
 mov %gs:0, %rax
2: {last}
.size entry, .-entry
"""
BAD = ("violated", "memory through GS before a fence")


@pytest.mark.parametrize(
    ("user", "kernel", "expected"),
    [
        ("lfence", "lfence", [("holds", "")]),
        (f"FENCE {USER}", f"FENCE {KERNEL}", [BAD]),  # with PTI the fence of user entry is not there: CR3 is written
        (f"FENCE {KERNEL}", f"FENCE {KERNEL}", [("holds", "")]),
        (f"FENCE {USER}\n mov %rax, %cr3", f"FENCE {KERNEL}", [("holds", "")]),
        ("nop", "lfence", [BAD]),
        ("lfence", "nop", [BAD]),
        ("lfence", "wrgsbase %rax", [("holds", "")]),
        ("sfence", "lfence", [BAD]),
    ],
)
def test_both_arms_need_the_fence_that_this_machine_has(words, user, kernel, expected):
    assert words(ENTRY.format(user=user, kernel=kernel, last="iretq"), SWAPGS_FENCE_RULE) == expected


def test_a_swapgs_that_no_branch_decides_on_needs_none(words):
    text = '.section .entry.text,"ax"\nFUNC entry\n swapgs\n mov %gs:0, %rax\n sysretq\n.size entry, .-entry\n'
    assert words(text, SWAPGS_FENCE_RULE) == [("holds", "")]
    both = text.replace(" swapgs\n", " testb $1, %al\n jz 1f\n nop\n1: swapgs\n")
    assert words(both, SWAPGS_FENCE_RULE) == [("holds", "")]


def test_c_code_before_the_fence_is_a_use(words):
    text = ENTRY.replace("mov %gs:0, %rax", "call handle").format(user="nop", kernel="lfence", last="iretq")
    handle = '.section .noinstr.text,"ax"\nFUNC handle\n {}\n ret\n.size handle, .-handle\n'
    assert words(text + handle.format("mov %gs:0, %rax"), SWAPGS_FENCE_RULE) == [BAD]
    assert words(text + handle.format("lfence\n mov %gs:0, %rax"), SWAPGS_FENCE_RULE) == [("holds", "")]


def test_a_function_of_entry_code_that_fences_is_followed(words):
    text = ENTRY.format(user="call inner", kernel="lfence", last="iretq")
    inner = "FUNC inner\n {}\n ret\n.size inner, .-inner\n"
    assert words(text + inner.format("lfence"), SWAPGS_FENCE_RULE) == [("holds", "")]
    assert words(text + inner.format("nop"), SWAPGS_FENCE_RULE) == [BAD]


def test_an_image_without_swapgs_is_not_what_it_is_about(words):
    assert words('.section .entry.text,"ax"\nFUNC entry\n iretq\n.size entry, .-entry\n', SWAPGS_FENCE_RULE) == []


IN, OUT = (
    ("lockdep_hardirqs_off", "ct_irq_enter", "trace_hardirqs_off_finish"),
    (
        "trace_hardirqs_on_prepare",
        "lockdep_hardirqs_on_prepare",
        "ct_irq_exit",
        "lockdep_hardirqs_on",
    ),
)


def told(*names):
    calls = "\n".join(f" call {name}" if name != "sti" else " sti" for name in names)
    return f'.section .noinstr.text,"ax"\nFUNC f\n{calls}\n ret\n.size f, .-f\n'


GOOD = [
    IN,
    OUT,
    IN + OUT,
    IN[1:],
    (IN[0], IN[2]),
    OUT[:1] + OUT[2:],
    ("ct_idle_enter", "sti", "ct_idle_exit"),
    (*IN, "sti"),
]
WRONG = [
    (IN[1], IN[0], IN[2]),
    (IN[2], IN[1]),
    (IN[0], IN[2], IN[1]),
    (OUT[2], OUT[0]),
    (OUT[2], OUT[1]),
    (OUT[0], OUT[3], OUT[2]),
    (OUT[2], IN[2]),
    ("__ct_user_enter", "sti", "__ct_user_exit"),
    (IN[0], "sti"),
]


@pytest.mark.parametrize("names", GOOD)
def test_what_is_told_in_order_holds_whatever_is_left_out(words, names):
    assert [word for word, _ in words(told(*names), ORDER_RULE)] == ["holds"]


@pytest.mark.parametrize("names", WRONG)
def test_what_is_told_out_of_order_is_violated(words, names):
    assert "violated" in [word for word, _ in words(told(*names), ORDER_RULE)]


@pytest.mark.shared
def test_on_the_kernel_only_the_return_to_a_16_bit_stack_is_left(shared):
    image = load_image(shared / "data/lint/vmlinux_base.o.xz")
    results = lint(image, [SWAPGS_FENCE_RULE, ORDER_RULE]).results
    found = [(one.id, one.verdict.word, path_of(one)[-1].place if path_of(one) else "") for one in results]
    assert found == [
        ("entry.swapgs-fence", "violated", "common_interrupt_return+0x114"),
        ("entry.swapgs-fence", "violated", "common_interrupt_return+0x151"),
        ("entry.order", "holds", ""),
    ]
