"""Kernel addresses to function names, from a copy of /proc/kallsyms."""

from __future__ import annotations

from binascii import unhexlify
from ctypes import c_char_p, c_int64, c_void_p
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nostale.watch.compiled import library

_DIGITS: Final = 16  # then a space, the type, a space and the name
_NAME: Final = _DIGITS + 3
_NOT_HEX: Final = bytes(one not in b"0123456789abcdefABCDEF" for one in range(256))
_IS_CODE = np.zeros(256, bool)
_IS_CODE[np.frombuffer(b"tTwWuU", np.uint8)] = True


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
        address, starts = functions(self.text)
        order = np.argsort(address, kind="stable")  # nearly sorted already
        order = order[address[order] > 0]
        address += np.uint64(self.shift % (1 << 64))
        self._address, self._start = address[order], starts[order]

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
        return self.line(at)[_NAME:].split("\t")[0].split(" ")[0]

    def line(self, at: int) -> str:
        """Return the line of the `at`-th function in address order, as it was read."""
        start = int(self._start[at])
        end = self.text.find(b"\n", start)
        return self.text[start : end if end >= 0 else None].decode("utf-8", "replace").strip()

    def subset(self, addresses: NDArray[np.uint64]) -> bytes:
        """Return the lines that name `addresses`, in address order: what a small recording must carry."""
        at = np.searchsorted(self._address, np.unique(addresses), side="right") - 1
        first = np.searchsorted(self._address, self._address[at[at >= 0]], side="left")
        return "".join(self.line(int(one)) + "\n" for one in np.unique(first)).encode()


def functions(text: bytes) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the addresses of functions as they are listed, and where their lines begin."""
    lib = library(worth_compiling=False)
    if lib is None:
        return functions_by_numpy(text)
    most = len(text) // (_NAME + 2) + 1
    address, starts = np.empty(most, np.uint64), np.empty(most, np.int64)
    lib.nostale_symbols.restype = c_int64
    found = lib.nostale_symbols(
        c_char_p(text), c_int64(len(text)), c_void_p(address.ctypes.data), c_void_p(starts.ctypes.data)
    )
    return address[:found], starts[:found]


def functions_by_numpy(text: bytes) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the same, where there is no compiled library."""
    raw = np.frombuffer(text, np.uint8)
    starts = np.concatenate([np.zeros(1, np.int64), np.flatnonzero(raw == ord("\n")) + 1])
    starts = starts[starts + _NAME < raw.size]
    starts = starts[(raw[starts + _DIGITS] == ord(" ")) & _IS_CODE[raw[starts + _DIGITS + 1]]]
    starts = starts[(raw[starts + _DIGITS + 2] == ord(" ")) & (raw[starts + _NAME] > ord(" "))]
    # 16 bytes taken as one value, wherever they begin: numpy would spread single digits over 128.
    anywhere = np.ndarray((max(0, raw.size - _DIGITS + 1),), f"V{_DIGITS}", text, strides=(1,))
    digits = anywhere[starts]
    bad = np.frombuffer(digits.tobytes().translate(_NOT_HEX), np.uint64).reshape(-1, 2)
    sound = (bad[:, 0] | bad[:, 1]) == 0
    return np.frombuffer(unhexlify(digits[sound].tobytes()), ">u8").astype(np.uint64), starts[sound]
