"""Everything that is installed to run nostale may be used under Apache-2.0's terms beside it."""

import re
from importlib.metadata import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PERMISSIVE = re.compile(
    r"\b(MIT|BSD|Apache|PSF|Python Software Foundation|ISC|Zlib|0BSD|CC0|Unlicense|public domain)", re.I
)
COPYLEFT = re.compile(r"\bA?GPL|\bAffero|GNU General", re.I)


def locked() -> list[str]:
    """Names in the lock file of what is needed to run."""
    return re.findall(r"^([A-Za-z0-9_.-]+)==", (ROOT / "requirements.lock").read_text(), re.M)


def licence(name: str) -> str:
    found = metadata(name)
    classifiers = [c for c in found.get_all("Classifier") or [] if c.startswith("License ::")]
    return " ".join([found.get("License-Expression") or "", (found.get("License") or "")[:200], *classifiers])


def test_every_locked_package_has_a_hash():
    text = (ROOT / "requirements.lock").read_text() + (ROOT / "requirements-dev.lock").read_text()
    for block in re.split(r"\n(?=[a-z])", text):
        assert "==" not in block or "--hash=sha256:" in block, block


def test_the_lock_names_no_host():
    for name in ("requirements.lock", "requirements-dev.lock"):
        assert "://" not in (ROOT / name).read_text()


@pytest.mark.parametrize("name", locked())
def test_the_licence_is_permissive(name):
    assert PERMISSIVE.search(licence(name)) and not COPYLEFT.search(licence(name)), licence(name)
