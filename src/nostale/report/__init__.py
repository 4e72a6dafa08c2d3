"""A verdict as text, JSON or SARIF; the only place that knows colour. Engines return values, this renders them."""

from nostale.report.json import to_json
from nostale.report.page import page_to_markdown, page_to_text
from nostale.report.sarif import to_sarif
from nostale.report.text import path_to_text, to_text

__all__ = ["page_to_markdown", "page_to_text", "path_to_text", "to_json", "to_sarif", "to_text"]
