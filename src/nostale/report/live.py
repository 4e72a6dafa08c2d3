"""A table of what interrupted so far, for a terminal while watching goes on; imported only there, as rich is slow."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from nostale.contract import Total


def live_table(summed: Sequence[Total], heading: str) -> Table:
    """Return the table; rich draws it."""
    made = Table(title=heading, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column("cause")
    for name in ("count", "total us", "worst us"):
        made.add_column(name, justify="right")
    for one in summed:
        made.add_row(
            str(one.cause), f"{one.count:,}", f"{one.total_ns / 1e3:,.1f}", f"{(one.worst_ns or 0) / 1e3:,.1f}"
        )
    return made
