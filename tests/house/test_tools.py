"""The house rules: linters, types, import direction. Each is a tool; its own message says what is wrong and where."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["lint-imports"]],
    ids=" ".join,
)
def test_the_tool_has_nothing_to_say(command):
    if not (BIN / command[0]).exists():
        pytest.skip(f"{command[0]} is not installed: make env-dev")
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# A system that imports another, an engine that imports its sibling, third-party code in an engine: each must be caught.
@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("systems/entry/trespass.py", "import nostale.systems.codegen.contract"),
        ("prove/trespass.py", "import nostale.lint.engine"),
        ("contract/trespass.py", "import nostale.outside.cc"),
        ("watch/trespass.py", "import rich"),
        ("outside/trespass.py", "import nostale.prove.ir"),
        ("report/trespass.py", "import nostale.cli.common"),
    ],
)
def test_a_trespass_is_caught(tmp_path, file, line):
    import shutil

    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "src/nostale" / file).write_text(f'"""Trespass."""\n{line}\n')
    done = subprocess.run(
        [BIN / "lint-imports", "--no-cache"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(tmp_path / "src"), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 1 and "BROKEN" in done.stdout, done.stdout + done.stderr
