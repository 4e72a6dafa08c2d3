from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from nostale.lint import Image, load_image
from nostale.systems.entry.demo import build_demo

PRELUDE = """
.macro BEGIN
7770: nop
.pushsection .discard.instr_begin,""; .long 7770b - .; .popsection
.endm
.macro END
7771: nop
.pushsection .discard.instr_end,""; .long 7771b - .; .popsection
.endm
.macro FUNC name:req
.globl \\name
.type \\name, @function
\\name:
.endm
.macro ENDF name:req
.size \\name, . - \\name
.endm
.text
FUNC traced
ret
ENDF traced
.section .noinstr.text, "ax"
FUNC quiet
ret
ENDF quiet
"""


def compiler() -> str:
    found = shutil.which("cc") or shutil.which("gcc")
    if found is None:
        pytest.skip("no C compiler")
    return found


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Path]:
    """Compile a source; `suffix` tells its language."""

    def run(source: str, *flags: str, suffix: str = ".s") -> Path:
        path = tmp_path / f"source{suffix}"
        path.write_text(source)
        output = tmp_path / "object.o"
        subprocess.run([compiler(), "-c", "-O2", *flags, "-o", str(output), str(path)], check=True)
        return output

    return run


@pytest.fixture
def assemble(build: Callable[..., Path]) -> Callable[[str], Image]:
    """Assemble a text after the prelude, which leaves off in .noinstr.text."""
    return lambda text: load_image(build(PRELUDE + text + "\n"))


@pytest.fixture(scope="session")
def demos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The demonstration objects, `good` and `broken`."""
    compiler()
    directory = tmp_path_factory.mktemp("demo")
    return {"good": build_demo(directory, broken=False), "broken": build_demo(directory, broken=True)}
