"""Lets a task of ours spin on each watched CPU and note the gaps that it sees: the work of sampler.c."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.resources import as_file, files
from typing import Final

from nostale.contract import BadInput, NotHere
from nostale.outside.cc import build, find_compiler
from nostale.watch.gaps import Gap

_THRESHOLD_NS: Final = 1_000
_FLAGS: Final = ("-O2", "-Wall")


@contextmanager
def sampling(cpus: Sequence[int]) -> Iterator[Callable[[], tuple[Gap, ...]]]:
    """Spin on `cpus` while the block runs; yield what stops it and returns the gaps of a microsecond or more.

    Raises:
        NotHere: there is no C compiler.
        BadInput: a CPU that it may not run on.
    """
    compiler = find_compiler()
    if compiler is None:
        raise NotHere("--sample-gaps", "needs a C compiler", remedy="install gcc, or give --gaps FILE")
    with as_file(files(__package__).joinpath("sampler.c")) as source:
        program = build(compiler, [source], _FLAGS)
    with ExitStack() as stack:
        running = {}
        for cpu in cpus:
            command = [str(program), str(cpu), str(_THRESHOLD_NS)]
            one = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            stack.callback(one.kill)
            word, _, tid = (one.stdout.readline() if one.stdout else "").partition(" ")
            if word != "ready":
                raise BadInput(
                    f"CPU {cpu}", "cannot be sampled: no task may run on it", remedy="name another with --cpu"
                )
            running[cpu] = (one, int(tid))
        yield lambda: tuple(gap for cpu, (one, tid) in running.items() for gap in _gaps(one, cpu, tid))


def _gaps(running: subprocess.Popen[str], cpu: int, tid: int) -> Iterator[Gap]:
    told, _ = running.communicate("stop\n")
    for line in told.splitlines():
        start, _, end = line.partition(" ")
        yield Gap(cpu, tid, int(start), int(end))
