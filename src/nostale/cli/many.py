"""Many targets at once: which files a directory stands for, and a process a CPU to work through them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from nostale.cli.common import COULD_NOT_RUN, progress
from nostale.contract import Answer, BadInput, NostaleError

_ENDINGS = (".ko", ".o")
_PACKED = (".xz", ".zst")
_NAMES = frozenset({"vmlinux"})

Worked = tuple[Answer | None, str]


def images_in(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Return the files given and, for each directory, the kernel images below it: .ko, .o, vmlinux, also packed.

    Returns:
        In the order given; those of a directory by name. A link to a directory is not followed.

    Raises:
        BadInput: a directory without any.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(_below(path))
        if not inside:
            raise BadInput(str(path), "a directory without kernel images", remedy="name one with .ko or .o files")
        found += inside
    return tuple(found)


def _below(directory: Path) -> Iterator[Path]:
    for here, _, names in os.walk(directory):
        for name in names:
            plain = next((name.removesuffix(ending) for ending in _PACKED if name.endswith(ending)), name)
            if plain in _NAMES or plain.endswith(_ENDINGS):
                yield Path(here, name)


def worked_through_at_once(
    targets: Sequence[Path], work: Callable[[Path], Answer], what: str
) -> tuple[tuple[Answer, ...], int]:
    """Do every target, a process a CPU; one that cannot be done is told on stderr and the others go on.

    Args:
        work: can be pickled.
        what: is done, for the line of progress.

    Returns:
        The answers in the order of the targets, and 2 if any could not be done, else 0.
    """
    answers, failed = [], 0
    for answer, error in _each(targets, work, what):
        if answer is not None:
            answers.append(answer)
        else:
            print(f"nostale: {error}", file=sys.stderr)
            failed = COULD_NOT_RUN
    return tuple(answers), failed


def _each(targets: Sequence[Path], work: Callable[[Path], Answer], what: str) -> Iterator[Worked]:
    cpus = min(len(os.sched_getaffinity(0)), len(targets))
    with _pool(cpus) as pool:
        waiting = [pool.submit(_one, work, target) for target in targets]
        try:
            with progress(what) as tell:
                for number, (target, future) in enumerate(zip(targets, waiting, strict=True), 1):
                    yield _result(future, work, target)
                    tell(f"{number} of {len(targets)}, {target}")
        finally:
            pool.shutdown(cancel_futures=True)


def _result(future: Future[Worked], work: Callable[[Path], Answer], target: Path) -> Worked:
    try:
        return future.result()
    except BrokenProcessPool:
        pass  # one process was ended, and with it the pool: which target it was shows when each has its own
    try:
        with _pool(1) as alone:
            return alone.submit(_one, work, target).result()
    except BrokenProcessPool:
        error = BadInput(str(target), "the process that read it was ended", cause="no memory left")
        return None, str(error)


def _pool(processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(processes, mp_context=get_context("fork"))  # what is loaded need not be loaded again


def _one(work: Callable[[Path], Answer], target: Path) -> Worked:
    """Do one target, in a process of the pool; an error comes back as its words, as it need not be picklable."""
    try:
        return work(target), ""
    except NostaleError as error:
        return None, str(error)
