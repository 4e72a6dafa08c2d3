"""Source lines and inlined copies against binutils, on both machines, of objects and linked, in both versions."""

from __future__ import annotations

import lzma
import re
import shutil
import subprocess
from posixpath import normpath

import pytest

from nostale.contract import BadInput
from nostale.lint import Class, build_image, lint, load_image
from nostale.outside.elf import parse_elf
from nostale.systems.entry.image import RULES

HEADER = """
static inline __attribute__((always_inline)) int from_header(int x)
{
	asm volatile("nop");
	return x * 3;
}
"""
SOURCE = """
#include "part.h"
int sink(int);
static inline __attribute__((always_inline)) int inner(int x)
{
	asm volatile("nop");
	return x + 1;
}
static inline __attribute__((always_inline)) int outer(int x)
{
	if (x & 1)
		return inner(x) * 5;
	return from_header(x);
}
__attribute__((section(".noinstr.text"))) int f(int x)
{
	int y = outer(x);
	if (y > 3)
		sink(y);
	return inner(y);
}
__attribute__((section(".noinstr.text"))) int g(int x)
{
	return x ? sink(x) : outer(x + 1);
}
int elsewhere(int x)
{
	return outer(sink(x));
}
__attribute__((noinline)) int sink(int x)
{
	asm volatile("");
	return x;
}
"""
MACHINES = {"x86-64": ("gcc", ""), "arm64": ("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-")}


@pytest.fixture(params=["x86-64", "arm64"])
def tools(request):
    """(compiler, prefix of binutils) of each machine."""
    compiler, prefix = MACHINES[request.param]
    for tool in (compiler, f"{prefix}addr2line", f"{prefix}objdump", f"{prefix}ld"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}")
    return compiler, prefix


@pytest.fixture
def compiled(tools, tmp_path):
    def run(*flags):
        (tmp_path / "part.h").write_text(HEADER)
        (tmp_path / "unit.c").write_text(SOURCE)
        command = [tools[0], "-c", "-O2", "-fno-pic", "-fno-stack-protector", *flags, "unit.c", "-o", "unit.o"]
        subprocess.run(command, cwd=tmp_path, check=True)
        return tmp_path / "unit.o"

    return run


def linked(tools, path):
    output = path.with_name("vmlinux")
    command = [f"{tools[1]}ld", "-Ttext=0x10000", "-e", "0", "-o", str(output), str(path)]
    subprocess.run(command, check=True)
    return output


def addr2line(tools, path, section, addresses):
    """Return what addr2line says of each address, "" where it does not know."""
    given = [] if section is None else ["-j", section.name]
    offsets = [address if section is None else address - section.start for address in addresses]
    text = subprocess.check_output(
        [f"{tools[1]}addr2line", "-e", str(path), *given, *map(hex, offsets)], text=True, cwd=path.parent
    )
    lines = [re.sub(r" \(discriminator \d+\)", "", line) for line in text.splitlines()]
    return ["" if line.endswith((":?", ":0")) else normpath(line) for line in lines]


@pytest.mark.parametrize("form", ["object", "linked"])
@pytest.mark.parametrize(
    "flags",
    [
        ("-gdwarf-5",),
        ("-gdwarf-4",),
        ("-gdwarf-5", "-gz=zlib"),
        ("-gdwarf-5", "-gno-as-loc-support"),
        ("-gdwarf-5", "-ffunction-sections"),
    ],
    ids=lambda flags: " ".join(flags),
)
def test_every_instruction_has_the_line_that_addr2line_tells(tools, compiled, flags, form):
    path = compiled(*flags)
    if form == "linked":
        path = linked(tools, path)
    image = load_image(path)
    seen = 0
    for section in image.sections:
        if section.kind is Class.DATA:
            continue
        inside = image.symbols.functions.containing  # of the fillers between functions addr2line guesses
        addresses = [one[0] for one in image.decoded(section.start, section.end) if inside(one[0])]
        theirs = addr2line(tools, path, None if image.linked else section, addresses) if addresses else []
        ours = [image.source(address) for address in addresses]
        told = [f"{path.parent}/{one}" if one else "" for one in ours]
        assert told == theirs
        seen += sum(one is not None for one in ours)
    assert seen > 20
    assert image.source(1) is None


