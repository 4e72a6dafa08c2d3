"""One instruction as a walk over control flow needs it, whatever machine it is for; the decoders make these."""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """How an instruction passes control on."""

    NEXT = 0  # to the next instruction
    PAD = 1  # likewise, and does nothing: what fills the space between functions
    JUMP = 2
    BRANCH = 3  # conditional: to its target or to the next instruction
    JUMP_INDIRECT = 4
    CALL = 5
    CALL_INDIRECT = 6
    RETURN = 7
    RESUME = 8  # iret, sysret, sysexit, far return or jump, eret: to another context
    STOP = 9  # ud0, ud1, ud2, brk, udf: a trap that nobody returns from, unless it is said that somebody does
    INVALID = 10
    DATA = 11  # not an instruction: the assembler says that data stands between the code here


Instruction = tuple[int, int, Kind, int]  # address, length in bytes, kind, target (near jumps and calls, else 0)
