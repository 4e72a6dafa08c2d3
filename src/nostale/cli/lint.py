"""nostale lint: every path of kernel images."""

from __future__ import annotations

from pathlib import Path

import click

from nostale.cli.common import conclude, output_options, progress, render, worked_through
from nostale.contract import Answer
from nostale.systems.catalogue import SYSTEMS


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE...")
@output_options
def lint(images: tuple[Path, ...], form: str, output: Path | None, color: str) -> int:
    """Follow every path of IMAGE: a relocatable x86-64 kernel object (vmlinux.o, .o), also .xz and .zst.

    \b
    nostale lint vmlinux.o
    nostale explain entry.noinstr-escape       what a finding means
    """
    if len(images) == 1:
        return render(lint_image(images[0]), form, output, color)
    parts, failed = worked_through(images, lint_image)
    answer = Answer("lint", f"{len(images)} images", {"images": len(parts)}, (), parts=parts)
    return conclude(answer, failed, form, output, color)


def lint_image(image: Path) -> Answer:
    """Run every rule over one image."""
    from nostale.lint import lint as lint_loaded
    from nostale.lint import load_image

    rules = [rule for system in SYSTEMS for rule in system.rules()]
    with progress(f"lint {image}"):
        return lint_loaded(load_image(image), rules)
