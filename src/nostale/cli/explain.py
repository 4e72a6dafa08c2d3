"""nostale explain: a contract, rule, model, requirement or system: what, why, source, remedy."""

from __future__ import annotations

import click

from nostale.cli.nearest import nearest
from nostale.contract import BadInput
from nostale.report import page_to_text
from nostale.systems.pages import pages


@click.command()
@click.argument("id")
def explain(id: str) -> int:
    """Explain ID: a system, contract, rule, model or numbered requirement.

    \b
    nostale explain entry.noinstr-escape
    nostale explain TI-7
    nostale explain TextPoke
    """
    known = {page.id: page for page in pages()}
    found = known.get(id) or {key.lower(): page for key, page in known.items()}.get(id.lower())
    if found is None:
        raise BadInput(id, "nothing of that name can be explained", remedy=nearest(id, list(known)))
    click.echo(page_to_text(found), nl=False)
    return 0
