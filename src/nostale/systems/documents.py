"""The documents that are made by running: the table of real bugs, and a page for each dispute. All Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from nostale.contract import Answer, Path, Result, Violated
from nostale.report import path_to_text
from nostale.systems.claims import Bug, Decided, NotShown, Reconstructed, Run, decide, fits, where
from nostale.systems.names import model_name, typed
from nostale.systems.system import System

if TYPE_CHECKING:
    from nostale.prove import Model

Prove = Callable[["Model"], Answer]
_MOST_ROWS = 36


def documents(systems: Sequence[System], prove: Prove, sources: Sequence[Reconstructed]) -> Iterator[tuple[str, str]]:
    """Yield (path below docs/, text) of each document. Runs every model that they speak of.

    Args:
        sources: bugs made again in small. They are compiled and looked at by tests; a document does not depend on the
            compiler of the machine that it is made on.
    """
    yield "bugs.md", _bugs(systems, prove, sources)
    every = [dispute for system in systems for dispute in system.disputes()]
    every.sort(key=lambda one: int(one.id[1:]))
    index = ["# Disputes", ""]
    for id, group in groupby(every, key=lambda one: one.id):
        parts = [decide(one, prove) for one in group]
        index.append(f"- [{id}]({id}.md): {parts[0].dispute.question}")
        yield f"disputes/{id}.md", _page(parts)
    yield "disputes/README.md", "\n".join(index) + "\n"


def _bugs(systems: Sequence[System], prove: Prove, sources: Sequence[Reconstructed]) -> str:
    lines = [
        "# Real bugs, shown by models and in binaries",
        "",
        "Made by running them (`make docs`). Each row is a defect that the kernel or a user of it had: the run with",
        "it must be violated by the interleaving of the row, and the one without must hold within the same bounds.",
    ]
    found = {one.id for one in sources}
    for system in systems:
        rows = system.bugs()
        if not rows:
            continue
        lines += ["", f"## {system.name}", "", "| bug | what failed | with it | without it |", "|---|---|---|---|"]
        lines += [_row(one, prove) for one in rows if isinstance(one, Bug)]
        left = [one for one in rows if isinstance(one, NotShown)]
        if left:
            lines += ["", "Not shown by a model:", ""]
            lines += [
                f"- {one.id}, {one.title}: {one.why}" + ("; in a binary, below" if one.id in found else "")
                for one in left
            ]
    lines += [
        *("", "## In binaries", ""),
        "Each is a small source in [tests/lint/bugs](../tests/lint/bugs): a test compiles it, where there is a",
        "compiler, and the rule finds the defect in the function named, and nothing with `-DFIXED`. Where a bug breaks",
        "a protocol of its own, the automaton that says so stands beside the source and is run by `--contract` and",
        "`--bind`.",
        *("", "| bug | what failed | found by | in |", "|---|---|---|---|"),
    ]
    lines += [_found(one) for one in sources]
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


def _found(one: Reconstructed) -> str:
    by = f"[{one.by}](../tests/lint/bugs/{one.by})" if one.by.endswith(".dot") else f"[{one.by}](reference/{one.by}.md)"
    place = f"`{one.function}()`" + (f", at `{one.callee}()`" if one.callee else "")
    return f"| {one.id} ({one.fix}) | {one.title} | {by} | {place} |"


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
    return f"nostale prove {typed(model_name(model), run.variant, run.settings.items())}"


def _page(parts: Sequence[Decided]) -> str:
    first = parts[0].dispute
    lines = [f"# {first.id}: {first.question}", ""]
    lines += [f"- {who}: {what}" for part in parts for who, what in part.dispute.sides]
    lines += ["", "Made by running the models over every combination of the parameters below (`make docs`)."]
    for part in parts:
        lines += [
            "",
            f"## {part.dispute.model.title or part.dispute.question}",
            "",
            f"`{command(part.dispute.model, Run(part.dispute.variant))}`. ",
        ]
        lines[-1] += f"{part.dispute.question[0].upper()}{part.dispute.question[1:]}"
        lines += _decided(part)
    return "\n".join(lines) + "\n"


def _decided(decided: Decided) -> list[str]:
    dispute, failing = decided.dispute, [run for run in decided.runs if run[1] == "violated"]
    lines = ["", *_conclusion(decided, len(failing)), "", *_table(decided), ""]
    lines += [f"- {name}: {dispute.model.parameters()[name].about}" for name in dispute.over]
    if dispute.exists_why:
        lines += ["", f"Left out: {dispute.exists_why}."]
    told: list[Path] = []
    for item in decided.fails:
        settings, _, answer = next(run for run in failing if fits(item, run[0]))
        result = _broken(decided, answer)
        assert isinstance(result.verdict, Violated)
        if result.verdict.path in told:
            continue
        told.append(result.verdict.path)
        at = Run(dispute.variant, {**dispute.settings, **settings})
        lines += ["", f"How it fails where {_item(item) or 'it does'}: `{command(dispute.model, at)}`"]
        lines += ["", "```text", f"{result.id}: {result.title}", path_to_text(result.verdict.path).rstrip("\n"), "```"]
    assumed = dict.fromkeys(one for _, _, a in decided.runs for r in a.results for one in r.verdict.assumptions)
    lines += ["", "Assumed:", "", *(f"- {one}" for one in assumed)]
    return [*lines, "", f"Not modelled: {dispute.model.not_modelled or 'not stated by the model'}."]


def _table(decided: Decided) -> list[str]:
    """Tell every combination, or, where that would be a long list, the fewest items that stand for all of them."""
    over = decided.dispute.over
    head = [f"| {' | '.join(over)} | verdict | states |", "|" + "---|" * (len(over) + 2)]
    if len(decided.runs) <= _MOST_ROWS:
        return head + [
            f"| {' | '.join(settings[n] for n in over)} | {word}{_besides(decided, answer)} | {_states([answer])} |"
            for settings, word, answer in decided.runs
        ]
    lines = head
    for wanted in ("violated", "unknown", "holds"):
        for item in where(over, [(settings, word == wanted) for settings, word, _ in decided.runs]):
            those = [a for s, _, a in decided.runs if fits(item, s)]
            cells = [", ".join(item[n]) if n in item else "any" for n in over]
            lines.append(f"| {' | '.join(cells)} | {wanted} | {_states(those)} |")
    return lines


def _states(answers: Sequence[Answer]) -> str:
    counts = [answer.search.states for answer in answers if answer.search]
    if not counts:
        return ""
    return f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"


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
        lines.append(f"It holds in the other {rest if rest > 1 else 'one'}.")
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
