import os
import subprocess
import sys
from pathlib import Path

import pytest

from nostale.outside.cache import Cache, key_of


def test_an_entry_is_made_once(tmp_path):
    made = []

    def make(path: Path) -> None:
        made.append(path)
        path.write_text("whole")

    cache = Cache(tmp_path / "c")
    assert cache.entry("k", make).read_text() == cache.entry("k", make).read_text() == "whole" and len(made) == 1


def test_an_entry_that_fails_leaves_nothing_behind(tmp_path):
    cache = Cache(tmp_path / "c")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.entry("k", fail)
    assert list(cache.directory.iterdir()) == [] and cache.recall("k") is None


def test_a_key_tells_where_its_parts_end():
    assert key_of("ab", "c") != key_of("a", "bc") and key_of("a") == key_of("a")


def test_the_directory_is_private(tmp_path):
    assert Cache(tmp_path / "c").directory.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_others_may_write_is_not_used(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c").chmod(0o777)
    assert Cache(tmp_path / "c").directory != tmp_path / "c"


def test_without_a_home_it_serves_the_run_and_leaves_nothing(tmp_path):
    program = (
        "from nostale.outside.cache import Cache; c = Cache(); c.remember('k', 'v');"
        "print(c.directory, Cache().recall('k'))"
    )
    environment = {**os.environ, "HOME": "/proc/nowhere", "XDG_CACHE_HOME": "", "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    directory, held = done.stdout.split()
    assert held == "v" and directory.startswith(str(tmp_path)) and list(tmp_path.iterdir()) == []