def inlined_by_objdump(tools, path, names):
    """Return (name, how many copies) as objdump shows the entries."""
    text = subprocess.check_output([f"{tools[1]}objdump", "--dwarf=info", str(path)], text=True, stderr=-3)
    named, counted = {}, dict.fromkeys(names, 0)
    entries = re.split(r"(?m)^ <[0-9a-f]+><([0-9a-f]+)>: ", text)
    for offset, body in zip(entries[1::2], entries[2::2], strict=True):
        name = re.search(r"DW_AT_name .*?: (?:\(.*?\): )?(\S+)\s*$", body, re.M)
        if "DW_TAG_subprogram" in body and name:
            named[offset] = name[1]
    for body in entries[2::2]:
        origin = re.search(r"DW_AT_abstract_origin: <0x([0-9a-f]+)>", body)
        if "DW_TAG_inlined_subroutine" in body and origin and named.get(origin[1]) in counted:
            counted[named[origin[1]]] += 1
    return counted


@pytest.mark.parametrize("version", ["-gdwarf-4", "-gdwarf-5"])
def test_inlined_copies_are_those_that_objdump_shows_and_lie_in_their_lines(tools, compiled, version):
    path = compiled(version)
    image = load_image(path)
    names = ("inner", "outer", "from_header")
    found = image.inlined(names)
    counted = inlined_by_objdump(tools, path, names)
    assert {name: sum(one.name == name for one in found) for name in names} == counted
    assert min(counted.values()) > 0
    body = {"inner": range(4, 9), "from_header": range(2, 7)}
    for one in found:
        for start, end in one.spans if one.name in body else ():
            assert start < end
            lines = [image.source(at[0]) for at in image.decoded(start, end)]
            assert all(int(line.rpartition(":")[2]) in body[one.name] for line in lines)


def test_without_debugging_information_nothing_is_told(tools, compiled):
    image = load_image(compiled())
    assert image.source(image.symbols.named("f").address) is None
    assert image.inlined(["inner"]) is None


def test_a_step_of_a_finding_has_its_line(tools, compiled):
    answer = lint(load_image(compiled("-gdwarf-5")), RULES)
    escapes = [one.verdict for one in answer.results if one.id == "entry.noinstr-escape"]
    paths = [one.path for one in escapes if one.word != "holds" and one.path]
    lines = {SOURCE.splitlines()[int(path[-1].source.removeprefix("unit.c:")) - 1].strip() for path in paths}
    assert lines == {"sink(y);", "return x ? sink(x) : outer(x + 1);"}


def test_damaged_debugging_information_is_refused_or_tells_nothing_and_never_hangs(tools, compiled):
    path = compiled("-gdwarf-5")
    data = path.read_bytes()
    sections = [one for one in parse_elf(data, "x").sections if one.name.startswith(".debug_")]
    for section in sections:
        for at in range(section.offset, section.offset + min(section.size_bytes, 60)):
            for value in (0, 0x7F, 0xFF):
                damaged = bytearray(data)
                damaged[at] = value
                image = build_image(parse_elf(bytes(damaged), "x"))
                start = image.symbols.named("f").address
                for address in range(start, start + 40, 4):
                    image.source(address)
                try:
                    image.inlined(["inner"])
                except BadInput as error:
                    assert "debugging information cannot be read" in error.what


def test_the_lines_of_a_packed_image_are_read_too(tools, compiled, tmp_path):
    path = compiled("-gdwarf-5")
    packed = tmp_path / "unit.o.xz"
    packed.write_bytes(lzma.compress(path.read_bytes()))
    image = load_image(packed)
    assert image.source(image.symbols.named("f").address).startswith("unit.c:")
