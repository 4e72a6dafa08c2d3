"""nostale systems: the five, their contracts, requirements and what checks each."""

from __future__ import annotations

from pathlib import Path

import click

from nostale.cli.common import output_options, print_or_write
from nostale.contract import Answer
from nostale.report import json_pieces, page_to_text
from nostale.systems.catalogue import SYSTEMS
from nostale.systems.pages import system_page


@click.command()
@output_options
def systems(form: str, output: Path | None, color: str) -> int:
    """List the five systems: the view, the rule, the contracts and what checks each requirement.

    As JSON it also runs the models, and says of each requirement what they say of it now.

    \b
    nostale systems
    nostale systems --format json
    nostale explain TI-7        what one of the numbered requirements says
    """
    del color  # pages have none
    text = json_pieces(_answer()) if form == "json" else "\n".join(page_to_text(system_page(one)) for one in SYSTEMS)
    print_or_write(text, output)
    return 0


def _answer() -> Answer:
    from nostale.cli.prove import default_means, run  # here: most uses of this command prove nothing
    from nostale.systems.names import model_name
    from nostale.systems.requirements import checked

    means = default_means()
    every = tuple(checked(SYSTEMS, lambda model: run(model, model_name(type(model)), means)))
    coverage: dict[str, int | str | bool | list[str]] = {}
    for system in SYSTEMS:
        coverage[f"{system.name}.contracts"] = [contract.id for contract in system.contracts]
        coverage[f"{system.name}.models"] = [model_name(model) for model in system.models()]
        coverage[f"{system.name}.requirements"] = sum(one.system == system.name for one in every)
    return Answer("systems", "all", coverage, (), requirements=every)
