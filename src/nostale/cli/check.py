"""nostale check: whatever a target is, by the right engine; without a target, the demonstrations."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from nostale.cli.common import EXIT, case_options, conclude, print_or_write, render, verbose_option, worked_through
from nostale.cli.lint import lint_image
from nostale.cli.live import Live
from nostale.cli.models import find_model, is_litmus
from nostale.cli.nearest import nearest
from nostale.cli.prove import default_means, run, run_litmus
from nostale.cli.watch import LIVE, Ask, cpu_list, watch_live, watch_recording
from nostale.contract import Answer, BadInput, NotHere, NotPermitted
from nostale.systems.entry.demo import build_demo
from nostale.systems.isolation.demo import WATCHED_CPU, recording
from nostale.systems.names import model_name, named_models, typed

_SECONDS = 2.0


@click.command()
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@click.option("--all", "every", is_flag=True, help="Every model of every system, with its variants.")
@click.option("--image", type=click.Path(path_type=Path), metavar="FILE", help="With isolation: a kernel image.")
@click.option("--trace", type=click.Path(path_type=Path), metavar="FILE", help="With isolation: a recording.")
@click.option("--cpu", "cpus", metavar="LIST", help="Of the recording: the watched CPUs. Default: all.")
@verbose_option
@case_options
def check(
    targets: tuple[str, ...],
    every: bool,
    image: Path | None,
    trace: Path | None,
    cpus: str | None,
    form: str,
    output: Path | None,
    color: str,
    *,
    verbose: bool,
) -> int:
    """Check TARGET by the right engine: a model, an ELF image, a trace, or "live" for this machine.

    Without TARGET: the bundled demonstrations, each with the verdict it must have, and 2 s of this machine.

    \b
    nostale check
    nostale check codegen vmlinux.o trace.dat
    nostale check --all                        every model, every variant, each with its expected verdict
    nostale check isolation --image vmlinux --trace trace.dat --format md
                                               may text-patch IPIs to isolated CPUs be deferred?
    """
    if image or trace or cpus or form == "md":
        return _case(targets, image, trace, cpus, form, output, color, verbose=verbose)
    if every:
        parts, failed = worked_through(_every_run(), lambda one: one())
        answer = Answer("check", "all models", {"runs": len(parts)}, (), parts=parts)
    elif targets:
        parts, failed = worked_through(targets, check_one)
        answer = Answer("check", " ".join(targets), {"targets": len(parts)}, (), parts=parts)
    else:
        parts, failed = worked_through(_DEMONSTRATIONS, lambda one: one())
        answer = Answer("check", "demonstrations", {"demonstrations": len(parts)}, (), parts=parts)
    return conclude(answer, failed, form, output, color, verbose=verbose)


def _every_run() -> list[Callable[[], Answer]]:
    """Return every model of every system and each of its variants, with the verdict it must have."""
    named = named_models()
    return [
        lambda target=target, expected=expected: _proved(target, expected)  # type: ignore[misc]
        for name, model in named.items()
        for target, expected in [
            (name, model.expect),
            *((f"{name}:{variant}", about.expect) for variant, about in model.variants().items()),
        ]
    ]


def _case(
    targets: tuple[str, ...],
    image: Path | None,
    trace: Path | None,
    cpus: str | None,
    form: str,
    output: Path | None,
    color: str,
    *,
    verbose: bool,
) -> int:
    """Argue the case of isolation: by its models, on an image and on a recording."""
    from nostale.systems.isolation import case

    if targets != ("isolation",):
        named = " ".join(targets) or "nothing"
        remedy = "nostale check isolation --image FILE --trace FILE"
        raise BadInput(f"check {named}", "there is no such case", remedy=remedy)
    means = default_means()
    proved = []
    for design in case.DESIGNS:
        target = typed(model_name(design.model), design.variant, design.settings)
        proved.append((design, _expecting(run(design.made(), target, means), design.expected)))
    linted = lint_image(image, only=(case.RULE,)) if image else None
    ask = Ask(cpus=cpu_list(cpus) if cpus else None, own=False, what_if=True)
    watched = watch_recording(trace, ask) if trace else None
    parts = (*(answer for _, answer in proved), *(one for one in (linted, watched) if one))
    if form == "md":
        print_or_write(case.page(proved, linted, watched), output)
        return EXIT[Answer("check", "isolation", {}, (), parts=parts).verdict]
    return render(
        Answer("check", "isolation", {"parts": len(parts)}, (), parts=parts), form, output, color, verbose=verbose
    )


def check_one(target: str) -> Answer:
    """Check one target.

    Raises:
        BadInput: it is nothing that can be checked.
    """
    if target == LIVE:
        return watch_live(Live(_SECONDS))
    if is_litmus(target):
        return run_litmus(target, default_means())
    path = Path(target)
    if target.split(":")[0] in named_models() or ".py" in target:
        found, variant = find_model(target)
        return run(found({}, variant), target, default_means())
    if not path.is_file():
        raise BadInput(target, "no such model or file", remedy=nearest(target, [*named_models(), LIVE]))
    with path.open("rb") as file:
        start = file.read(16)
    return _BY_CONTENT.get(next((magic for magic in _BY_CONTENT if start.startswith(magic)), b""), _unrecognised)(path)


def _unrecognised(path: Path) -> Answer:
    raise BadInput(
        str(path),
        "neither an ELF image, a trace nor a model",
        cause="another kind of file",
        remedy="name a .py model, a .litmus test, an .o or a trace.dat",
    )


_BY_CONTENT: dict[bytes, Callable[[Path], Answer]] = {
    b"\x7fELF": lint_image,
    b"\xfd7zXZ\x00": lint_image,
    b"\x28\xb5\x2f\xfd": lint_image,
    b"\x17\x08\x44tracing": watch_recording,
    b"PERFILE2": watch_recording,
    b"# tracer:": watch_recording,
    b"cpus=": watch_recording,
}


def _proved(target: str, expected: str) -> Answer:
    found, variant = find_model(target)
    return _expecting(run(found({}, variant), target, default_means()), expected)


def _linted(*, broken: bool) -> Answer:
    with tempfile.TemporaryDirectory(prefix="nostale-demo-") as directory:
        demo = build_demo(Path(directory), broken=broken)
        answer = replace(lint_image(demo), target=demo.name)  # where it was built is nobody's business
    return _expecting(answer, "violated" if broken else "holds")


def _watched() -> Answer:
    """Watch this machine if that is allowed, else the bundled recording, and say which."""
    try:
        return _uncounted(watch_live(Live(_SECONDS), Ask(own=False)), f"this machine for {_SECONDS:g} s")
    except (NotPermitted, NotHere) as error:
        print(f"nostale: note: this machine is not watched: {error}", file=sys.stderr)
        return _uncounted(watch_recording(recording(), Ask((WATCHED_CPU,), own=False)), "the bundled recording")


def _expecting(answer: Answer, expected: str) -> Answer:
    return replace(answer, expected=expected)


def _uncounted(answer: Answer, target: str) -> Answer:
    return replace(answer, target=target, counted=False)


_DEMONSTRATIONS: tuple[Callable[[], Answer], ...] = (
    lambda: _proved("codegen", "holds"),
    lambda: _proved("codegen:no-tail-sync", "violated"),
    lambda: _linted(broken=False),
    lambda: _linted(broken=True),
    _watched,
)
