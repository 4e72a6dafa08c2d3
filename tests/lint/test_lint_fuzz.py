"""A seeded part of the fuzz runs; `python -m tests.lint.fuzz` is the whole, by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.lint.fuzz import Outcome, bombs, forms

from nostale.contract import BadInput, NotHere
from nostale.outside.compressed import read_whole

ROOT = Path(__file__).resolve().parents[2]
CASES = 250
_RUN = "import sys; from tests.lint import fuzz; sys.exit(fuzz.main())"


def run(*arguments):
    """Run the fuzzer in a process of its own: it forks."""
    command = [sys.executable, "-c", _RUN, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    try:
        return forms(tmp_path_factory.mktemp("forms"))
    except NotHere as lacking:
        pytest.skip(str(lacking))


def test_every_damaged_image_is_answered_or_refused_in_one_line(images):
    done = run("--cases", CASES, "--seed", 4, *images.values())
    assert done.returncode == 0, done.stdout + done.stderr
    words = done.stdout.splitlines()[0]
    assert words.startswith(f"{CASES} damaged images in ")
    # Not vacuous: some were still images, some no longer held, some could no longer be told.
    for word in ("holds", "violated", "unknown", "refused"):
        assert f"'{word}': " in words


def test_a_file_that_unpacks_to_more_than_there_is_memory_for_is_refused(tmp_path):
    for path in bombs(tmp_path).values():
        assert path.stat().st_size < 1 << 20
        with pytest.raises(BadInput, match="unpacks to more than 64 times its size"):
            read_whole(path)
        done = run("--cases", 0, "--as-is", path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "'refused': 1" in done.stdout


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ("raise RuntimeError", "crash"),
        ("bytes(1 << 30)", "memory"),
        ("while True: pass", "killed"),
        ("__import__('os').abort()", "killed"),
    ],
)
def test_a_crash_a_hang_and_a_lot_of_memory_are_noticed(images, fault, word):
    lines = ["import sys", "from tests.lint import fuzz", "def worked(path):", f"    {fault}"]
    lines += ["fuzz.CPU_LIMIT_S, fuzz._worked, fuzz.warmed = 1, worked, lambda: None", "sys.exit(fuzz.main())"]
    command = [sys.executable, "-c", "\n".join(lines), "--cases", "1", str(images["object"])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, f"{{'{word}': 1}}" in done.stdout) == (1, True), done.stdout + done.stderr


def test_only_an_answer_or_an_error_in_one_line_is_good():
    good = {word for word in ("holds", "violated", "unknown", "refused", "crash", "killed", "memory")
            if Outcome(word, "", 0, 0).good}  # fmt: skip
    assert good == {"holds", "violated", "unknown", "refused"}
