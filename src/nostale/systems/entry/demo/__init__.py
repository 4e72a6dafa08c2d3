"""The demonstration object: a small kernel entry of the project's own, whole or broken, built where it is needed."""

from __future__ import annotations

import shutil
from pathlib import Path

from nostale.contract import NotHere
from nostale.outside.cc import build, find_compiler

SOURCES = ("exception.c", "entry.S")
# As a kernel is built: no red zone, code in the top 2 GiB, nothing that would put calls where the source has none.
FLAGS = (
    "-O2",
    "-std=gnu11",
    "-ffreestanding",
    "-fno-pic",
    "-fno-pie",
    "-mcmodel=kernel",
    "-mno-red-zone",
    "-fcf-protection=none",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fno-jump-tables",
    "-r",
    "-nostdlib",
)


def build_demo(directory: Path, *, broken: bool) -> Path:
    """Compile and link the demonstration into one relocatable x86-64 object.

    Args:
        directory: where the object goes; it must exist.
        broken: whether to break each rule once.

    Returns:
        The object: `demo.o` or `demo-broken.o`.

    Raises:
        NotHere: no C compiler, or one that does not make x86-64 code.
    """
    compiler = find_compiler()
    if compiler is None:
        raise NotHere("the demonstration object", "no C compiler found", remedy="install gcc or clang")
    here = Path(__file__).parent
    flags = (*FLAGS, "-DBROKEN") if broken else FLAGS
    built = build(compiler, [here / name for name in SOURCES], flags, depends=[here / "annotate.h"])
    return Path(shutil.copyfile(built, directory / ("demo-broken.o" if broken else "demo.o")))
