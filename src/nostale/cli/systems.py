"""nostale systems: the five, their contracts, requirements and what checks each."""

from __future__ import annotations

from pathlib import Path

import click

from nostale.cli.common import output_options, print_or_write
from nostale.contract import Answer
from nostale.report import page_to_text, to_json
from nostale.systems.catalogue import SYSTEMS
from nostale.systems.pages import checked_by, system_page


@click.command()
@output_options
def systems(form: str, output: Path | None, color: str) -> int:
    """List the five systems: the view, the rule, the contracts and what checks each requirement.

    \b
    nostale systems
    nostale explain TI-7        what one of the numbered requirements says
    """
    del color  # pages have none
    text = to_json(_answer()) if form == "json" else "\n".join(page_to_text(system_page(one)) for one in SYSTEMS)
    print_or_write(text, output)
    return 0


def _answer() -> Answer:
    """List, without a verdict: nothing is checked here."""
    coverage: dict[str, int | str | bool | list[str]] = {}
    for system in SYSTEMS:
        coverage[f"{system.name}.contracts"] = [contract.id for contract in system.contracts]
        coverage[f"{system.name}.requirements"] = [one.id for one in system.requirements()]
        coverage[f"{system.name}.checked"] = [f"{id}: {', '.join(by)}" for id, by in sorted(checked_by(system).items())]
    return Answer("systems", "all", coverage, ())
