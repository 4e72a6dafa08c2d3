"""Documents say what is true: their sessions are run and must print what they show."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "src").rglob("*.md"))]
SESSION = re.compile(r"```console\n(.*?)```", re.S)


def sessions() -> list[tuple[str, str, str]]:
    """Each (document, command, what it shows); `...` in what is shown stands for any lines."""
    found = []
    for document in DOCUMENTS:
        for block in SESSION.findall(document.read_text()):
            for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
                command, _, shown = part.partition("\n")
                found.append((str(document.relative_to(ROOT)), command, shown))
    return found


def prepared(document: str, command: str) -> None:
    """Run what the document compiles before this command, in its order: a session alone must work too."""
    for other, before, _ in sessions():
        if (other, before) == (document, command):
            return
        if other == document and before.startswith("cc "):
            (ROOT / "build").mkdir(exist_ok=True)
            subprocess.run(before, shell=True, cwd=ROOT, check=True)


@pytest.mark.parametrize(("document", "command", "shown"), sessions(), ids=lambda x: str(x)[:50])
def test_a_session_prints_what_the_document_shows(document, command, shown, compiler, tmp_path):
    if not command.startswith(("nostale ", "cc ", "make -s ")):
        pytest.skip(f"not a nostale command: {command}")
    prepared(document, command)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )
    pattern = r"(?:.*\n)*?".join(re.escape(part) for part in re.split(r"^\.\.\.\n", shown, flags=re.M))
    assert re.fullmatch(pattern, done.stdout), f"{document}: $ {command}\n{done.stdout}\n{done.stderr}"


def test_every_link_to_a_file_leads_somewhere():
    for document in [*DOCUMENTS, *ROOT.glob("*.md"), *(ROOT / "src").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_nothing_names_this_machine():
    words = re.compile(r"/work/|/root/|farm-|\.library")
    for path in [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*"),
        *(ROOT / "src").rglob("*.py"),
        *(ROOT / "bench").rglob("*"),
    ]:
        if path.is_file() and path.suffix != ".pyc":
            assert not words.search(path.read_text()), path


def test_the_guides_model_is_the_example_file():
    page = (ROOT / "docs/guide/model.md").read_text()
    shown = "\n\n".join(block.rstrip() for block in re.findall(r"```python\n(.*?)```", page, re.S))
    assert (ROOT / "docs/examples/deferred_sync.py").read_text() == f"{shown}\n"
