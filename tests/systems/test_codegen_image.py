from __future__ import annotations

import subprocess

import pytest

from nostale.lint import lint, load_image
from nostale.systems.codegen.image import RULES, WX_RULE


def results(tmp_path, compiler, flags):
    source, made = tmp_path / "a.s", tmp_path / "a.o"
    source.write_text(f'.section .stub,"{flags}"\nret\n.data\n.quad 1\n.text\nret\n')
    subprocess.run([compiler.path, "-c", "-o", made, source], check=True)
    return lint(load_image(made), [WX_RULE]).results


@pytest.mark.parametrize(("flags", "word"), [("awx", "violated"), ("ax", "holds"), ("aw", "holds"), ("wx", "holds")])
def test_a_section_is_writable_or_executable_but_not_both(tmp_path, compiler, flags, word):
    (result,) = results(tmp_path, compiler, flags)
    assert result.verdict.word == word


def test_the_section_is_named(tmp_path, compiler):
    (result,) = results(tmp_path, compiler, "awx")
    (step,) = result.verdict.path
    assert (step.place, step.what) == (".stub+0x0", "section .stub is writable and executable (1 bytes)")


LOADED = "PHDRS { text PT_LOAD FLAGS(%d); } SECTIONS { . = 0x400000; .text : { *(.text) *(.stub) *(.data) } :text }"


@pytest.mark.parametrize(("flags", "word"), [(5, "holds"), (6, "holds"), (7, "unknown")])
def test_a_segment_that_is_loaded_writable_and_executable_is_told_and_left_open(tmp_path, compiler, flags, word):
    results(tmp_path, compiler, "ax")
    (tmp_path / "a.lds").write_text(LOADED % flags)
    linked = ["-nostdlib", "-static", "-Wl,--build-id=none,--no-warn-rwx-segments,-e,0"]
    made = [compiler.path, *linked, f"-Wl,-T,{tmp_path / 'a.lds'}", "-o", tmp_path / "vmlinux", tmp_path / "a.o"]
    subprocess.run(made, check=True)
    (result,) = [one for one in lint(load_image(tmp_path / "vmlinux"), [WX_RULE]).results if "+0x" not in last(one)]
    assert result.verdict.word == word
    if word == "unknown":
        assert last(result) == "0x400000"
        assert "segment 0 is loaded writable and executable" in result.verdict.path[0].what
        assert "page tables" in result.verdict.why


def last(result):
    return result.verdict.path[-1].place if getattr(result.verdict, "path", ()) else ""


def test_each_rule_says_everything_that_its_page_needs():
    for rule in RULES:
        assert all((rule.what, rule.why, rule.example, rule.remedy, rule.sources, rule.requirements, rule.title))
