from __future__ import annotations

import pytest

from nostale.outside.x86_effects import Effect, constant_ecx, effect

CODES = {
    "0f20d8": Effect.CR3_READ,
    "0f22d8": Effect.CR3_WRITE,
    "440f22c0": Effect.CR8_WRITE,
    "0f22e0": Effect.CR_WRITE,
    "0f23f8": Effect.DR_WRITE,
    "0fa2": Effect.CPUID,
    "0f01e8": Effect.SERIALIZE,
    "48cf": Effect.IRET,
    "cf": Effect.IRET,
    "480f07": Effect.SYSRET,
    "0f07": Effect.SYSRET,
    "0f35": Effect.SYSEXIT,
    "f20f01ca": Effect.ERETS,
    "f30f01ca": Effect.ERETU,
    "0f01f8": Effect.SWAPGS,
    "f20f00f0": Effect.LKGS,
    "f3480faed8": Effect.WRGSBASE,
    "f3480faec8": Effect.RDGSBASE,
    "0faee8": Effect.LFENCE,
    "0f30": Effect.WRMSR,
    "0f01c6": Effect.WRMSRNS,
    "660f388200": Effect.INVPCID,
    "660f388000": Effect.INVEPT,
    "0f0138": Effect.INVLPG,
    "0f0110": Effect.LOAD_TABLE,
    "0f00d8": Effect.LOAD_TABLE,
    "0f01d8": Effect.VMENTER,
    "0f01c2": Effect.VMENTER,
    "f4": Effect.HLT,
    "0f01c9": Effect.MWAIT,
    "fb": Effect.STI,
    "fa": Effect.CLI,
    "9d": Effect.POPF,
}


@pytest.mark.parametrize(("code", "what"), CODES.items())
def test_an_instruction_is_told_by_what_it_does(code, what):
    assert effect(bytes.fromhex(code)) is what


@pytest.mark.parametrize("code", ["90", "0f1f4000", "0f20e0", "0f05", "0fc7f0", "f3480faec0", "0f01ee", "65488b0425"])
def test_the_nearest_others_do_nothing_that_is_told_apart(code):
    assert effect(bytes.fromhex(code)) is None


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("b948000000", 0x48),
        ("b948000000" + "89d0" + "48c1ea20", 0x48),
        ("48c7c1480000" + "00", 0x48),
        ("31c9", 0),
        ("b948000000" + "89d1", None),
        ("b948000000" + "e800000000", None),
        ("b948000000" + "0fa2", None),
        ("89d0", None),
    ],
)
def test_the_constant_in_ecx_is_what_was_last_put_there(code, value):
    assert constant_ecx(bytes.fromhex(code)) == value
