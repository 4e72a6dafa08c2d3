from __future__ import annotations

import lzma
import struct
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nostale.contract import BadInput
from nostale.lint import build_image, lint, load_image
from nostale.outside.compressed import read_whole
from nostale.outside.elf import RELOCATION, parse_elf, read_elf
from nostale.systems.entry.demo import build_demo
from nostale.systems.entry.image import RULES


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    from nostale.contract import NotHere

    try:
        return build_demo(tmp_path_factory.mktemp("elf"), broken=True)
    except NotHere as lacking:
        pytest.skip(str(lacking))


def refused(path):
    with pytest.raises(BadInput) as caught:
        load_image(path)
    return caught.value


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "not an ELF file"),
        (b"#!/bin/sh\n", "not an ELF file"),
        (b"\x7fELF", "4 bytes, less than an ELF header"),
        (b"\x7fELF\x01\x01" + bytes(60), "not a 64-bit little-endian ELF file"),
        (b"\x7fELF\x02\x02" + bytes(60), "not a 64-bit little-endian ELF file"),
        (b"\x7fELF\x02\x01" + bytes(60), "has no section headers"),
    ],
)
def test_what_is_not_a_whole_elf_file_is_refused_in_words(tmp_path, content, what):
    path = tmp_path / "x.o"
    path.write_bytes(content)
    assert refused(path).what == what


def test_a_file_that_is_not_there_and_a_directory_are_refused(tmp_path):
    assert refused(tmp_path / "none.o").what == "no such file"
    assert refused(tmp_path).what == "not a regular file"
    assert refused("/dev/zero").what == "not a regular file"


def changed(demo, offset, form, value):
    data = bytearray(demo.read_bytes())
    struct.pack_into(form, data, offset, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("offset", "form", "value", "what"),
    [
        (18, "<H", 243, "an image for riscv"),
        (18, "<H", 999, "an image for machine 999"),
        (16, "<H", 2, "sections .text and "),
        (16, "<H", 77, "a file of type 77, not a kernel image"),
        (60, "<H", 0xFEFF, "its headers cannot be read ("),
        (62, "<H", 0, "section 0 is not the table of section names"),
        (40, "<Q", 1 << 60, "its headers cannot be read ("),
        (58, "<H", 40, "its headers cannot be read ("),
    ],
)
def test_a_header_that_cannot_be_is_refused_in_words(demo, offset, form, value, what):
    with pytest.raises(BadInput) as caught:
        build_image(parse_elf(changed(demo, offset, form, value), "x.o"))
    assert caught.value.what.startswith(what)


def test_every_truncation_is_refused_or_answered(demo):
    data = demo.read_bytes()
    for length in range(0, len(data), 37):
        with pytest.raises(BadInput):
            build_image(parse_elf(data[:length], "x.o"))


def test_a_packed_image_is_known_by_its_content(demo, tmp_path):
    import zstandard

    for name, packed in (
        ("a", lzma.compress(demo.read_bytes())),
        ("b", zstandard.ZstdCompressor().compress(demo.read_bytes())),
    ):
        path = tmp_path / name
        path.write_bytes(packed)
        assert read_whole(path) == demo.read_bytes()
        path.write_bytes(packed[:-9])
        assert "does not unpack" in refused(path).what
        path.write_bytes(packed[:40] + b"\xff\x00\xff\x00" * 4 + packed[56:])
        assert "does not unpack" in refused(path).what


def test_what_unpacks_to_more_than_the_limit_is_refused_and_never_held(tmp_path):
    import zstandard

    for name, packed in (
        ("a", lzma.compress(bytes(1 << 24))),
        ("b", zstandard.ZstdCompressor().compress(bytes(1 << 24))),
    ):
        path = tmp_path / name
        path.write_bytes(packed)
        with pytest.raises(BadInput, match="more than 1 MiB"):
            read_whole(path, limit_bytes=1 << 20)


def assert_as_pyelftools(path):
    from elftools.elf.elffile import ELFFile

    ours = read_elf(path)
    with path.open("rb") as file:
        theirs = ELFFile(file)
        assert [one.name for one in ours.sections] == [one.name for one in theirs.iter_sections()]
        symbols = list(theirs.get_section_by_name(".symtab").iter_symbols())
        assert [one.entry["st_value"] for one in symbols] == ours.symbols["value"].tolist()
        # A section's own symbol is named after its section there; in the file it has no name.
        names = ["" if one.entry["st_info"]["type"] == "STT_SECTION" else one.name for one in symbols]
        read = [ours.names[at : ours.names.index(0, at)].decode() for at in ours.symbols["name"].tolist()]
        assert names == read
        for section in theirs.iter_sections():
            if section["sh_type"] == "SHT_RELA":
                told = [
                    (one["r_offset"], one["r_info_type"], one["r_info_sym"], one["r_addend"])
                    for one in section.iter_relocations()
                ]
                assert np.array_equal(ours.relocations(section["sh_info"]), np.array(told, RELOCATION))


def test_sections_symbols_and_relocations_are_those_that_pyelftools_reads(demo):
    assert_as_pyelftools(demo)


@pytest.mark.shared
def test_sections_symbols_and_relocations_of_a_kernel_are_those_that_pyelftools_reads(shared, tmp_path):
    path = tmp_path / "base.o"
    path.write_bytes(read_whole(shared / "data/lint/vmlinux_base.o.xz"))
    assert_as_pyelftools(path)


@pytest.mark.shared
def test_the_arm64_object_is_read(shared):
    image = build_image(read_elf(shared / "data/lint/arm64_partial.o.xz"))
    assert image.machine.name == "arm64"
    assert image.section_named(".noinstr.text") is not None


@cache
def _whole(path: Path) -> bytes:
    return path.read_bytes()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
def test_a_damaged_image_gets_an_answer_or_is_refused(demo, changes):
    data = bytearray(_whole(demo))
    headers = struct.unpack_from("<Q", data, 40)[0]
    for where, what, in_headers in changes:
        # Half of them in the section headers, where most of what can go wrong is decided.
        at = int(headers + where * (len(data) - headers)) if in_headers else int(where * len(data))
        data[at : at + len(what)] = what[: len(data) - at]
    try:
        answer = lint(build_image(parse_elf(bytes(data), "x.o")), RULES)
    except BadInput as refused:
        assert refused.what
    else:
        assert answer.results
