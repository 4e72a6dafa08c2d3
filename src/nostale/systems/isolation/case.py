"""The page "may text-patch IPIs to isolated CPUs be deferred?": one contract on the design, the image and the machine.

In the form that the review of 2020 asked for (TI-16, TI-17, TI-24): why this approach, which constraints, why they hold
or do not, side effects, bounds. All of it is from the runs; what was not looked at is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nostale.contract import Answer, Interruption, Vanishes, Violated
from nostale.prove import Model
from nostale.report import path_to_text
from nostale.systems.isolation.contract import DEFERRED_SYNC
from nostale.systems.isolation.deferral import Cr3CatchUp, TellEverybody, WorkBit

TITLE = "May text-patch IPIs to isolated CPUs be deferred?"
RULE = "codegen.patchable-before-sync"  # of lint, which audits what runs before the catch-up
MEASURE = "defer-text-patch"  # of watch, which says which breaks would vanish
Settings = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Design:
    """One design that the page speaks of: a run of a model, and the verdict that is expected of it."""

    name: str
    model: type[Model]
    variant: str = ""
    settings: Settings = ()
    expected: str = "violated"

    def made(self) -> Model:
        """Return the model to be run."""
        return self.model(dict(self.settings), self.variant)


DESIGNS = (
    Design("mainline: every CPU is interrupted", TellEverybody, expected="holds"),
    Design("v4: a CPU is spared by its state", WorkBit, "by-state"),
    Design("v5 to v7: spared while RCU does not watch; the bit stays until after the sync", WorkBit, expected="holds"),
    Design("v5 to v7, the bit is taken by the step that finds it", WorkBit, "", (("bit", "taken"),)),
    Design("v5 to v7, patches of noinstr text deferred too", WorkBit, "", (("site", "noinstr"), ("fallback", "no"))),
    Design("v8: caught up by loading the kernel's CR3", Cr3CatchUp, expected="holds"),
    Design("v8, the signal cleared before the user's CR3 is loaded", Cr3CatchUp, "early-clear"),
    Design("v8, without page-table isolation", Cr3CatchUp, "", (("pti", "no"),)),
)


def page(proved: Sequence[tuple[Design, Answer]], linted: Answer | None, watched: Answer | None) -> str:
    """Return the page as Markdown.

    Args:
        proved: the runs of `DESIGNS`.
        linted: what `RULE` says of an image, None where none was given.
        watched: what a trace says, with what-ifs; None where none was given.
    """
    lines = [
        f"# {TITLE}",
        "",
        *_in_short(proved, linted, watched),
        "",
        *_why_this(watched),
        "",
        *_constraints(),
        "",
        *_why_they_hold(proved),
    ]
    lines += ["", *_in_the_way(linted), "", *_side_effects(proved, watched), "", *_bounds(proved, linted, watched)]
    return "\n".join(lines) + "\n"


def _in_short(proved: Sequence[tuple[Design, Answer]], linted: Answer | None, watched: Answer | None) -> Iterator[str]:
    held = [design.name for design, answer in proved[1:] if answer.verdict == "holds"]
    yield f"- The design: {len(held)} of the {len(proved) - 1} ways to defer that were tried hold: {'; '.join(held)}."
    if linted is None:
        yield "- The image: none was given."
    else:
        sets: dict[str, set[str]] = {}
        for result in linted.results:
            sets.setdefault(result.title.rpartition("(")[2].rstrip(")"), set()).add(result.verdict.word)
        for word, told in (("violated", "something stands in the way"), ("holds", "nothing stands in the way")):
            those = [name for name, words in sets.items() if word in words]
            if those:
                yield f"- The image, {told}: {'; '.join(those)}."
        open_ones = [name for name, words in sets.items() if words == {"unknown"}]
        if open_ones:
            yield f"- The image, not decided: {'; '.join(open_ones)}."
    if watched is None or watched.breaks is None:
        yield "- The machine: no recording was given."
    else:
        spared, kept = _vanishing(watched.breaks)
        total = sum(spared.values()) + sum(kept.values())
        yield f"- The machine: {sum(spared.values()):,} of {total:,} interruptions would vanish."


def _why_this(watched: Answer | None) -> Iterator[str]:
    yield "## Why this approach"
    yield ""
    yield "A text patch interrupts every CPU, also those that will run nothing of the kernel for a long time."
    if watched is None or watched.breaks is None:
        yield "How often that happens was not looked at: no trace was given (`--trace`)."
        return
    spared, kept = _vanishing(watched.breaks)
    yield f"In `{watched.target}` {len(watched.breaks):,} interruptions were seen; deferring the IPIs of text patches"
    yield f"would have spared {sum(spared.values()):,} of them:"
    yield ""
    yield "| cause | would vanish | would stay or is not known |"
    yield "|---|---|---|"
    for cause in sorted({*spared, *kept}, key=lambda one: (-spared[one], one)):
        yield f"| {cause} | {spared[cause]:,} | {kept[cause]:,} |"


def _vanishing(breaks: Sequence[Interruption]) -> tuple[Counter[str], Counter[str]]:
    spared: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for one in breaks:
        told = next((each for each in one.what_if if each.measure == MEASURE), None)
        (spared if told and told.vanishes is Vanishes.YES else kept)[str(one.cause.kind)] += 1
    return spared, kept


def _constraints() -> Iterator[str]:
    contract = DEFERRED_SYNC
    yield "## Which constraints"
    yield ""
    yield f"`{contract.id}`: {contract.title}. {contract.why[0].upper()}{contract.why[1:]}."
    yield ""
    yield from (f"- {event.name} ({event.role}): {event.what}." for event in contract.events)
    yield ""
    yield f"Requirements: {', '.join(contract.requirements)} (`nostale explain TI-7`)."


def _why_they_hold(proved: Sequence[tuple[Design, Answer]]) -> Iterator[str]:
    yield "## Why they hold, or do not"
    yield ""
    yield "Every interleaving of one CPU that comes and goes, NMIs at every step, and a patcher:"
    yield ""
    yield "| design | verdict | states | run |"
    yield "|---|---|---|---|"
    for design, answer in proved:
        states = f"{answer.search.states:,}" if answer.search else ""
        yield f"| {design.name} | {answer.verdict}{_broken(answer)} | {states} | `nostale prove {answer.target}` |"
    for design, answer in proved:
        for result in answer.results:
            if isinstance(result.verdict, Violated) and result.verdict.path:
                yield from ("", f"How it fails, {design.name}:", "", "```text")
                yield path_to_text(result.verdict.path).rstrip("\n")
                yield "```"


def _broken(answer: Answer) -> str:
    names = [one.id.partition(".")[2] for one in answer.results if isinstance(one.verdict, Violated)]
    return f" ({', '.join(names)})" if names else ""


def _in_the_way(linted: Answer | None) -> Iterator[str]:
    yield "## What stands in the way on this image"
    yield ""
    if linted is None:
        yield "Not looked at: no image was given (`--image`)."
        return
    yield f"`{linted.target}`, every kernel entry up to its sync point, per assumed feature set:"
    yield ""
    said = Counter(f"{result.verdict.word}: {result.title}" for result in linted.results)
    yield from (f"- {text}" + (f" ({times} findings)" if times > 1 else "") for text, times in said.items())
    for table in linted.tables:
        yield ""
        yield f"{table.title}:"
        yield ""
        yield f"| {' | '.join(table.columns)} |"
        yield "|" + "---|" * len(table.columns)
        yield from (f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in _together(table.rows))


def _together(rows: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Put rows that differ in their first cell only into one, where that saves a page."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for first, *rest in rows:
        alike.setdefault(tuple(rest), []).append(first)
    yield from ((", ".join(names), *rest) for rest, names in alike.items())


def _side_effects(proved: Sequence[tuple[Design, Answer]], watched: Answer | None) -> Iterator[str]:
    yield "## Side effects"
    yield ""
    yield "- Until it comes in, a spared CPU keeps the old text: whoever waits for all CPUs to have run the new one (a"
    yield "  freed trampoline, a module's text) needs another proof than the patcher's return."
    spares_nobody = [d.name for d, a in proved if any("spared" in one for one in _broken(a).strip(" ()").split(", "))]
    for name in spares_nobody:
        yield f"- {name[0].upper()}{name[1:]}: nobody is ever spared; the cost of the way in is paid for nothing."
    yield "- What the catch-up costs each kernel entry is not measured here."
    if watched is not None and watched.breaks is not None:
        yield "- What a measure would have spared is argued from the events of one recording, break by break."


def _bounds(proved: Sequence[tuple[Design, Answer]], linted: Answer | None, watched: Answer | None) -> Iterator[str]:
    yield "## Bounds and assumptions"
    yield ""
    answers = [answer for _, answer in proved] + [one for one in (linted, watched) if one is not None]
    said = dict.fromkeys(one for answer in answers for r in answer.results for one in r.verdict.assumptions)
    yield from (f"- {one}" for one in said)
    for name in dict.fromkeys(str(answer.coverage["not modelled"]) for _, answer in proved):
        yield f"- not modelled: {name}"
    missing = [name for name, one in (("image", linted), ("trace", watched)) if one is None]
    yield from (f"- not looked at: any {name}" for name in missing)
