from __future__ import annotations

import random
import re
import shutil
import subprocess

import pytest

from nostale.outside.arm64 import decode
from nostale.outside.elf import read_elf
from nostale.outside.instruction import Kind

OBJDUMP = "aarch64-linux-gnu-objdump"
RAW = ("-D", "-b", "binary", "-m", "aarch64")
CONDITIONS = (
    "eq ne cs cc mi pl vs vc hi ls ge lt gt le al nv hs lo none any nlast last first nfrst pmore plast tcont tstop"
)
KINDS = {
    "b": Kind.JUMP,
    "bl": Kind.CALL,
    **dict.fromkeys(("cbz", "cbnz", "tbz", "tbnz"), Kind.BRANCH),
    **{f"{form}.{condition}": Kind.BRANCH for form in ("b", "bc") for condition in CONDITIONS.split()},
    **dict.fromkeys(("br", "braa", "brab", "braaz", "brabz"), Kind.JUMP_INDIRECT),
    **dict.fromkeys(("blr", "blraa", "blrab", "blraaz", "blrabz"), Kind.CALL_INDIRECT),
    **dict.fromkeys(("ret", "retaa", "retab"), Kind.RETURN),
    **dict.fromkeys(("eret", "eretaa", "eretab", "drps"), Kind.RESUME),
    "nop": Kind.PAD,
    "udf": Kind.STOP,
    "brk": Kind.STOP,
}


def comes_back(immediate):
    """BRK by immediate: the debugger's, KASAN's, kCFI's."""
    return immediate == 0x400 or 0x900 <= immediate <= 0x9FF or 0x8000 <= immediate <= 0x83FF


@pytest.mark.parametrize(
    ("word", "kind", "target"),
    [
        (0xD503201F, Kind.PAD, 0),
        (0xD503245F, Kind.NEXT, 0),  # bti c
        (0xD503233F, Kind.NEXT, 0),  # paciasp
        (0x91000000, Kind.NEXT, 0),
        (0x14000001, Kind.JUMP, 0x1004),
        (0x17FFFFFF, Kind.JUMP, 0xFFC),
        (0x94000002, Kind.CALL, 0x1008),
        (0x54000020, Kind.BRANCH, 0x1004),
        (0x54FFFFE1, Kind.BRANCH, 0xFFC),
        (0x34000040, Kind.BRANCH, 0x1008),
        (0xB5FFFFE3, Kind.BRANCH, 0xFFC),
        (0x36080043, Kind.BRANCH, 0x1008),
        (0xB7FFFFE3, Kind.BRANCH, 0xFFC),
        (0xD61F0020, Kind.JUMP_INDIRECT, 0),
        (0xD71F0821, Kind.JUMP_INDIRECT, 0),  # braa x1, x1
        (0xD63F0020, Kind.CALL_INDIRECT, 0),
        (0xD63F083F, Kind.CALL_INDIRECT, 0),  # blraaz x1
        (0xD65F03C0, Kind.RETURN, 0),
        (0xD65F0BFF, Kind.RETURN, 0),  # retaa
        (0xD69F03E0, Kind.RESUME, 0),
        (0xD69F0FFF, Kind.RESUME, 0),  # eretab
        (0xD4000001, Kind.NEXT, 0),  # svc
        (0xD4000002, Kind.NEXT, 0),  # hvc
        (0xD4000003, Kind.NEXT, 0),  # smc
        (0xD4400000, Kind.NEXT, 0),  # hlt
        (0xD4210000, Kind.STOP, 0),  # brk #0x800, BUG() and WARN()
        (0xD4207D00, Kind.STOP, 0),  # brk #1000, __builtin_trap()
        (0xD4208000, Kind.NEXT, 0),  # brk #0x400, kgdb
        (0xD4212000, Kind.NEXT, 0),  # brk #0x900, KASAN
        (0x00000000, Kind.STOP, 0),
        (0x0000FFFF, Kind.STOP, 0),
        (0x02000000, Kind.INVALID, 0),
        (0xD6E00000, Kind.INVALID, 0),
    ],
)
def test_each_kind_of_instruction_is_told(word, kind, target):
    assert decode(word.to_bytes(4, "little"), 0x1000) == [(0x1000, 4, kind, target)]


