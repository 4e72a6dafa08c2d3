"""Which way a branch goes on an entry of which it is known what it interrupted: those that ask just that.

Entry code asks in two ways: whether the saved CS has a privilege of 3 (`testb $3, CS(%rsp)`, and user_mode(regs) in C),
and in paranoid entries whether CR3 holds the user's page tables (`bt $12, %rax`), arch/x86/entry/calling.h, v6.12.
Both are told by the bytes before them.
"""

from __future__ import annotations

import re

from nostale.lint.assumed import Came
from nostale.lint.image import Class, Image
from nostale.outside.instruction import Instruction

_REGS_CS = 0x88  # offset of pt_regs.cs, arch/x86/include/asm/ptrace.h
_ON_STACK = re.compile(rb"\xf6(?:\x44\x24.|\x84\x24.{4})\x03\Z", re.DOTALL)
_IN_REGS = re.compile(
    rb"\xf6(?:[\x80-\x83\x85-\x87]|\x84\x24)" + re.escape(_REGS_CS.to_bytes(4, "little")) + rb"\x03\Z"
)
_CR3_BIT = re.compile(rb"\x0f\x20[\xd8-\xdf].{0,8}\x48\x0f\xba[\xe0-\xe7]\x0c\Z", re.DOTALL)
_WITHIN_BYTES = 24
_EQUAL, _NOT_EQUAL, _NO_CARRY, _CARRY = 0x4, 0x5, 0x3, 0x2  # condition codes of Jcc


def entry_branch(image: Image, branch: Instruction, came: Came, *, user_cr3: bool) -> bool | None:
    """Return whether a conditional branch jumps on an entry of which it is known what it interrupted.

    Args:
        user_cr3: CR3 holds the user's page tables on entry, which is so with PTI only.

    Returns:
        None where the branch asks something else.
    """
    code = image.read(branch[0], 2)
    condition = (code[1] if code[0] == 0x0F else code[0]) & 0xF
    section = image.section_at(branch[0])
    if section is None:
        return None
    start = max(section.start, branch[0] - _WITHIN_BYTES)
    before = image.read(start, branch[0] - start)
    if condition in (_EQUAL, _NOT_EQUAL):
        asked = _IN_REGS.search(before) or (section.kind is Class.ENTRY and _ON_STACK.search(before))
        return (condition == _NOT_EQUAL) == (came is Came.USER) if asked else None
    if condition in (_NO_CARRY, _CARRY) and user_cr3 and _CR3_BIT.search(before):
        return condition == _CARRY
    return None
