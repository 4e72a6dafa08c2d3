"""A page of explanation as text, and as Markdown for the reference."""

from __future__ import annotations

import textwrap

from nostale.contract import Page

_WIDTH = 100
_COLUMNS = 120  # of the documents


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


def page_to_markdown(page: Page) -> str:
    """Return the page as a document of its own; an example stands as it is, lines of a list each on their own."""
    parts = [f"# {page.id}: {page.title}"]
    for heading, text in page.sections:
        if not text:
            continue
        parts += [f"## {heading}"] if heading else []
        parts.append(f"```\n{text.rstrip()}\n```" if heading == "Example" else _wrapped(text))
    return "\n\n".join(parts) + "\n"


def _wrapped(text: str) -> str:
    listed = "\n" in text and "\n\n" not in text
    lines = text.split("\n")
    if listed and not text.startswith("- "):
        lines = [f"- {line}" for line in lines]
    indent = "  " if listed else ""
    return "\n".join(
        textwrap.fill(line, _COLUMNS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        for line in lines
    )
