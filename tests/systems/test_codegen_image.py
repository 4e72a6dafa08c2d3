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


def test_each_rule_says_everything_that_its_page_needs():
    for rule in RULES:
        assert all((rule.what, rule.why, rule.example, rule.remedy, rule.sources, rule.requirements, rule.title))