def test_targets_are_addresses_of_64_bits():
    top = 0xFFFF800080000000
    assert decode(0x17FFFFFF.to_bytes(4, "little"), top) == [(top, 4, Kind.JUMP, top - 4)]
    assert decode(0x17FFFFFF.to_bytes(4, "little"), 0) == [(0, 4, Kind.JUMP, (1 << 64) - 4)]


def test_decoding_goes_on_to_the_last_byte():
    assert decode(bytes.fromhex("1f2003d5c003"), 0) == [(0, 4, Kind.PAD, 0), (4, 2, Kind.INVALID, 0)]


def disassembled(path, *how):
    """Return (address, word, mnemonic, operands) of every word as objdump has it."""
    if shutil.which(OBJDUMP) is None:
        pytest.skip(f"no {OBJDUMP}: apt-get install binutils-aarch64-linux-gnu")
    text = subprocess.run([OBJDUMP, *RAW, "-z", *how, path], check=True, capture_output=True, text=True).stdout
    line = re.compile(r"^ *([0-9a-f]+):\t([0-9a-f]{8}) \t([^\t\n]+)(?:\t([^\n]*))?$", re.MULTILINE)
    return [(int(at, 16), int(word, 16), name, rest) for at, word, name, rest in line.findall(text)]


def assert_as_objdump(path, *how):
    """Each word's kind and target; what objdump does not know may be anything but a jump."""
    listed = disassembled(path, *how)
    found = decode(path.read_bytes(), 0)
    assert [one[0] for one in listed] == [one[0] for one in found]
    for (at, word, name, rest), (_, _, kind, target) in zip(listed, found):
        expected = KINDS.get(name, Kind.NEXT)
        if name == ".inst" or "undefined" in rest:
            assert kind in (Kind.INVALID, Kind.NEXT), (hex(word), kind)
            continue
        if name == "brk" and comes_back(int(rest.split()[0].lstrip("#"), 16)):
            expected = Kind.NEXT
        assert kind is expected, (hex(word), name, rest)
        if kind in (Kind.JUMP, Kind.CALL, Kind.BRANCH):
            assert target == int(rest.split(" //")[0].split()[-1], 16), (hex(at), name, rest)


def test_random_words_pass_control_on_as_objdump_says(tmp_path):
    random.seed(183)
    groups = [(0, 32), (0x14000000, 26), (0x54000000, 25), (0xD4000000, 24), (0xD5000000, 22), (0xD6000000, 25)]
    words = [value | random.getrandbits(bits) for value, bits in groups for _ in range(20_000)]
    # The registers of a branch to one are mostly fixed bits, which chance would not find.
    words += [0xD6000000 | op << 21 | 0x1F << 16 | random.getrandbits(16) for op in range(16) for _ in range(2_000)]
    words += [0xD6000000 | op << 21 | 31 << 16 | extra << 10 | 31 << 5 | 31 for op in range(16) for extra in range(64)]
    path = tmp_path / "words"
    path.write_bytes(b"".join(word.to_bytes(4, "little") for word in words))
    assert_as_objdump(path, "-M", "no-aliases")


@pytest.mark.shared
def test_every_word_of_the_arm64_object_is_as_objdump_says(shared, tmp_path):
    file = read_elf(shared / "data/lint/arm64_partial.o.xz")
    path = tmp_path / "code"  # without relocations, which objdump would show in place of the words' own targets
    path.write_bytes(b"".join(file.content(section) for section in file.sections if section.executable))
    assert path.stat().st_size > 80_000
    assert_as_objdump(path)
