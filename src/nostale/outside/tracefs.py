"""The door to tracefs: an instance of our own to trace with, gone again however the run ends.

Nothing global is touched: not the top instance's `tracing_on`, events or current_tracer, nor anyone else's instance.
The instance is named `nostale-PID-START`, START being the process's start time, so that one left by a process that was
killed is told from that of one that lives, and removed at the next start. Where tracefs is not mounted and we are root
it is mounted in a private directory for the run, and found and removed likewise.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

from nostale.contract import NostaleError, NotHere, NotPermitted

_OURS: Final = re.compile(r"^nostale-(\d+)-(\d+)(?:-\w+)?$")
_MOUNT: Final = re.compile(r"/nostale-tracefs-(\d+)-(\d+)-[^/]*$")
_DETACH: Final = 2  # MNT_DETACH
_ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Instance:
    """One tracing instance: a directory of files.

    Args:
        root: where tracefs is mounted.
        path: the instance's own directory.
    """

    def __init__(self, root: Path, path: Path) -> None:
        self.root, self.path = root, path

    def write(self, name: str, text: str) -> None:
        """Write to one of the instance's files.

        Raises:
            NotPermitted, NotHere: as the kernel says.
        """
        try:
            with open(self.path / name, "w") as file:  # noqa: PTH123
                file.write(text)
        except OSError as problem:
            raise _refused(self.path / name, problem) from problem

    def read(self, name: str) -> str:
        """Read one of the instance's files."""
        try:
            return (self.path / name).read_text(errors="replace")
        except OSError as problem:
            raise _refused(self.path / name, problem) from problem

    def event_format(self, system: str, event: str) -> str | None:
        """Return an event's description, None where this kernel does not have it."""
        try:
            return (self.root / "events" / system / event / "format").read_text(errors="replace")
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise _refused(self.root / "events" / system / event, problem) from problem

    def open_pages(self, cpu: int) -> int:
        """Return a file descriptor that gives out the pages of one CPU's ring and never waits for one."""
        path = self.path / f"per_cpu/cpu{cpu}/trace_pipe_raw"
        try:
            return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as problem:
            raise _refused(path, problem) from problem

    def cpus(self) -> tuple[int, ...]:
        """Return the CPUs that have a ring, and are online."""
        online = _ranges(Path("/sys/devices/system/cpu/online").read_text())
        have = {int(one.name[3:]) for one in (self.path / "per_cpu").iterdir() if one.name[3:].isdecimal()}
        return tuple(sorted(have & online))


@contextmanager
def instance() -> Iterator[Instance]:
    """Give an instance of our own, and take it away whatever happens.

    SIGTERM and SIGHUP, where nobody handles them, end the block as an exception does. What a killed run left is
    removed first.

    Raises:
        NotPermitted: not root, or the kernel is locked down.
        NotHere: the kernel has no tracefs.
    """
    with _ended_by_signals(), _mount() as root:
        remove_leftovers(root)
        path = root / "instances" / f"nostale-{os.getpid()}-{_start_time(os.getpid())}"
        try:
            try:
                path.mkdir()
            except OSError as problem:
                raise _refused(path, problem) from problem
            yield Instance(root, path)
        finally:
            with _held_back():
                _remove(path)


def remove_leftovers(root: Path) -> tuple[str, ...]:
    """Remove instances of ours whose process is gone; return their names."""
    removed = []
    with suppress(OSError):
        for path in sorted((root / "instances").iterdir()):
            named = _OURS.match(path.name)
            if named and _is_gone(int(named[1]), int(named[2])):
                _remove(path)
                removed.append(path.name)
    return tuple(removed)


def _remove(path: Path) -> None:
    """Silence and remove an instance; a reader that is just closing may hold it for a moment."""
    if not path.is_dir():
        return
    for name, text in (("tracing_on", "0"), ("events/enable", "0")):
        with suppress(OSError), open(path / name, "w") as file:  # noqa: PTH123
            file.write(text)
    for attempt in range(20):
        try:
            path.rmdir()
        except OSError as problem:
            if problem.errno == errno.ENOENT:
                return
            if problem.errno != errno.EBUSY or attempt == 19:
                raise _refused(path, problem) from problem
            time.sleep(0.05)
        else:
            return


@contextmanager
def _mount() -> Iterator[Path]:
    """Give the place where tracefs is mounted, mounting it for the while where it is not."""
    _unmount_leftovers()
    found = next((path for path in _mounts() if not _MOUNT.search(path)), None)
    if found is not None:
        if not os.access(found, os.R_OK | os.W_OK | os.X_OK):
            raise NotPermitted(found, "may not be written", cause="not root", remedy="run as root")
        yield Path(found)
        return
    if os.geteuid() != 0:
        raise NotPermitted(
            "tracefs",
            "is not mounted",
            cause="not root",
            remedy="run as root, or mount -t tracefs nodev /sys/kernel/tracing",
        )
    place = tempfile.mkdtemp(prefix=f"nostale-tracefs-{os.getpid()}-{_start_time(os.getpid())}-")
    try:
        _libc_mount(place)
        yield Path(place)
    finally:
        with _held_back():
            _unmount(place)


def _mounts() -> list[str]:
    """Return where tracefs is mounted."""
    rows = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [row[1].replace("\\040", " ") for row in rows if len(row) > 2 and row[2] == "tracefs"]


def _libc_mount(place: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"nodev", place.encode(), b"tracefs", 0, None) != 0:
        number = ctypes.get_errno()
        what = f"cannot be mounted: {os.strerror(number)}"
        if number == errno.ENODEV:
            raise NotHere("tracefs", what, cause="a kernel without CONFIG_FTRACE", remedy="use a kernel that traces")
        raise NotPermitted(
            "tracefs", what, cause="a container or a locked-down kernel", remedy="run on the host as root"
        )


def _unmount(place: str) -> None:
    ctypes.CDLL(None, use_errno=True).umount2(place.encode(), _DETACH)
    with suppress(OSError):
        Path(place).rmdir()


def _unmount_leftovers() -> None:
    """Unmount what killed runs of ours mounted, and remove the directories they made."""
    places = set(_mounts())
    with suppress(OSError):
        places |= {str(path) for path in Path(tempfile.gettempdir()).glob("nostale-tracefs-*") if path.is_dir()}
    for place in sorted(places):
        named = _MOUNT.search(place)
        if named and os.geteuid() == 0 and _is_gone(int(named[1]), int(named[2])):
            # An instance that was left is global, not the mount's: it is removed once there is a mount to reach it.
            _unmount(place)


def _start_time(pid: int) -> int:
    """Return a process's start time in clock ticks since boot, 0 where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def _is_gone(pid: int, start: int) -> bool:
    return _start_time(pid) != start


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block by an exception where they would have ended the process without one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            before[number] = signal.signal(number, _end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextmanager
def _held_back() -> Iterator[None]:
    """Hold back the signals that end a run while it tidies up."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _refused(path: Path, problem: OSError) -> NostaleError:
    what = f"{problem.strerror}"
    if problem.errno in (errno.EPERM, errno.EACCES, errno.EROFS):
        return NotPermitted(str(path), what, cause="not root, or a locked-down kernel", remedy="run as root")
    return NotHere(str(path), what, cause="a kernel without it, or tracing in use", remedy="see nostale doctor")


def _ranges(text: str) -> set[int]:
    """Read a kernel list of CPUs such as `0-3,8`."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        low, _, high = part.partition("-")
        if low:
            cpus |= set(range(int(low), int(high or low) + 1))
    return cpus
