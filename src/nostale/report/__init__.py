"""A verdict as text or JSON; the only place that knows colour. Engines return values, this renders them."""

from nostale.report.json import to_json
from nostale.report.page import page_to_text
from nostale.report.text import to_text

__all__ = ["page_to_text", "to_json", "to_text"]
