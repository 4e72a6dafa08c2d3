"""The documents that are made by running: the table of real bugs, and a page for each dispute. All Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from nostale.contract import Answer, Path, Result, Violated
from nostale.report import path_to_text
from nostale.systems.claims import Bug, Decided, NotShown, Run, decide
from nostale.systems.names import model_name
from nostale.systems.system import System

if TYPE_CHECKING:
    from nostale.prove import Model

Prove = Callable[["Model"], Answer]


def documents(systems: Sequence[System], prove: Prove) -> Iterator[tuple[str, str]]:
    """Yield (path below docs/, text) of each document. Runs every model that they speak of."""
    yield "bugs.md", _bugs(systems, prove)
    disputes = sorted((one for system in systems for one in system.disputes()), key=lambda one: int(one.id[1:]))
    for dispute in disputes:
        yield f"disputes/{dispute.id}.md", _dispute(decide(dispute, prove))
    yield "disputes/README.md", "# Disputes\n\n" + "".join(f"- [{d.id}]({d.id}.md): {d.question}\n" for d in disputes)


def _bugs(systems: Sequence[System], prove: Prove) -> str:
    lines = [
        "# Real bugs, shown by models",
        "",
        "Made by running them (`make docs`). Each row is a defect that the kernel or a user of it had: the run with",
        "it must be violated by the interleaving of the row, and the one without must hold within the same bounds.",
    ]
    for system in systems:
        rows = system.bugs()
        if not rows:
            continue
        lines += ["", f"## {system.name}", "", "| bug | what failed | with it | without it |", "|---|---|---|---|"]
        lines += [_row(one, prove) for one in rows if isinstance(one, Bug)]
        left = [one for one in rows if isinstance(one, NotShown)]
        if left:
            lines += ["", "Not shown by a model:", "", *(f"- {one.id}, {one.title}: {one.why}" for one in left)]
    return "\n".join(lines) + "\n"


def _row(bug: Bug, prove: Prove) -> str:
    broken = result_of(prove(made(bug, bug.broken)), bug.breaks)
    fixed = prove(made(bug, bug.fixed))
    steps = f", in {len(broken.verdict.path)} steps" if isinstance(broken.verdict, Violated) else ""
    states = f", {fixed.search.states:,} states" if fixed.search else ""
    cells = (
        f"{bug.id} ({bug.fix})",
        bug.title,
        f"`{command(bug.model, bug.broken)}`: {broken.verdict.word} {bug.breaks}{steps}",
        f"`{command(bug.model, bug.fixed)}`: {fixed.verdict}{states}",
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def made(bug: Bug, run: Run) -> Model:
    """Return the model of one run of a bug."""
    return bug.model(dict(run.settings), run.variant)


def result_of(answer: Answer, id: str) -> Result:
    """Return the result of that id, the first violated one if there are several.

    Raises:
        ValueError: the model asks no such thing.
    """
    found = [result for result in answer.results if result.id == id]
    if not found:
        raise ValueError(f"{answer.target} does not ask {id}")
    return next((one for one in found if isinstance(one.verdict, Violated)), found[0])


def command(model: type[Model], run: Run) -> str:
    """Return what a user types for a run."""
    variant = f":{run.variant}" if run.variant else ""
    settings = "".join(f" --set {name}={value}" for name, value in run.settings.items())
    return f"nostale prove {model_name(model)}{variant}{settings}"


def _dispute(decided: Decided) -> str:
    dispute = decided.dispute
    failing = [one for one in decided.runs if one[1] == "violated"]
    lines = [f"# {dispute.id}: {dispute.question}", ""]
    lines += [f"- {who}: {what}" for who, what in dispute.sides]
    lines += ["", "Made by running the model over every combination of the parameters below (`make docs`).", ""]
    lines += ["## What the model says", "", *_conclusion(decided, len(failing))]
    names = list(dispute.over)
    lines += ["", f"| {' | '.join(names)} | verdict | states |", "|" + "---|" * (len(names) + 2)]
    for settings, word, answer in decided.runs:
        states = f"{answer.search.states:,}" if answer.search else ""
        lines.append(f"| {' | '.join(settings[n] for n in names)} | {word}{_besides(decided, answer)} | {states} |")
    if dispute.exists_why:
        lines += ["", f"Left out: {dispute.exists_why}."]
    told: list[Path] = []
    for item in decided.fails:
        settings, _, answer = next(run for run in failing if all(run[0][n] in values for n, values in item.items()))
        result = _broken(decided, answer)
        assert isinstance(result.verdict, Violated)
        if result.verdict.path in told:
            continue
        told.append(result.verdict.path)
        at = Run(dispute.variant, {**dispute.settings, **settings})
        lines += ["", f"## How it fails where {_item(item) or 'it does'}", ""]
        lines += [f"`{command(dispute.model, at)}`", "", "```text", f"{result.id}: {result.title}"]
        lines += [path_to_text(result.verdict.path).rstrip("\n"), "```"]
    assumed = dict.fromkeys(one for _, _, a in decided.runs for r in a.results for one in r.verdict.assumptions)
    lines += ["", "## Assumptions", "", *(f"- {one}" for one in assumed)]
    lines += ["", "## Not modelled", "", dispute.model.not_modelled or "Not stated by the model."]
    return "\n".join(lines) + "\n"


def _conclusion(decided: Decided, failing: int) -> list[str]:
    total = len(decided.runs)
    unknown = sum(word == "unknown" for _, word, _ in decided.runs)
    if not failing and not unknown:
        return [f"It holds in all {total} combinations."]
    lines = [f"It fails in {failing} of {total} combinations, those where:"] if failing else []
    lines += [f"- {_item(item) or 'every one of them'}" for item in decided.fails]
    rest = total - failing - unknown
    lines += [""] if lines else []
    if rest:
        lines.append(f"In the other {rest} it holds.")
    if unknown:
        lines.append(f"{unknown} are not decided: a bound was reached.")
    return lines


def _item(item: Mapping[str, tuple[str, ...]]) -> str:
    return " and ".join(f"{name} = {' or '.join(values)}" for name, values in item.items())


def _broken(decided: Decided, answer: Answer) -> Result:
    return next(r for r in answer.results if r.id in decided.dispute.asked and isinstance(r.verdict, Violated))


def _besides(decided: Decided, answer: Answer) -> str:
    """Say what else is violated: a scene that is never reached makes a proof worth less."""
    others = [r.id for r in answer.results if r.id not in decided.dispute.asked and isinstance(r.verdict, Violated)]
    return f" (and {', '.join(others)})" if others else ""
