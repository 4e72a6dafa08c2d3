"""Records this machine for a while through an instance of its own, disturbing the watched CPUs as little as can be.

Every event is enabled before the recording starts and disabled after it ends, as enabling one patches kernel text on
every CPU. The reader sleeps on its own timer and never waits on the ring, which would make the watched CPU wake it; it
keeps off the watched CPUs where there are others, and its own system calls are not recorded. (What interrupts it is:
with `set_event_notrace_pid` a function that another CPU asked for would run unseen while the reader has the CPU.)
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from nostale.contract import BadInput
from nostale.outside.tracefs import Instance, instance
from nostale.watch.build import build
from nostale.watch.format import EventFormat, Formats, parse_format
from nostale.watch.needs import EXTRAS, NEEDS, STACKS
from nostale.watch.symbols import Symbols
from nostale.watch.trace import Origin, Trace

_OWN: Final = ("sys_enter", "sys_exit", "page_fault_user")
_ROUND_S: Final = 0.2
_MOST_KB, _LEAST_KB, _ALL_KB = 8192, 512, 262_144
_KTHREAD: Final = 0x00200000  # PF_KTHREAD, include/linux/sched.h


def watch_live(
    seconds: float,
    cpus: Sequence[int] | None = None,
    *,
    until: Callable[[], bool] | None = None,
    ready: Callable[[], None] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Trace:
    """Record every CPU of this machine for `seconds`.

    Args:
        cpus: those that are to be disturbed least; None treats all alike.
        until: asked a few times a second; the recording ends early once it says so.
        ready: called once when everything is enabled and recording has begun.
        progress: told what is being done, for a terminal.

    Raises:
        NotPermitted, NotHere: tracefs, see `outside.tracefs.instance`.
        BadInput: a CPU that is not online.
    """
    tell = progress or (lambda _: None)
    with instance() as ours, _elsewhere(cpus or ()) as notes:
        recorded = ours.cpus()
        unknown = sorted(set(cpus or ()) - set(recorded))
        if unknown:
            raise BadInput(f"CPU {unknown[0]}", "is not online", remedy=f"online are {', '.join(map(str, recorded))}")
        tell("enabling events")
        formats = _prepare(ours, len(recorded))
        pages = _record(ours, recorded, seconds, until, ready, tell)
        page_bytes = _page_bytes(ours)
        origin = _origin(ours, recorded, notes)
    return build(origin, Formats.of(formats), pages, page_bytes)


def _prepare(ours: Instance, n_cpus: int) -> list[EventFormat]:
    """Set the instance up, everything enabled and not yet recording; return the formats of what this kernel has."""
    ours.write("tracing_on", "0")
    ours.write("trace_clock", "mono")
    ours.write("buffer_size_kb", str(max(_LEAST_KB, min(_MOST_KB, _ALL_KB // n_cpus))))
    formats = []
    for event, system in [*((event, need[0]) for event, need in NEEDS.items()), *EXTRAS.items()]:
        text = ours.event_format(system, event)
        if text is not None:
            formats.append(parse_format(text, system, f"events/{system}/{event}"))
            if event in _OWN:
                ours.write(f"events/{system}/{event}/filter", f"common_pid != {os.getpid()}")
            ours.write(f"events/{system}/{event}/enable", "1")
    had = {one.name: one.system for one in formats}
    for event in STACKS:
        if event in had:
            ours.write(f"events/{had[event]}/{event}/trigger", "stacktrace")
    stack = ours.event_format("ftrace", "kernel_stack")
    return formats + ([parse_format(stack, "ftrace", "events/ftrace/kernel_stack")] if stack else [])


def _record(
    ours: Instance,
    cpus: tuple[int, ...],
    seconds: float,
    until: Callable[[], bool] | None,
    ready: Callable[[], None] | None,
    tell: Callable[[str], None],
) -> dict[int, list[bytes]]:
    pages: dict[int, list[bytes]] = {cpu: [] for cpu in cpus}
    with ExitStack() as open_files:
        files = {cpu: ours.open_pages(cpu) for cpu in cpus}
        for file in files.values():
            open_files.callback(os.close, file)
        size = _page_bytes(ours)
        end = time.monotonic() + seconds
        ours.write("tracing_on", "1")
        if ready is not None:
            ready()
        while (left := end - time.monotonic()) > 0 and not (until is not None and until()):
            tell(f"watching, {left:.0f} s left")
            time.sleep(min(_ROUND_S, left))
            _drain(files, pages, size)
        ours.write("tracing_on", "0")
        _drain(files, pages, size)
    return pages


def _drain(files: dict[int, int], pages: dict[int, list[bytes]], size: int) -> None:
    """Take out every page that is there; at most as many as a ring holds, so that a flood cannot hold us here."""
    for cpu, file in files.items():
        for _ in range(2 * _MOST_KB * 1024 // size):
            try:
                page = os.read(file, size)
            except BlockingIOError:
                break
            if not page:
                break
            pages[cpu].append(page.ljust(size, b"\0"))


def _page_bytes(ours: Instance) -> int:
    """Return the size of a ring-buffer page: the system's, where the kernel has no other to say."""
    if (ours.path / "buffer_subbuf_size_kb").exists():
        return int(ours.read("buffer_subbuf_size_kb")) * 1024
    return os.sysconf("SC_PAGE_SIZE")


def _origin(ours: Instance, cpus: tuple[int, ...], notes: list[str]) -> Origin:
    events = ours.root / "events"
    comms, groups, kernel_threads = _tasks(ours)
    return Origin(
        name="live",
        clock="mono",
        machine=platform.machine(),
        header_page=(events / "header_page").read_text(),
        header_event=(events / "header_event").read_text(),
        symbols=Symbols(Path("/proc/kallsyms").read_bytes()),
        comms=comms,
        groups=groups,
        kernel_threads=kernel_threads,
        dropped={cpu: _dropped(ours.read(f"per_cpu/cpu{cpu}/stats")) for cpu in cpus},
        notes=tuple(notes),
    )


def _dropped(stats: str) -> int:
    return sum(int(one) for one in re.findall(r"^(?:overrun|commit overrun|dropped events):\s*(\d+)", stats, re.M))


def _tasks(ours: Instance) -> tuple[dict[int, str], dict[int, int], frozenset[int]]:
    """Return the names of threads that the trace saw or that live; of the living their groups, and the kernel's own."""
    comms, groups = {}, {}
    for line in (ours.root / "saved_cmdlines").read_text(errors="replace").splitlines():
        pid, _, comm = line.partition(" ")
        if pid.isdecimal() and comm != "<...>":
            comms[int(pid)] = comm
    kernel = set()
    for path in Path("/proc").glob("[0-9]*/task/[0-9]*"):
        try:
            head, _, rest = (path / "stat").read_text(errors="replace").rpartition(")")
        except OSError:
            continue  # it ended meanwhile
        comms.setdefault(int(path.name), head.partition("(")[2])
        if int(rest.split()[6]) & _KTHREAD:
            kernel.add(int(path.name))
        else:
            groups[int(path.name)] = int(path.parts[2])
    return comms, groups, frozenset(kernel)


@contextmanager
def _elsewhere(cpus: Sequence[int]) -> Iterator[list[str]]:
    """Keep this thread off the watched CPUs where there are others; yield a list of what to note."""
    before = os.sched_getaffinity(0)
    others = before - set(cpus)
    if not others:
        yield ["there is no other CPU: the recorder itself runs on the watched one"]
        return
    os.sched_setaffinity(0, others)
    try:
        yield []
    finally:
        os.sched_setaffinity(0, before)
