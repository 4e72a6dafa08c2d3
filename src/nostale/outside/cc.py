"""The one door to the C compiler: generated explorers, and the objects of the demonstrations."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nostale.contract import NotHere
from nostale.outside.cache import Cache, key_of


@dataclass(frozen=True, slots=True)
class Compiler:
    """A C compiler: its path, and what tells this program from another at that path: size and time of the file.

    Asking it for its `--version` would cost a run of it each time.
    """

    path: str
    version: str


def find_compiler() -> Compiler | None:
    """Return the compiler that `$CC` names, else the first of cc, gcc and clang; None where there is none.

    `CC=` set to nothing means that there is none, so that the slower ways can be tried.
    """
    names = [os.environ["CC"]] if "CC" in os.environ else ["cc", "gcc", "clang"]
    for name in names:
        path = shutil.which(name) if name else None
        if path:
            held = Path(path).stat()
            return Compiler(path, f"{held.st_size} {held.st_mtime_ns}")
    return None


def build(
    compiler: Compiler,
    sources: Sequence[Path],
    flags: Sequence[str],
    *,
    depends: Sequence[Path] = (),
    cache: Cache | None = None,
) -> Path:
    """Compile sources into one file and return it, from the cache where nothing changed.

    Args:
        compiler: by `find_compiler`.
        sources: C or assembly files.
        flags: such as `-O2`, and `-c` or `-r` for an object instead of an executable.
        depends: other files that the sources include.
        cache: where results are kept.

    Raises:
        NotHere: the compiler refuses; its first error is told.
    """
    key = _key(compiler, sources, flags, depends)
    return (cache or Cache()).entry(key, lambda path: _compile(compiler, sources, flags, path))


def kept(compiler: Compiler, sources: Sequence[Path], flags: Sequence[str]) -> Path | None:
    """Return what `build` made of the same before, None where it did not or that is gone."""
    path = Cache().directory / _key(compiler, sources, flags, ())
    return path if path.exists() else None


def _key(compiler: Compiler, sources: Sequence[Path], flags: Sequence[str], depends: Sequence[Path]) -> str:
    texts = [text for path in (*sources, *depends) for text in (path.name, path.read_text())]
    return key_of("cc", compiler.path, compiler.version, *flags, *texts)


def build_text(compiler: Compiler, text: str, flags: Sequence[str], cache: Cache | None = None) -> Path:
    """Compile generated C, as `build`."""
    import tempfile  # here, as below: what was compiled before is not compiled again

    with tempfile.TemporaryDirectory(prefix="nostale-cc-") as directory:
        source = Path(directory) / "generated.c"
        source.write_text(text)
        return build(compiler, [source], flags, cache=cache)


def _compile(compiler: Compiler, sources: Sequence[Path], flags: Sequence[str], target: Path) -> None:
    import subprocess

    command = [compiler.path, *flags, "-o", str(target), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        complaints = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise NotHere(
            compiler.path,
            f"does not compile {sources[0].name}: {complaints[0] if complaints else 'no word why'}",
            cause="a compiler without its headers, or for another machine",
            remedy="install gcc and libc6-dev, or set CC=",
        )
