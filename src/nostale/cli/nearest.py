"""Name the nearest things that exist."""

from __future__ import annotations

import difflib


def nearest(name: str, known: list[str]) -> str:
    """Return a remedy that names the nearest things that exist."""
    close = difflib.get_close_matches(name, known, 3, 0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"there is {', '.join(known)}" if known else "there is none"
