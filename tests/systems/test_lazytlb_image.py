"""lazytlb.return-path on small ways back of our own."""

from __future__ import annotations

import subprocess

import pytest

from nostale.lint import lint, load_image
from nostale.systems.lazytlb.image import RETURN_PATH_RULE

TEXT = """
.macro PTI
661: jmp 665f
662:
.pushsection .altinstr_replacement,"ax"
663: .byte 0x66, 0x90
664:
.popsection
.pushsection .altinstructions,"a"
.long 661b - ., 663b - .
.short 7*32+11, 0
.byte 662b - 661b, 664b - 663b
.popsection
 mov %rdi, %cr3
665:
.endm
.text
.type traced, @function
traced: ret
.size traced, . - traced
.section .entry.text,"ax"
.globl entry_SYSCALL_64
entry_SYSCALL_64:
{body}
.size entry_SYSCALL_64, . - entry_SYSCALL_64
"""


def results(tmp_path, compiler, body):
    source, made = tmp_path / "a.s", tmp_path / "a.o"
    source.write_text(TEXT.replace("{body}", body) + "\n")
    subprocess.run([compiler.path, "-c", "-o", made, source], check=True)
    found = lint(load_image(made), [RETURN_PATH_RULE])
    words = {one.title.rsplit("(", 1)[1].rstrip(")"): one.verdict.word for one in found.results}
    return words, [row for table in found.tables for row in table.rows], found.results


@pytest.mark.parametrize(
    ("body", "pti", "without"),
    [
        (" call traced\n sysretq", "unknown", "unknown"),
        (" call traced\n iretq", "holds", "holds"),
        (" call traced\n sysexit", "unknown", "unknown"),
        (" call traced\n PTI\n sysretq", "holds", "unknown"),
        (" PTI\n call traced\n sysretq", "unknown", "unknown"),
        (" call traced\n cpuid\n sysretq", "holds", "holds"),
        (" call traced\n lfence\n sysretq", "unknown", "unknown"),
        (" call traced\n mov $0x48, %ecx\n wrmsr\n sysretq", "unknown", "unknown"),
        (" sysretq", "holds", "holds"),
        (" call traced\n test %eax, %eax\n jz 1f\n iretq\n1: sysretq", "unknown", "unknown"),
    ],
)
def test_a_way_back_synchronises_after_the_code_that_may_switch(tmp_path, compiler, body, pti, without):
    words, _, _ = results(tmp_path, compiler, body)
    assert words == {"PTI": pti, "no PTI": without}


def test_every_way_back_is_listed_with_its_cr3_write(tmp_path, compiler):
    _, rows, _ = results(tmp_path, compiler, " call traced\n PTI\n test %eax, %eax\n jz 1f\n iretq\n1: sysretq")
    assert rows == [
        ("PTI", "entry_SYSCALL_64+0xe", "IRET", "by itself", "entry_SYSCALL_64+0x7", "entry_SYSCALL_64"),
        ("PTI", "entry_SYSCALL_64+0x10", "SYSRET", "before it", "entry_SYSCALL_64+0x7", "entry_SYSCALL_64"),
        ("no PTI", "entry_SYSCALL_64+0xe", "IRET", "by itself", "none", "entry_SYSCALL_64"),
        ("no PTI", "entry_SYSCALL_64+0x10", "SYSRET", "no", "none", "entry_SYSCALL_64"),
    ]


def test_the_doubt_tells_the_way_and_what_is_missing(tmp_path, compiler):
    _, _, found = results(tmp_path, compiler, " call traced\n sysretq")
    verdict = found[0].verdict
    assert [step.what for step in verdict.path] == [
        "entered",
        "traced runs and may switch tasks",
        "SYSRET to user mode",
    ]
    assert verdict.why.startswith("cannot tell whether what ran before in the kernel has synchronised the core")


def test_an_image_that_never_goes_back_is_not_said_to_hold(tmp_path, compiler):
    words, _, _ = results(tmp_path, compiler, "1: jmp 1b")
    assert words == {"PTI": "unknown", "no PTI": "unknown"}


@pytest.mark.shared
def test_the_ways_back_of_a_kernel(shared):
    found = lint(load_image(shared / "data/lint/vmlinux_base.o.xz"), [RETURN_PATH_RULE])
    words = {(one.title.rsplit("(", 1)[1].rstrip(")"), one.verdict.word) for one in found.results}
    assert words == {("PTI", "holds"), ("no PTI", "unknown"), ("FRED", "unknown")}
    ways = {(row[0], row[2], row[3]) for row in found.tables[0].rows}
    assert {("PTI", "SYSRET", "before it"), ("no PTI", "SYSRET", "no"), ("no PTI", "IRET", "by itself")} <= ways
    assert any(row[:1] == ("FRED",) and row[2] == "ERETU" for row in found.tables[0].rows)
