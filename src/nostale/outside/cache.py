"""The private cache directory: what was compiled and proved before, keyed by all it depends on.

`$XDG_CACHE_HOME/nostale` or `~/.cache/nostale`, mode 0700. Entries are written beside their place and renamed, so that
a reader never sees half of one. A directory that others could write to is not used: what lies in it would be run.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tempfile


def key_of(*parts: str) -> str:
    """Return a name for what depends on exactly these texts."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


class Cache:
    """A directory of entries; a missing or unusable one means that everything is made anew."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = _private(directory or _default())

    def entry(self, key: str, make: Callable[[Path], None]) -> Path:
        """Return the file of that key, made by `make(path)` where it is not there yet.

        `make` writes to a temporary path in the same directory; if it raises, nothing is left behind.
        """
        kept = self.directory / key
        if kept.exists():
            return kept
        import tempfile  # here, as below: mostly everything is kept

        handle, name = tempfile.mkstemp(dir=self.directory, prefix="making-")
        os.close(handle)
        making = Path(name)
        try:
            make(making)
            making.replace(kept)
        finally:
            making.unlink(missing_ok=True)
        return kept

    def recall(self, key: str) -> str | None:
        """Return the text remembered under that key, or None."""
        try:
            return (self.directory / key).read_text()
        except OSError:
            return None

    def remember(self, key: str, text: str) -> None:
        """Keep a text under that key."""

        def write(path: Path) -> None:
            path.write_text(text)

        self.entry(key, write)


def _default() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or ""
    return Path(base) / "nostale" if Path(base).is_absolute() else Path.home() / ".cache" / "nostale"


def _private(directory: Path) -> Path:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.stat()
    except (OSError, RuntimeError):
        found = None
    ours = found and found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if ours and os.access(directory, os.W_OK):
        return directory
    return Path(_for_this_run().name)


@functools.cache
def _for_this_run() -> tempfile.TemporaryDirectory[str]:
    """Make the directory that serves this process where there is no other; it is removed when the process ends."""
    import tempfile

    return tempfile.TemporaryDirectory(prefix="nostale-cache-")
