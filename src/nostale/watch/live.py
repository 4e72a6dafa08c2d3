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
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nostale.contract import BadInput
from nostale.outside.tracefs import Instance, instance
from nostale.watch.build import build
from nostale.watch.format import EventFormat, Formats, parse_format
from nostale.watch.needs import EXTRAS, MEMORY, NEEDS, STACKS
from nostale.watch.symbols import Symbols
from nostale.watch.trace import Origin, Trace

_OWN: Final = ("sys_enter", "sys_exit", "page_fault_user")
_ROUND_S: Final = 0.2
_MOST_KB, _LEAST_KB, _ALL_KB = 8192, 512, 262_144
_KTHREAD: Final = 0x00200000  # PF_KTHREAD, include/linux/sched.h


@dataclass(frozen=True, slots=True)
class Look:
    """What is done with a recording while it goes on.

    Args:
        at: given the last seconds of it a few times a second; the recording ends once it returns True.
        window_s: how many seconds it is given.
        flight: keep only those, as a flight recorder does, instead of everything.
    """

    at: Callable[[Trace], bool]
    window_s: float = 2.0
    flight: bool = False


def watch_live(
    seconds: float,
    cpus: Sequence[int] | None = None,
    *,
    until: Callable[[], bool] | None = None,
    ready: Callable[[], None] | None = None,
    look: Look | None = None,
    memory: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Trace:
    """Record every CPU of this machine for `seconds`.

    Args:
        cpus: those that are to be disturbed least; None treats all alike.
        until: asked a few times a second; the recording ends early once it says so.
        ready: called once when everything is enabled and recording has begun.
        look: what is done meanwhile.
        memory: record DMA mappings and what IOMMUs do, too, where the kernel has events of them.
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
        formats = Formats.of(_prepare(ours, len(recorded), memory=memory))
        page_bytes = _page_bytes(ours)
        held = _Held({cpu: [] for cpu in recorded})
        stop = None if look is None else _stopper(look, held, formats, _origin(ours, recorded, notes), page_bytes)
        _record(ours, held, seconds, page_bytes, lambda: bool(until and until()) or bool(stop and stop()), ready, tell)
        origin = _origin(ours, recorded, notes)
    return build(origin, formats, held.pages, page_bytes)


@dataclass(slots=True)
class _Held:
    """The pages of a recording that are still there, of each CPU in the order in which they were written."""

    pages: dict[int, list[bytes]]

    def since(self, when_ns: int) -> dict[int, list[bytes]]:
        """Return the pages that have events after `when_ns`, whenever they were read."""
        return {cpu: pages[_first(pages, when_ns) :] for cpu, pages in self.pages.items()}

    def forget(self, when_ns: int) -> None:
        """Drop the pages that have events before `when_ns` only."""
        for pages in self.pages.values():
            del pages[: _first(pages, when_ns)]


def _first(pages: list[bytes], when_ns: int) -> int:
    """Return which page is the first with events after `when_ns`: a page begins with the time of its first event."""
    return max(0, bisect_left(pages, when_ns, key=lambda page: int.from_bytes(page[:8], "little")) - 1)


def _stopper(look: Look, held: _Held, formats: Formats, origin: Origin, page_bytes: int) -> Callable[[], bool]:
    def stop() -> bool:
        since = time.monotonic_ns() - round(look.window_s * 1e9)
        if look.flight:
            held.forget(since)
        return look.at(build(origin, formats, held.since(since), page_bytes))

    return stop


def _prepare(ours: Instance, n_cpus: int, *, memory: bool) -> list[EventFormat]:
    """Set the instance up, everything enabled and not yet recording; return the formats of what this kernel has."""
    ours.write("tracing_on", "0")
    ours.write("trace_clock", "mono")
    ours.write("buffer_size_kb", str(max(_LEAST_KB, min(_MOST_KB, _ALL_KB // n_cpus))))
    wanted = [(need[0], event) for event, need in NEEDS.items()]
    wanted += [(system, event) for event, system in EXTRAS.items()]
    wanted += MEMORY if memory else ()
    formats = []
    for system, event in wanted:
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
    held: _Held,
    seconds: float,
    page_bytes: int,
    stop: Callable[[], bool],
    ready: Callable[[], None] | None,
    tell: Callable[[str], None],
) -> None:
    with ExitStack() as open_files:
        files = {cpu: ours.open_pages(cpu) for cpu in held.pages}
        for file in files.values():
            open_files.callback(os.close, file)
        end = time.monotonic() + seconds
        ours.write("tracing_on", "1")
        if ready is not None:
            ready()
        while (left := end - time.monotonic()) > 0 and not stop():
            tell(f"watching, {left:.0f} s left")
            time.sleep(min(_ROUND_S, left))
            _drain(files, held, page_bytes)
        ours.write("tracing_on", "0")
        _drain(files, held, page_bytes)


def _drain(files: dict[int, int], held: _Held, size: int) -> None:
    """Take out every page that is there; at most as many as a ring holds, so that a flood cannot hold us here."""
    for cpu, file in files.items():
        for _ in range(2 * _MOST_KB * 1024 // size):
            try:
                page = os.read(file, size)
            except BlockingIOError:
                break
            if not page:
                break
            held.pages[cpu].append(page.ljust(size, b"\0"))


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
