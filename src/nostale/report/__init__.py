"""An answer as text, JSON, SARIF, HTML or trace events; the only place that knows colour. Engines return values."""

from typing import TYPE_CHECKING

from nostale.faces import on_demand

if TYPE_CHECKING:
    from nostale.report.html import to_html
    from nostale.report.json import json_pieces, to_json
    from nostale.report.page import page_to_markdown, page_to_text
    from nostale.report.perfetto import to_perfetto
    from nostale.report.sarif import to_sarif
    from nostale.report.text import path_to_text, to_text
else:
    __getattr__ = on_demand(
        __name__,
        html="to_html",
        json="json_pieces to_json",
        page="page_to_markdown page_to_text",
        perfetto="to_perfetto",
        sarif="to_sarif",
        text="path_to_text to_text",
    )

__all__ = [
    "json_pieces",
    "page_to_markdown",
    "page_to_text",
    "path_to_text",
    "to_html",
    "to_json",
    "to_perfetto",
    "to_sarif",
    "to_text",
]
