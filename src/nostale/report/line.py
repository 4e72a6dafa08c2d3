"""A line of text in parts with styles; painted only where colour is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

_PAINT: dict[str, dict[str, Any]] = {
    "": {},
    "bold": {"bold": True},
    "dim": {"dim": True},
    "holds": {"fg": "green"},
    "violated": {"fg": "red", "bold": True},
    "unknown": {"fg": "yellow"},
    "lane": {"fg": "cyan"},
}


@dataclass(frozen=True, slots=True)
class Line:
    """Parts of (text, style); a style is a verdict's word, `bold`, `dim`, `lane` or ""."""

    parts: tuple[tuple[str, str], ...]

    def painted(self, *, colour: bool) -> str:
        """Return the text, with ANSI codes if `colour`."""
        if not colour:
            return "".join(text for text, _ in self.parts)
        return "".join(click.style(text, **_PAINT[style]) if style else text for text, style in self.parts)


def line(*parts: str | tuple[str, str]) -> Line:
    """Make a line; a part without a style is a plain string."""
    return Line(tuple(part if isinstance(part, tuple) else (part, "") for part in parts))


def safe(text: str) -> str:
    r"""Return text from outside with its control characters made visible: a name must not steer the terminal.

    >>> safe("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
