"""Kernel addresses to function names, from a copy of /proc/kallsyms."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_HEX = np.full(256, 255, np.uint8)
_HEX[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16, dtype=np.uint8)
_HEX[np.frombuffer(b"ABCDEF", np.uint8)] = np.arange(10, 16, dtype=np.uint8)
_CODE = np.frombuffer(b"tTwWuU", np.uint8)


@dataclass(slots=True, eq=False)
class Symbols:
    """The functions of one kernel.

    Args:
        text: lines of `ADDRESS TYPE NAME [MODULE]`, the address in 16 hex digits. Lines of another form are left out,
            as are data symbols and addresses of zero (kptr_restrict).
        shift: by how much the kernel lay elsewhere when it was recorded (KASLR).
    """

    text: bytes
    shift: int = 0
    _address: NDArray[np.uint64] = field(init=False)
    _start: NDArray[np.int64] = field(init=False)
    _known: dict[int, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        raw = np.frombuffer(self.text, np.uint8)
        ends = np.flatnonzero(raw == ord("\n"))
        starts = np.concatenate([np.zeros(1, np.int64), ends + 1])
        starts = starts[starts + 19 < raw.size]
        digits = _HEX[raw[starts[:, None] + np.arange(16)]]
        sound = (digits < 16).all(axis=1) & (raw[starts + 16] == ord(" ")) & np.isin(raw[starts + 17], _CODE)
        starts, digits = starts[sound], digits[sound].astype(np.uint64)
        shifts = (np.arange(15, -1, -1) * 4).astype(np.uint64)
        address = (digits << shifts).sum(axis=1, dtype=np.uint64)
        order = np.argsort(address, kind="stable")
        order = order[address[order] > 0]
        address += np.uint64(self.shift % (1 << 64))
        self._address, self._start = address[order], starts[order] + 19

    def __len__(self) -> int:
        return len(self._address)

    def name(self, address: int) -> str:
        r"""Return the function that `address` lies in, or the address in hex where none is known.

        >>> Symbols(b"ffffffff81000010 T do_one\nffffffff81000040 t do_two\n").name(0xffffffff81000044)
        'do_two'
        """
        known = self._known.get(address)
        if known is None:
            known = self._known[address] = self._find(address)
        return known

    def _find(self, address: int) -> str:
        if not 0 <= address < 1 << 64:
            return hex(address)
        at = int(np.searchsorted(self._address, np.uint64(address), side="right")) - 1
        if at < 0 or address - int(self._address[at]) >= 1 << 24:
            return hex(address)
        # Of several names for one address the first listed is kept, as trace-cmd does.
        at = int(np.searchsorted(self._address, self._address[at], side="left"))
        return self.line(at)[19:].split("\t")[0].split(" ")[0]

    def line(self, at: int) -> str:
        """Return the line of the `at`-th function in address order, as it was read."""
        start = int(self._start[at]) - 19
        end = self.text.find(b"\n", start)
        return self.text[start : end if end >= 0 else None].decode("utf-8", "replace").strip()

    def subset(self, addresses: NDArray[np.uint64]) -> bytes:
        """Return the lines that name `addresses`, in address order: what a small recording must carry."""
        at = np.searchsorted(self._address, np.unique(addresses), side="right") - 1
        first = np.searchsorted(self._address, self._address[at[at >= 0]], side="left")
        return "".join(self.line(int(one)) + "\n" for one in np.unique(first)).encode()
