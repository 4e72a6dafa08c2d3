"""What every command shares: output options, rendering, exit codes, notes and progress on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from nostale import report
from nostale.contract import Answer, BadInput, NostaleError

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
EXIT = {"holds": 0, "violated": 1, "unknown": 3}
COULD_NOT_RUN = 2


def output_options(function: F) -> F:
    """Add --format (text, json), -o and --color."""
    return _output_options(function, ["text", "json"])


def result_options(function: F) -> F:
    """Likewise, for a command whose results are findings in code: also as SARIF."""
    return _output_options(function, ["text", "json", "sarif"])


def case_options(function: F) -> F:
    """Likewise, for a command that can argue a whole case: also as Markdown."""
    return _output_options(function, ["text", "json", "sarif", "md"])


def timeline_options(function: F) -> F:
    """Likewise, for a command whose results are times: also as a page and for a trace viewer."""
    return _output_options(function, ["text", "json", "html", "perfetto"])


def _output_options(function: F, forms: list[str]) -> F:
    formats = click.Choice(forms)
    colours = click.Choice(["auto", "always", "never"])
    function = click.option("--color", type=colours, default="auto", help="Colour in text; NO_COLOR is kept to.")(
        function
    )
    function = click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write there.")(
        function
    )
    return click.option("--format", "form", type=formats, default="text", help="Of the result.")(function)


def verbose_option(function: F) -> F:
    """Add -v, for a command that may have many results of one kind."""
    return click.option("-v", "--verbose", is_flag=True, help="In text, each result in full, however many.")(function)


def render(answer: Answer, form: str, output: Path | None, color: str, *, verbose: bool = False) -> int:
    """Print an answer, or write it to a file, and return the exit code."""
    for note in _notes(answer):
        note_to_user(note)
    text: str | Iterable[str]
    if form == "json":
        text = report.json_pieces(answer)
    elif form == "html":
        text = report.to_html(answer)
    elif form == "perfetto":
        text = report.to_perfetto(answer)
    elif form == "sarif":
        from nostale import __version__
        from nostale.systems.pages import pages

        text = report.to_sarif(answer, pages(), __version__)
    else:
        text = report.to_text(answer, colour=wants_colour(color, to_file=output is not None), verbose=verbose)
    print_or_write(text, output)
    return EXIT[answer.verdict]


def worked_through(targets: Iterable[T], work: Callable[[T], Answer]) -> tuple[tuple[Answer, ...], int]:
    """Do every target; one that cannot be done is told on stderr and the others go on.

    Returns:
        The answers, and 2 if any could not be done, else 0.
    """
    answers: list[Answer] = []
    failed = 0
    for target in targets:
        try:
            answers.append(work(target))
        except NostaleError as error:
            print(f"nostale: {error}", file=sys.stderr)
            failed = COULD_NOT_RUN
    return tuple(answers), failed


def conclude(answer: Answer, failed: int, form: str, output: Path | None, color: str, *, verbose: bool = False) -> int:
    """Render what was worked through, if anything was, and return the exit code: `failed` before any verdict."""
    code = render(answer, form, output, color, verbose=verbose) if answer.parts else COULD_NOT_RUN
    return failed or code


def read_text(path: Path) -> str:
    """Return the text of a file that an option names.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        raise BadInput(str(path), f"cannot be read: {reason}", remedy="name a text file that is there") from None


def print_or_write(text: str | Iterable[str], output: Path | None) -> None:
    """Write the result, whole or in pieces, to a file if one was named, else to stdout."""
    if output:
        write_whole(output, text)
    else:
        sys.stdout.writelines(_in_pieces(text))


def _in_pieces(text: str | Iterable[str]) -> Iterable[str]:
    return (text,) if isinstance(text, str) else text


def _notes(answer: Answer) -> Iterator[str]:
    yield from answer.notes
    for part in answer.parts:
        yield from _notes(part)


def note_to_user(note: str) -> None:
    """Say something on stderr that is not part of the result."""
    print(f"nostale: note: {note}", file=sys.stderr)


def wants_colour(color: str, *, to_file: bool) -> bool:
    """Whether to colour: as asked, else on a terminal unless NO_COLOR or TERM=dumb say no (no-color.org)."""
    if color != "auto":
        return color == "always"
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or to_file:
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()


def write_whole(path: Path, text: str | Iterable[str]) -> None:
    """Write a file so that it is there whole or not at all; a device or a pipe is written to, never replaced.

    Raises:
        BadInput: it cannot be written there.
    """
    try:
        if path.exists() and not path.is_file():
            with path.open("w", encoding="utf-8") as place:
                place.writelines(_in_pieces(text))
            return
        making = path.with_name(f".{path.name}-{os.urandom(6).hex()}")
        file = making.open("x", encoding="utf-8")
    except OSError as error:
        raise BadInput(
            str(path), f"cannot be written: {error.strerror}", remedy="name a place you may write to"
        ) from None
    try:
        with file:
            file.writelines(_in_pieces(text))
        making.replace(path)
    except BaseException:
        making.unlink(missing_ok=True)
        raise


@contextmanager
def progress(what: str) -> Iterator[Callable[[str], None]]:
    """Show one line of progress on stderr, on a terminal only; yield what updates it."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console

    with Console(stderr=True).status(what) as status:
        yield lambda text: status.update(f"{what}: {text}")
