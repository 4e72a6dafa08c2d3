from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The directory of the shared data; a test that needs it is not run where it is absent."""
    default = Path(__file__).resolve().parents[1].parent / "shared"
    directory = Path(os.environ.get("NOSTALE_SHARED", default))
    if not (directory / "data").is_dir():
        pytest.skip(f"no shared data in {directory}: set NOSTALE_SHARED")
    return directory
