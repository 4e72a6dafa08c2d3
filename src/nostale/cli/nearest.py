"""Name the nearest things that exist."""

from __future__ import annotations

_MOST = 8  # names in one line


def nearest(name: str, known: list[str]) -> str:
    """Return a remedy that names the nearest things that exist."""
    import difflib  # here, because most of what is typed exists

    close = difflib.get_close_matches(name, known, 3, 0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    shown = known if len(known) <= _MOST else [*known[: _MOST - 1], f"{len(known) - _MOST + 1} more"]
    return f"there is {', '.join(shown)}" if known else "there is none"
