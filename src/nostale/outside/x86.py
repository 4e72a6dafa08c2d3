"""The one door to the x86-64 decoder: bytes in, plain tuples out, with what a walk over control flow needs."""

from __future__ import annotations

from nostale.outside.instruction import Instruction, Kind


def decode(code: bytes | memoryview, address: int) -> list[Instruction]:
    """Decode from the first byte to the last.

    Returns:
        One tuple an instruction, in order. Bytes that do not decode are `INVALID` and as long as the decoder took
        them to be. Cost: about 1 us an instruction.
    """
    from iced_x86 import Code, Decoder, FlowControl, Mnemonic  # here: 30 ms that only a run with an image needs

    straight, branch = FlowControl.NEXT, FlowControl.CONDITIONAL_BRANCH
    nop, invalid = Mnemonic.NOP, Code.INVALID
    found: list[Instruction] = []
    for one in Decoder(64, bytes(code), ip=address):
        flow = one.flow_control
        if flow == straight:
            found.append((one.ip, one.len, Kind.PAD if one.mnemonic == nop else Kind.NEXT, 0))
        elif one.code == invalid:
            found.append((one.ip, max(one.len, 1), Kind.INVALID, 0))
        elif flow == branch:
            found.append((one.ip, one.len, Kind.BRANCH, one.near_branch_target))
        elif flow == FlowControl.UNCONDITIONAL_BRANCH:
            near = one.is_jmp_short_or_near
            found.append((one.ip, one.len, Kind.JUMP if near else Kind.RESUME, one.near_branch_target if near else 0))
        elif flow == FlowControl.INDIRECT_BRANCH:
            found.append((one.ip, one.len, Kind.JUMP_INDIRECT if one.is_jmp_near_indirect else Kind.RESUME, 0))
        elif flow == FlowControl.CALL:
            # SYSCALL, VMLAUNCH and their like count as calls to the decoder; they come back to the next instruction.
            near = one.is_call_near
            found.append((one.ip, one.len, Kind.CALL if near else Kind.NEXT, one.near_branch_target if near else 0))
        elif flow == FlowControl.INDIRECT_CALL:
            found.append((one.ip, one.len, Kind.CALL_INDIRECT, 0))
        elif flow == FlowControl.RETURN:
            # A near return goes to the caller; iret, sysret, sysexit and far returns to another context.
            found.append((one.ip, one.len, Kind.RETURN if one.mnemonic == Mnemonic.RET else Kind.RESUME, 0))
        elif flow == FlowControl.EXCEPTION:
            found.append((one.ip, one.len, Kind.STOP, 0))
        elif flow == FlowControl.XBEGIN_XABORT_XEND and one.near_branch_target:
            found.append((one.ip, one.len, Kind.BRANCH, one.near_branch_target))
        else:  # int3 and int n come back
            found.append((one.ip, one.len, Kind.PAD if one.mnemonic == Mnemonic.INT3 else Kind.NEXT, 0))
    return found


def constants(code: bytes, address: int) -> list[tuple[int, int, bool]]:
    """Return what an instruction holds that may name a place in memory; near branch targets are not among them.

    Returns:
        (offset of the field in the instruction, place, whether the field is the distance from the instruction's end).
        Operands relative to %fs or %gs name another place on every CPU and are left out.
    """
    from iced_x86 import Decoder, OpKind, Register

    decoder = Decoder(64, code, ip=address)
    one = decoder.decode()
    fields = decoder.get_constant_offsets(one)
    found = []
    if fields.displacement_size >= 4 and one.segment_prefix not in (Register.FS, Register.GS):
        relative = one.is_ip_rel_memory_operand
        place = one.ip_rel_memory_address if relative else one.memory_displacement
        found.append((fields.displacement_offset, place, relative))
    if fields.immediate_size >= 4:
        immediates = (OpKind.IMMEDIATE32, OpKind.IMMEDIATE64, OpKind.IMMEDIATE32TO64)
        for at in range(one.op_count):
            if one.op_kind(at) in immediates:
                found.append((fields.immediate_offset, one.immediate(at), False))
    return found
