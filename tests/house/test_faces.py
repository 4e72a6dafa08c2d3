"""What a package says it gives is there, and nothing else has to be known."""

import importlib
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
