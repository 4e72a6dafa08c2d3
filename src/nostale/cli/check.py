"""nostale check: whatever a target is, by the right engine; without a target, the demonstrations."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from nostale.cli.common import conclude, result_options, worked_through
from nostale.cli.lint import lint_image
from nostale.cli.models import find_model, is_litmus
from nostale.cli.nearest import nearest
from nostale.cli.prove import default_means, run, run_litmus
from nostale.cli.watch import LIVE, Ask, watch_live, watch_recording
from nostale.contract import Answer, BadInput, NotHere, NotPermitted
from nostale.systems.entry.demo import build_demo
from nostale.systems.isolation.demo import WATCHED_CPU, recording
from nostale.systems.names import named_models

_SECONDS = 2.0


@click.command()
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@result_options
def check(targets: tuple[str, ...], form: str, output: Path | None, color: str) -> int:
    """Check TARGET by the right engine: a model, an ELF image, a trace, or "live" for this machine.

    Without TARGET: the bundled demonstrations, each with the verdict it must have, and 2 s of this machine.

    \b
    nostale check
    nostale check codegen vmlinux.o trace.dat
    """
    if targets:
        parts, failed = worked_through(targets, check_one)
        answer = Answer("check", " ".join(targets), {"targets": len(parts)}, (), parts=parts)
    else:
        parts, failed = worked_through(_DEMONSTRATIONS, lambda one: one())
        answer = Answer("check", "demonstrations", {"demonstrations": len(parts)}, (), parts=parts)
    return conclude(answer, failed, form, output, color)


def check_one(target: str) -> Answer:
    """Check one target.

    Raises:
        BadInput: it is nothing that can be checked.
    """
    if target == LIVE:
        return watch_live(_SECONDS)
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
        return _uncounted(watch_live(_SECONDS, Ask(own=False)), f"this machine for {_SECONDS:g} s")
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
