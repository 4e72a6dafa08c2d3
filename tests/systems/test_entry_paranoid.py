"""CR3 before GS in entries that hit anywhere, and the NMI latch before what unmasks NMIs."""

from __future__ import annotations

import lzma
import subprocess

import pytest

from nostale.lint import build_image, lint, load_image
from nostale.outside.elf import parse_elf
from nostale.systems.entry.image import CR3_BEFORE_GS_RULE, NMI_LATCH_RULE

PTI, FSGSBASE = 7 * 32 + 11, 9 * 32
HEAD = """
.macro FUNC name:req
.globl \\name
.type \\name, @function
\\name:
.endm
.macro UNLESS feature target
661: jmp \\target
662:
.pushsection .altinstructions,"a"
.long 661b - ., 663f - .
.short \\feature, 0
.byte 662b - 661b, 664f - 663f
.popsection
.pushsection .altinstr_replacement,"ax"
663: .skip 2, 0x90
664:
.popsection
.endm
"""
SWITCH = "mov %cr3, %rax\n mov %rax, %r14\n and $0xffffffffffffe7ff, %rax\n mov %rax, %cr3"
ENTRY = f"""
.section .entry.text,"ax"
FUNC asm_exc_debug
 testb $3, 0x10(%rsp)
 jnz from_user
 {{before}}
 UNLESS {PTI} 1f
 {{switch}}
1: UNLESS {FSGSBASE} 2f
 rdgsbase %rbx
 mov table, %rax
 wrgsbase %rax
 jmp 3f
2: swapgs
3: mov %gs:0, %rax
 call exc_debug
 UNLESS {PTI} 4f
 mov %r14, %cr3
4: {{after}}
 iretq
from_user:
 swapgs
 mov %gs:0, %rax
 {SWITCH}
 call exc_debug
 iretq
.size asm_exc_debug, . - asm_exc_debug
.section .noinstr.text,"ax"
FUNC exc_debug
 ret
.size exc_debug, . - exc_debug
"""


@pytest.fixture
def found(tmp_path, compiler):
    def run(text, rule):
        (tmp_path / "a.s").write_text(HEAD + text)
        subprocess.run([compiler.path, "-c", "-o", tmp_path / "a.o", tmp_path / "a.s"], check=True)
        results = lint(load_image(tmp_path / "a.o"), [rule]).results
        return [
            (one.verdict.word, getattr(one.verdict, "path", ())[-1:] and one.verdict.path[-1].what) for one in results
        ]

    return run


HOLDS = [("holds", ())]
THROUGH = [("violated", "memory through GS on the user's page tables")]


@pytest.mark.parametrize(
    ("before", "switch", "after", "expected"),
    [
        ("nop", SWITCH, "nop", HOLDS),
        ("mov %gs:8, %rax", SWITCH, "nop", THROUGH),
        ("wrgsbase %rax", SWITCH, "nop", [("violated", "WRGSBASE of a value that kernel memory holds")]),
        ("rdgsbase %rbx\n swapgs", SWITCH, "nop", HOLDS),
        ("call early", SWITCH, "nop", [("violated", "early() on the user's page tables")]),
        ("nop", SWITCH, "mov %gs:8, %rax", THROUGH),
        ("nop", SWITCH, "wrgsbase %rbx\n swapgs", HOLDS),
        ("nop", SWITCH, f"{SWITCH}\n mov %gs:8, %rax", HOLDS),
        # Not the kernel's page tables: the bits are set, or another register is cleared of other bits.
        ("nop", SWITCH.replace("and $0xffffffffffffe7ff", "or $0x1800"), "nop", None),
        ("nop", SWITCH.replace("e7ff", "efff"), "nop", None),
    ],
)
def test_the_kernels_page_tables_come_first_and_go_last(found, before, switch, after, expected):
    results = found(ENTRY.format(before=before, switch=switch, after=after), CR3_BEFORE_GS_RULE)
    if expected is None:
        assert {word for word, _ in results} == {"violated"}
    else:
        assert results == expected


def test_an_entry_that_never_switches_is_not_taken_for_one_that_does(found):
    (first, *_) = found(ENTRY.format(before="nop", switch="nop", after="nop"), CR3_BEFORE_GS_RULE)
    assert first[0] == "violated"


@pytest.mark.shared
def test_the_kernels_paranoid_entry_holds_and_is_found_out_without_its_cr3(shared):
    """Twin: paranoid_entry's one write of CR3 made a NOP of the same length."""
    data = lzma.decompress((shared / "data/lint/vmlinux_base.o.xz").read_bytes())
    image = build_image(parse_elf(data, "vmlinux_base.o"))
    (result,) = lint(image, [CR3_BEFORE_GS_RULE]).results
    assert result.verdict.word == "holds"
    place = image.symbols.named("paranoid_entry").address + 0x5D
    assert image.read(place, 3) == b"\x0f\x22\xd8"  # mov %rax, %cr3
    section = image.section_at(place)
    whole = bytes(image.content(section))
    at = data.index(whole) + place - section.start
    broken = build_image(parse_elf(data[:at] + b"\x0f\x1f\x00" + data[at + 3 :], "broken.o"))
    words = {
        (one.verdict.word, one.verdict.path[-1].place.split("+")[0])
        for one in lint(broken, [CR3_BEFORE_GS_RULE]).results
    }
    assert ("violated", "paranoid_entry") in words


NMI = """
.section .noinstr.text,"ax"
FUNC helper
 {helper}
 ret
.size helper, . - helper
FUNC exc_nmi
 test %edi, %edi
 jz 1f
 {early}
1: movl $1, nmi_state(%rip)
 {late}
 ret
.size exc_nmi, . - exc_nmi
.comm nmi_state, 4
.text
FUNC plain
 ret
"""
WARN = """9: ud2
.pushsection .discard.reachable,""
.long 9b + 2
.popsection"""


@pytest.mark.parametrize(
    ("helper", "early", "late", "expected"),
    [
        ("nop", "call helper", "iretq", HOLDS),
        ("iretq", "call helper", "nop", [("violated", "IRET unmasks NMIs")]),
        ("iretq", "nop", "call helper", HOLDS),
        ("nop", "iretq", "nop", [("violated", "IRET unmasks NMIs")]),
        ("nop", "ud2", "nop", HOLDS),
        (WARN, "call helper", "nop", [("violated", "a trap that comes back, as WARN()")]),
        ("nop", "call plain", "nop", [("unknown", "call of plain()")]),
        ("nop", "nop", "call plain", HOLDS),
        ("movl $1, nmi_state(%rip)", "call helper\n iretq", "nop", HOLDS),
        ("movl nmi_state(%rip), %eax", "call helper\n iretq", "nop", [("violated", "IRET unmasks NMIs")]),
    ],
)
def test_nothing_unmasks_nmis_before_the_handler_says_that_it_runs(found, helper, early, late, expected):
    assert found(NMI.format(helper=helper, early=early, late=late), NMI_LATCH_RULE) == expected


def test_an_image_without_these_entries_is_not_about_them(found):
    empty = '.section .noinstr.text,"ax"\nFUNC f\n ret\n'
    assert found(empty, NMI_LATCH_RULE) == found(empty, CR3_BEFORE_GS_RULE) == []
