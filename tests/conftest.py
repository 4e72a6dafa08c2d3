import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared data, or a skip that says how to have them."""
    root = Path(os.environ.get("NOSTALE_SHARED", Path(__file__).parents[2] / "shared"))
    if not (root / "data").is_dir():
        pytest.skip(f"no shared data at {root}: set NOSTALE_SHARED")
    return root
