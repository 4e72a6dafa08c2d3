"""The demonstration object: a small kernel entry of the project's own, whole or broken, built where it is needed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from nostale.contract import NotHere

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
    here = Path(__file__).parent
    output = directory / ("demo-broken.o" if broken else "demo.o")
    flags = (*FLAGS, "-DBROKEN") if broken else FLAGS
    compile_object([here / name for name in SOURCES], output, flags)
    return output


def compile_object(sources: Sequence[Path], output: Path, flags: Sequence[str]) -> None:
    """Compile sources into one relocatable object.

    Raises:
        NotHere: no C compiler, or it would not do it.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NotHere("the demonstration object", "no C compiler found", remedy="install gcc or clang")
    command = [compiler, *flags, "-r", "-nostdlib", "-o", str(output), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = next(iter(done.stderr.splitlines()), f"exit status {done.returncode}")
        raise NotHere(
            "the demonstration object",
            f"{compiler} did not compile it: {said}",
            cause="a compiler for another machine",
            remedy="install gcc or clang for x86-64",
        )
