"""A page of explanation as text."""

from __future__ import annotations

import textwrap

from nostale.contract import Page

_WIDTH = 100


def page_to_text(page: Page) -> str:
    """Return the page, wrapped where its text has no line breaks of its own, with a final line break."""
    lines = [f"{page.id}: {page.title}"]
    for heading, text in page.sections:
        if not text:
            continue
        lines += ["", heading]
        for paragraph in text.split("\n"):
            lines += (
                textwrap.wrap(
                    paragraph,
                    _WIDTH,
                    initial_indent="  ",
                    subsequent_indent="  ",
                    drop_whitespace=True,
                    replace_whitespace=False,
                )
                if len(paragraph) > _WIDTH
                else ([f"  {paragraph}".rstrip()])
            )
    return "\n".join(lines) + "\n"
