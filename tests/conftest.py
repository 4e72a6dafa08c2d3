"""What every test gets: a cache of its own, and the shared data where they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nostale.outside.cc import Compiler, find_compiler

ROOT = Path(__file__).resolve().parents[1]
NOT_RUN: list[str] = []


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing is taken from the user's cache, nothing is left in it."""
    kept = os.environ.get("XDG_CACHE_HOME")
    place = tmp_path_factory.mktemp("cache")
    os.environ["XDG_CACHE_HOME"] = str(place)
    yield place
    if kept is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = kept


def shared_root() -> Path:
    """Where the shared data should be."""
    return Path(os.environ.get("NOSTALE_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared data, or a skip that says how to have them."""
    root = shared_root()
    if not (root / "data").is_dir():
        pytest.skip(f"no shared data at {root}: set NOSTALE_SHARED")
    return root


@pytest.fixture(scope="session")
def compiler() -> Compiler:
    """The C compiler, or a skip."""
    found = find_compiler()
    if found is None:
        pytest.skip("no C compiler (cc, gcc, clang)")
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Count the tests that want the shared data, so that their absence is said and not only skipped."""
    if not (shared_root() / "data").is_dir():
        NOT_RUN.extend(item.nodeid for item in items if item.get_closest_marker("shared"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were not run for want of shared data; .ci/run reads this line."""
    terminalreporter.write_line(f"not run for want of shared data: {len(NOT_RUN)}")
