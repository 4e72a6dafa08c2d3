"""What one x86-64 instruction reads and writes: registers by their full names, and how it uses its memory operand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Operands:
    """Of one instruction.

    Args:
        mnemonic: in lower case.
        writes: the full (64-bit) names of the general registers that it may write, in lower case.
        destination: the full name of the register that its first operand is, "" for another operand.
        source: likewise of its second.
        reads_memory, writes_memory: whether it does so through its memory operand.
        takes_address: whether the memory operand's address is computed and not used (lea).
        immediate: its immediate operand, None where it has none.
        plain: whether the memory operand is one fixed place: disp32(%rip) or disp32 alone, without %fs or %gs.
        place: the memory operand's own number where it has no register but %rip: an address, or from %gs a distance.
    """

    mnemonic: str
    writes: frozenset[str]
    destination: str
    source: str
    reads_memory: bool
    writes_memory: bool
    takes_address: bool
    immediate: int | None
    plain: bool
    place: int | None


def operands(code: bytes, address: int = 0) -> Operands:
    """Decode the instruction that `code` begins with, which stands at `address`. Cost: about 10 us."""
    from iced_x86 import Decoder, InstructionInfoFactory, OpAccess, OpKind, Register, RegisterInfo

    one = next(iter(Decoder(64, code, ip=address)))
    info = InstructionInfoFactory().info(one)
    names, mnemonics = _names()

    def full(register: int) -> str:
        # The stubs of iced-x86 name a module where a number is meant.
        info = RegisterInfo(register)  # type: ignore[arg-type]
        return names[info.full_register].lower() if register != Register.NONE else ""

    def operand(number: int) -> str:
        if number >= one.op_count or one.op_kind(number) != OpKind.REGISTER:
            return ""
        return full(one.op_register(number))

    writing = {OpAccess.WRITE, OpAccess.COND_WRITE, OpAccess.READ_WRITE, OpAccess.READ_COND_WRITE}
    reading = {OpAccess.READ, OpAccess.COND_READ, OpAccess.READ_WRITE, OpAccess.READ_COND_WRITE}
    memory = any(one.op_kind(number) == OpKind.MEMORY for number in range(one.op_count))
    used = [each.access for each in info.used_memory()] if memory else []
    immediates = [
        one.immediate(number)
        for number in range(one.op_count)
        if OpKind.IMMEDIATE8 <= one.op_kind(number) <= OpKind.IMMEDIATE32TO64
    ]
    fixed = memory and one.memory_base in (Register.NONE, Register.RIP) and one.memory_index == Register.NONE
    return Operands(
        mnemonics[one.mnemonic].lower(),
        frozenset(full(each.register) for each in info.used_registers() if each.access in writing),
        operand(0),
        operand(1),
        any(access in reading for access in used),
        any(access in writing for access in used),
        memory and not any(access in reading or access in writing for access in used),
        immediates[0] if immediates else None,
        fixed and one.segment_prefix == Register.NONE,
        one.memory_displacement if fixed else None,
    )


@cache
def _names() -> tuple[Mapping[int, str], Mapping[int, str]]:
    """Return the names of registers and of mnemonics by their numbers: some thousands, made once."""
    from iced_x86 import Mnemonic, Register

    registers = {value: name for name, value in vars(Register).items() if isinstance(value, int)}
    return registers, {value: name for name, value in vars(Mnemonic).items() if isinstance(value, int)}


def texts(code: bytes, address: int) -> Iterator[tuple[int, str]]:
    """Yield each instruction's address and text in AT&T syntax, one space between parts. Cost: about 3 us each."""
    from iced_x86 import Decoder, Formatter, FormatterSyntax

    formatter = Formatter(FormatterSyntax.GAS)
    for one in Decoder(64, code, ip=address):
        yield one.ip, " ".join(formatter.format(one).split())
