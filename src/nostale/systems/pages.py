"""Everything that can be explained, as pages: systems, contracts, rules, models, requirements and words for breaks."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nostale.contract import Contract, Page, Requirement
from nostale.systems.catalogue import SYSTEMS
from nostale.systems.requirements import checks
from nostale.systems.system import System

if TYPE_CHECKING:
    from nostale.prove import Model


def pages() -> Iterator[Page]:
    """Yield every page; ids are unique."""
    for system in SYSTEMS:
        yield system_page(system)
        for contract in system.contracts:
            yield contract_page(system, contract)
        for model in system.models():
            yield _model_page(model)
        for requirement in system.requirements():
            yield _requirement_page(system, requirement)


def engines(system: System, contract: Contract) -> list[str]:
    """Return what this contract is bound in."""
    found = [
        f"prove ({model.__name__})"
        for model in system.models()
        if any(bind.binding.contract is contract for bind in model().contracts())
    ]
    found += ["lint" for rule in system.rules() if rule.contract is contract]
    found += ["watch" for watched in system.watched if watched is contract]
    return found


def system_page(system: System) -> Page:
    """Return the page of one system."""
    contracts = "\n".join(
        f"{one.id}: {one.title} ({', '.join(engines(system, one)) or 'not checked yet'})" for one in system.contracts
    )
    rows = [f"{one.id:6} {_how_far(one):7}  {one.text}" for one in system.requirements()]
    return Page(
        system.name,
        system.title,
        (
            ("The observer's view", system.view),
            ("Change, which makes it stale", system.change),
            ("Sync, which makes it fresh", system.sync),
            ("Use, by the observer", system.use),
            ("Rely, by who changed it", system.rely),
            ("Contracts", contracts or "none yet"),
            ("Requirements of its source thread", "\n".join(rows)),
        ),
    )


def _how_far(requirement: Requirement) -> str:
    if any(checks(SYSTEMS, requirement)):
        return "checked"
    return "cannot" if requirement.unchecked else "not yet"


def contract_page(system: System, contract: Contract) -> Page:
    """Return the page of a contract: of one that lint checks, what the rule does, by fixed headings."""
    rules = [rule for rule in system.rules() if rule.contract is contract]
    events = "\n".join(
        f"{one.name} ({one.role}, of {', '.join(one.keys) or 'everything'}): {one.what}" for one in contract.events
    )
    assumed = dict.fromkeys(one for rule in rules for one in rule.binding.assumptions)
    return Page(
        contract.id,
        contract.title,
        (
            ("What it does", "\n\n".join(rule.what for rule in rules)),
            ("Why it is bad", contract.why),
            ("Example", "\n".join(rule.example for rule in rules)),
            ("Remedy", contract.remedy),
            ("Source", "\n".join(source.text for source in contract.sources)),
            ("Requirements", ", ".join(contract.requirements)),
            ("Events", events),
            ("Assumed", "\n".join(assumed)),
            ("Checked by", "\n".join(engines(system, contract)) or "nothing yet"),
        ),
    )


def reference() -> Iterator[tuple[str, Page]]:
    """Yield (file name, page) of the reference: a page a contract, and one that lists them."""
    rows = []
    for system in SYSTEMS:
        for contract in system.contracts:
            yield f"{contract.id}.md", contract_page(system, contract)
            checks = ", ".join(engines(system, contract)) or "not checked yet"
            rows.append(f"- [{contract.id}]({contract.id}.md): {contract.title} ({checks})")
    yield (
        "README.md",
        Page("Reference", "every contract, from the same objects as `nostale explain`", (("", "\n".join(rows)),)),
    )


def _model_page(model: type[Model]) -> Page:
    variants = "\n".join(f"{name}: {one.about} (expected: {one.expect})" for name, one in model.variants().items())
    parameters = "\n".join(f"{name} = {one.default}: {one.about}" for name, one in model.parameters().items())
    hole = f"{model.expect}: it shows a hole that is there today" if model.expect != "holds" else ""
    return Page(
        model.__name__,
        model.title,
        (
            ("What it models", inspect.getdoc(model) or ""),
            ("Expected", hole),
            ("Parameters, by --set", parameters),
            ("Variants", variants),
            ("Not modelled", model.not_modelled),
            ("Written in", f"{inspect.getmodule(model).__name__}" if inspect.getmodule(model) else ""),  # type: ignore[union-attr]
        ),
    )


def _requirement_page(system: System, requirement: Requirement) -> Page:
    by = [f"{kind} {name}" for kind, name in checks(SYSTEMS, requirement)]
    return Page(
        requirement.id,
        f"a requirement of {system.name}",
        (
            ("What it says", requirement.text),
            ("Checkable by", requirement.kind),
            ("Checked by", "\n".join(by) or requirement.unchecked or "nothing yet"),
            ("Source", "the source thread of this system; numbered in nostale's own list"),
        ),
    )
