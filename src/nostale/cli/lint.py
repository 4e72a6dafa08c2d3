"""nostale lint: every path of kernel images."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nostale.cli.common import conclude, progress, read_text, render, result_options, verbose_option
from nostale.cli.nearest import nearest
from nostale.contract import Answer, BadInput, Baseline, compare, read_baseline
from nostale.systems.catalogue import SYSTEMS

if TYPE_CHECKING:
    from nostale.lint import AuditRule, ImageRule, Rule

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("images", nargs=-1, type=_FILE, metavar="IMAGE...")
@click.option("--rule", "only", multiple=True, metavar="ID", help="Run this rule, or those of a system, such as entry.")
@click.option("--baseline", type=_FILE, metavar="FILE", help="Accept the findings it lists, each with a reason.")
@click.option("--diff", nargs=2, type=_FILE, metavar="OLD NEW", help="Only what NEW has gained over OLD.")
@click.option("--contract", type=_FILE, metavar="FILE.dot", help="Run this automaton instead of the rules.")
@click.option("--bind", type=_FILE, metavar="FILE.toml", help="By what its events are seen.")
@click.option("--sync-at", default="cr3", metavar="cr3|serialize|SYMBOL", help="Where kernel entries synchronise.")
@verbose_option
@result_options
def lint(
    images: tuple[Path, ...],
    only: tuple[str, ...],
    baseline: Path | None,
    diff: tuple[Path, Path] | None,
    contract: Path | None,
    bind: Path | None,
    sync_at: str,
    form: str,
    output: Path | None,
    color: str,
    *,
    verbose: bool,
) -> int:
    """Follow every path of IMAGE: vmlinux with symbols, vmlinux.o, .o, .ko, also .xz and .zst, or a directory of them.

    \b
    nostale lint vmlinux.o
    nostale lint /lib/modules/6.12.0/kernel            every module, a process a CPU
    nostale lint --rule entry vmlinux.o                the rules of one system
    nostale lint --baseline known.toml vmlinux.o       a new finding fails, a known one is shown
    nostale lint --diff vmlinux.o.old vmlinux.o        what this build has gained
    nostale lint --contract pair.dot --bind pair.toml vmlinux.o
    nostale lint --sync-at serialize vmlinux           what runs before it on kernel entry
    nostale explain entry.noinstr-escape               what a finding means
    """
    known = read_baseline(read_text(baseline), str(baseline)) if baseline else None
    if bool(contract) != bool(bind):
        raise click.UsageError("--contract FILE.dot and --bind FILE.toml belong together")
    for one in only:
        _known(one)
    look = _by_contract(contract, bind) if contract and bind else partial(lint_image, sync_at=sync_at, only=only)
    if bool(images) == bool(diff):
        raise click.UsageError("name an image, or two with --diff OLD NEW")
    if diff:
        old, new = (look(path) for path in diff)
        return render(_accepting(known, compare(old, new)), form, output, color, verbose=verbose)
    if len(images) == 1 and not images[0].is_dir():
        return render(_accepting(known, look(images[0])), form, output, color, verbose=verbose)
    from nostale.cli.many import images_in, worked_through_at_once  # here: one image needs no other processes

    images = images_in(images)
    parts, failed = worked_through_at_once(images, look, "lint")
    verdicts = Counter(part.verdict for part in parts)
    counted = {word: verdicts[word] for word in ("violated", "unknown", "holds")}
    answer = Answer("lint", f"{len(images)} images", {"images": len(parts), **counted}, (), parts=parts)
    return conclude(_accepting(known, answer), failed, form, output, color, verbose=verbose)


def _accepting(known: Baseline | None, answer: Answer) -> Answer:
    return known.applied(answer) if known else answer


def _by_contract(contract: Path, bind: Path) -> Callable[[Path], Answer]:
    """Return what runs a user's contract over an image, in place of the rules; it can be sent to another process."""
    return partial(_lint_by, (read_text(contract), str(contract), read_text(bind), str(bind)))


def _lint_by(stated: tuple[str, str, str, str], image: Path) -> Answer:
    from nostale.lint import custom_rule

    return _linted(image, [custom_rule(*stated)], "cr3")


def lint_image(image: Path, *, sync_at: str = "cr3", only: tuple[str, ...] = ()) -> Answer:
    """Run every rule over one image, or those that are named by id or system."""
    rules = [rule for rule in _rules() if not only or {rule.id, rule.id.partition(".")[0]}.intersection(only)]
    return _linted(image, rules, sync_at)


def _rules() -> list[Rule | ImageRule | AuditRule]:
    return [rule for system in SYSTEMS for rule in system.rules()]


def _known(name: str) -> None:
    """Refuse what is neither a rule nor a system with rules.

    Raises:
        BadInput: as said.
    """
    ids = [rule.id for rule in _rules()]
    known = [*dict.fromkeys(one.partition(".")[0] for one in ids), *ids]
    if name not in known:
        raise BadInput(f"--rule {name}", "there is no such rule", remedy=nearest(name, known))


def _linted(image: Path, rules: Sequence[Rule | ImageRule | AuditRule], sync_at: str) -> Answer:
    from nostale.lint import lint as lint_loaded
    from nostale.lint import load_image

    # What is made along the way stays in use and holds no cycles: to look for some takes a tenth of the time.
    gc.disable()
    try:
        with progress(f"lint {image}"):
            return lint_loaded(load_image(image), rules, sync_at=sync_at)
    finally:
        gc.enable()
