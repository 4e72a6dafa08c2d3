"""Finds the symbols of a recorded kernel whose recording has none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from nostale.contract import BadInput
from nostale.watch.symbols import Symbols

_HERE: Final = Path("/proc/kallsyms")
_NOTES: Final = Path("/sys/kernel/notes")
_BUILD_ID: Final = 3  # NT_GNU_BUILD_ID


def kernel_symbols(
    build_id: str, text_address: int | None, release: str, given: Path | None = None
) -> tuple[Symbols, tuple[str, ...]]:
    """Return the symbols of the kernel of that build, and what is to be noted.

    Args:
        build_id: in hex, "" where it is not known.
        text_address: of `_text` when it was recorded; None where that is not known.
        release: as uname says it, for the note.
        given: a copy of its /proc/kallsyms that the user names.

    Looked for in order: the file that is given, perf's own cache of them, this machine where it runs that very kernel.
    """
    if given is not None:
        try:
            return _shifted(given.read_bytes(), text_address), ()
        except OSError as problem:
            raise BadInput(str(given), f"cannot be read: {problem.strerror}") from problem
    cached = Path.home() / ".debug" / "[kernel.kallsyms]" / (build_id or "none") / "kallsyms"
    for path, sound in ((cached, True), (_HERE, bool(build_id) and build_id == _build_id_here())):
        try:
            found = _shifted(path.read_bytes(), text_address) if sound else None
        except OSError:
            continue
        if found is not None and len(found):
            return found, ()
    said = (
        f"the recording has no kernel symbols, and this is not a machine that runs its kernel ({release or 'unknown'})"
    )
    return Symbols(b""), (f"{said}: name a copy of its /proc/kallsyms with --kallsyms",)


def _shifted(text: bytes, text_address: int | None) -> Symbols:
    found = re.search(rb"^([0-9a-f]{16}) T _text$", text, re.M)
    here = int(found[1], 16) if found else 0
    return Symbols(text, text_address - here if here and text_address is not None else 0)


def _build_id_here() -> str:
    try:
        notes = _NOTES.read_bytes()
    except OSError:
        return ""
    at = 0
    while at + 12 <= len(notes):
        name, size, kind = (int.from_bytes(notes[at + 4 * n : at + 4 * n + 4], "little") for n in range(3))
        data = at + 12 + (name + 3) // 4 * 4
        if kind == _BUILD_ID and notes[at + 12 : at + 15] == b"GNU":
            return notes[data : data + size].hex()
        at = data + (size + 3) // 4 * 4
    return ""
