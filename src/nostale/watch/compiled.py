"""The one door to this engine's compiled C: one library of all its sources."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from nostale.contract import NotHere
from nostale.outside.cc import Compiler, build, find_compiler, kept

_SOURCES: Final = ("scan.c", "perfscan.c", "relate.c", "walk.c", "group.c", "symbols.c")
_FLAGS: Final = ("-O2", "-shared", "-fPIC")


def library(*, worth_compiling: bool) -> ctypes.CDLL | None:
    """Return the compiled library, None where there is none: each of its functions has an equal in Python.

    Args:
        worth_compiling: compile it now if that was not done before; it takes about 0.2 s.
    """
    if worth_compiling or _built.cache_info().currsize:
        return _built()
    return _kept()


@functools.cache
def _built() -> ctypes.CDLL | None:
    return _loaded(build)


@functools.cache
def _kept() -> ctypes.CDLL | None:
    return _loaded(kept)


def _loaded(find: Callable[[Compiler, Sequence[Path], Sequence[str]], Path | None]) -> ctypes.CDLL | None:
    compiler = find_compiler()
    if compiler is None:
        return None
    try:
        path = find(compiler, [Path(__file__).with_name(name) for name in _SOURCES], _FLAGS)
        return None if path is None else ctypes.CDLL(str(path))
    except (NotHere, OSError):  # a compiler that has no headers; a cache on a file system mounted noexec
        return None
