"""nostale prove: every interleaving of a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from nostale.cli.common import note_to_user, output_options, progress, render
from nostale.cli.models import EVERY_VARIANT, find_model, is_litmus, read_litmus
from nostale.contract import Answer, BadInput
from nostale.outside.cache import Cache
from nostale.outside.cc import find_compiler
from nostale.prove import Means, Model, Progress, ablate
from nostale.prove import prove as prove_model


@click.command()
@click.argument("model")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set a parameter of the model.")
@click.option("--max-states", type=click.IntRange(1), metavar="N", help="Stop there; the verdict is then unknown.")
@click.option("--time-limit", type=click.FloatRange(0.1), metavar="SECONDS", help="Stop then; as --max-states.")
@click.option("--no-cache", is_flag=True, help="Explore even if this exact model was explored before.")
@click.option("--ablate", "ablating", is_flag=True, help="Take away fences, syncs and waits: which carry the proof?")
@output_options
def prove(
    model: str,
    settings: tuple[str, ...],
    max_states: int | None,
    time_limit: float | None,
    no_cache: bool,
    ablating: bool,
    form: str,
    output: Path | None,
    color: str,
) -> int:
    """Explore every interleaving of MODEL on modelled hardware.

    \b
    nostale prove codegen                      live text patching as mainline does it
    nostale prove codegen:no-tail-sync         one variant: the shortest way it fails
    nostale prove codegen:all --set cpus=3     every variant
    nostale prove codegen --ablate             which sync is load-bearing
    nostale prove my.py:MyModel                a model of your own (a .py file is run with your rights)
    nostale prove SB.litmus                    a litmus test: Allowed, Forbidden or Required
    """
    means = Means(find_compiler(), None if no_cache else Cache(), max_states, seconds=time_limit)
    given = _settings(settings)
    if is_litmus(model):
        if given or ablating:
            raise BadInput(model, "a litmus test has no parameters", remedy="leave --set and --ablate away")
        return render(run_litmus(model, means), form, output, color)
    found, variant = find_model(model)
    if ablating:
        answer = _ablated(found(given, variant), model, means)
    elif variant == EVERY_VARIANT:
        answer = _every_variant(found, model, given, means)
    else:
        answer = run(found(given, variant), model, means)
    return render(answer, form, output, color)


def run(model: Model, target: str, means: Means) -> Answer:
    """Prove one model, with progress."""
    with _told(target, means) as told:
        return prove_model(model, target, told)


def run_litmus(target: str, means: Means) -> Answer:
    """Decide one litmus test, with progress."""
    from nostale.prove.litmus import decide  # here: it brings hardware that other proofs do not load

    with _told(target, means) as told:
        return decide(read_litmus(target), target, told)


@contextmanager
def _told(target: str, means: Means) -> Iterator[Means]:
    """Give the same means with progress shown."""
    with progress(f"proving {target}") as tell:
        yield replace(means, tick=lambda now: tell(_words(now)))


def _words(now: Progress) -> str:
    held = f"{now.size_bytes / 1e6:,.0f} MB"
    return f"{now.states:,} states, {now.waiting:,} waiting, {now.per_second:,.0f} states/s, {held}"


def _ablated(model: Model, target: str, means: Means) -> Answer:
    with progress(f"ablating {target}") as tell:
        return ablate(model, target, means, tell)


def default_means() -> Means:
    """Return the compiler if there is one, and the cache."""
    return Means(find_compiler(), Cache())


def _settings(settings: tuple[str, ...]) -> dict[str, str]:
    for one in settings:
        if "=" not in one:
            raise BadInput(f"--set {one}", "has no value", remedy=f"write --set {one}=VALUE")
    return dict(one.split("=", 1) for one in settings)


def _every_variant(model: type[Model], target: str, settings: dict[str, str], means: Means) -> Answer:
    base = target.rsplit(":", 1)[0]
    parts = [run(model(settings, ""), base, means)]
    parts += [run(model(settings, name), f"{base}:{name}", means) for name in model.variants()]
    for name, variant in model.variants().items():
        note_to_user(f"{name}: {variant.about}")
    return Answer("prove", target, {"variants": len(parts)}, (), parts=tuple(parts))
