"""What tells the kernel of an entry is told of the way back, on every path of a function that does both."""

from __future__ import annotations

import subprocess

import pytest

from nostale.lint import lint, load_image
from nostale.systems.entry.image import PAIRING_RULE

HEAD = """
.section .noinstr.text,"ax"
.globl f
.type f, @function
f:
"""
ENTER, EXIT = "call irqentry_nmi_enter", "call irqentry_nmi_exit"
BODY = f"""
 test %edi, %edi
 {{early}}
 {ENTER}
 test %esi, %esi
 {{missed}}
 {EXIT}
1: {{last}}
"""


@pytest.fixture
def found(tmp_path, compiler):
    def run(body):
        (tmp_path / "a.s").write_text(f"{HEAD}{body}\n.size f, . - f\n")
        subprocess.run([compiler.path, "-c", "-o", tmp_path / "a.o", tmp_path / "a.s"], check=True)
        results = lint(load_image(tmp_path / "a.o"), [PAIRING_RULE]).results
        return [(one.verdict.word, one.verdict.path[-1].what if one.verdict.word != "holds" else "") for one in results]

    return run


HOLDS = [("holds", "")]
OPEN = [("violated", "returns after irqentry_nmi_enter() without irqentry_nmi_exit()")]


@pytest.mark.parametrize(
    ("early", "missed", "last", "expected"),
    [
        ("nop", "nop", "ret", HOLDS),
        ("nop", "jz 1f", "ret", OPEN),
        ("jz 1f", "nop", "ret", HOLDS),
        # That another path returns early, at the same place, does not hide the one that leaves it open.
        ("jz 1f", "jz 1f", "ret", OPEN),
        ("nop", "nop", f"{ENTER}\n {EXIT}\n ret", HOLDS),
        ("nop", "nop", f"{ENTER}\n ret", OPEN),
        ("nop", "nop", f"{EXIT}\n ret", [("violated", "call of irqentry_nmi_exit()")]),
        ("nop", "jz 1f", f"jmp irqentry_nmi_exit\n.globl more\nmore: {EXIT}\n ret", None),
        ("nop", f"{ENTER}", "ret", [("violated", "call of irqentry_nmi_enter()")]),
        ("nop", "nop", "ud2", HOLDS),
        ("nop", "jz 2f", "ret\n2: ud2", HOLDS),
        ("nop", "jz 2f", "ret\n2: jmp elsewhere", OPEN),
    ],
)
def test_the_halves_alternate_and_none_is_open_at_a_return(found, early, missed, last, expected):
    results = found(BODY.format(early=early, missed=missed, last=last))
    if expected is None:  # the second half by a tail call closes too; what comes to it closed already is the violation
        expected = [("violated", "tail call of irqentry_nmi_exit()")]
    assert results == expected


def test_halves_behind_a_branch_each_may_ask_the_same(found):
    one = f"test %edi, %edi\n jz 1f\n {ENTER}\n1: test %edi, %edi\n jz 2f\n {EXIT}\n2: ret"
    assert [word for word, _ in found(one)] == ["unknown", "unknown"]


def test_a_branch_after_both_that_does_not_lead_to_the_second_half_is_no_excuse(found):
    guarded = f"test %edi, %edi\n jz 1f\n {ENTER}\n test %esi, %esi\n jz 1f\n {EXIT}\n1: test %edx, %edx"
    assert found(f"{guarded}\n jnz 2f\n ret\n2: ud2") == OPEN


def test_one_half_alone_is_a_half_itself_and_nothing_to_look_at(found):
    assert found(f"{ENTER}\n ret") == []


def test_two_pairs_do_not_mix(found):
    assert found(f"{ENTER}\n call ct_irq_enter\n {EXIT}\n call ct_irq_exit\n ret") == HOLDS
