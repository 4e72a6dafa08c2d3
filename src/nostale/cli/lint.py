"""nostale lint: every path of kernel images."""

from __future__ import annotations

from pathlib import Path

import click

from nostale.cli.common import conclude, progress, render, result_options, worked_through
from nostale.contract import Answer, BadInput, Baseline, compare, read_baseline
from nostale.systems.catalogue import SYSTEMS

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("images", nargs=-1, type=_FILE, metavar="IMAGE...")
@click.option("--baseline", type=_FILE, metavar="FILE", help="Accept the findings it lists, each with a reason.")
@click.option("--diff", nargs=2, type=_FILE, metavar="OLD NEW", help="Only what NEW has gained over OLD.")
@result_options
def lint(
    images: tuple[Path, ...],
    baseline: Path | None,
    diff: tuple[Path, Path] | None,
    form: str,
    output: Path | None,
    color: str,
) -> int:
    """Follow every path of IMAGE: a relocatable kernel object (vmlinux.o, .o, .ko), also .xz and .zst.

    \b
    nostale lint vmlinux.o
    nostale lint --baseline known.toml vmlinux.o       a new finding fails, a known one is shown
    nostale lint --diff vmlinux.o.old vmlinux.o        what this build has gained
    nostale explain entry.noinstr-escape               what a finding means
    """
    known = _read_baseline(baseline) if baseline else None
    if bool(images) == bool(diff):
        raise click.UsageError("name an image, or two with --diff OLD NEW")
    if diff:
        old, new = (lint_image(path) for path in diff)
        return render(_accepting(known, compare(old, new)), form, output, color)
    if len(images) == 1:
        return render(_accepting(known, lint_image(images[0])), form, output, color)
    parts, failed = worked_through(images, lint_image)
    answer = Answer("lint", f"{len(images)} images", {"images": len(parts)}, (), parts=parts)
    return conclude(_accepting(known, answer), failed, form, output, color)


def _accepting(known: Baseline | None, answer: Answer) -> Answer:
    return known.applied(answer) if known else answer


def _read_baseline(path: Path) -> Baseline:
    try:
        return read_baseline(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        raise BadInput(str(path), f"cannot be read: {reason}", remedy="name a TOML file with [[accept]]") from None


def lint_image(image: Path) -> Answer:
    """Run every rule over one image."""
    from nostale.lint import lint as lint_loaded
    from nostale.lint import load_image

    rules = [rule for system in SYSTEMS for rule in system.rules()]
    with progress(f"lint {image}"):
        return lint_loaded(load_image(image), rules)
