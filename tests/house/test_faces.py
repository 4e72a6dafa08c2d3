"""What a package says it gives is there, and nothing else has to be known."""

import importlib
import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["contract", "prove", "lint", "watch", "report"])
def test_everything_in_a_face_is_there_and_sorted_once(name):
    face = importlib.import_module(f"nostale.{name}")
    assert len(set(face.__all__)) == len(face.__all__)
    for one in face.__all__:
        assert hasattr(face, one), f"nostale.{name} names {one} in __all__ but has no such thing"
        assert not inspect.ismodule(getattr(face, one)), f"nostale.{name} gives the module {one} for what is in it"


@pytest.mark.parametrize("name", ["contract", "watch", "report"])
def test_a_part_that_is_imported_first_does_not_take_a_name_of_the_face(name):
    """Run in a process of its own: what is imported stays imported."""
    code = (
        f"import importlib, inspect, pkgutil, nostale.{name} as face\n"
        "for part in pkgutil.iter_modules(face.__path__):\n"
        "    importlib.import_module(face.__name__ + '.' + part.name)\n"
        "assert not [one for one in face.__all__ if inspect.ismodule(getattr(face, one))]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_dependency_is_used_and_declared():
    """A package in pyproject.toml that nothing imports, or an import that is not declared, is an error."""
    import re

    declared = {
        re.match(r"[A-Za-z0-9-]+", d)[0]
        for d in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    }
    names = {
        "click": "click",
        "iced-x86": "iced_x86",
        "numpy": "numpy",
        "pyelftools": "elftools",
        "rich": "rich",
        "zstandard": "zstandard",
    }
    text = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    used = {package for package, module in names.items() if re.search(rf"^\s*(import|from) {module}\b", text, re.M)}
    assert declared == used
