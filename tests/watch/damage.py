"""Damaged recordings of every format, each read and analysed in a process of its own with limits.

    python -m tests.watch.damage --cases 10000 --seed 1

What comes of it is an answer or one line, nothing else. What is damaged: sizes, counts and offsets anywhere, circles
among them, pages and records, what is compressed, lines of text; and files that unpack to more than anyone has.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from struct import pack, unpack_from

import zstandard
from tests.lint.fuzz import BOMB_BYTES, INTERESTING, Outcome, summary, tried
from tests.watch import recordings

from nostale.contract import BadInput

FORMS = {
    "dat7-zstd": recordings.dat7,
    "dat7-zlib": lambda path, script: recordings.dat7(path, script, how="zlib"),
    "dat6": recordings.dat6,
    "perf": recordings.perf,
    "perf-zstd": lambda path, script: recordings.perf(path, script, compressed=True),
    "text": lambda path, script: recordings.text(path),
}


def near_number(data: bytearray, draw: random.Random) -> int:
    """Draw a place where a size, a count or an offset may stand: a number that is small beside the file's size."""
    for _ in range(64):
        at = draw.randrange(max(1, len(data) - 8))
        width = draw.choice((4, 8))
        if 0 < int.from_bytes(data[at : at + width], "little") <= len(data):
            return at
    return draw.randrange(max(1, len(data)))


def number(data: bytearray, draw: random.Random) -> None:
    at, width = near_number(data, draw), draw.choice((1, 2, 4, 8))
    value = draw.choice((*INTERESTING, len(data), len(data) - at, at, draw.getrandbits(64)))
    data[at : at + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")


def offset(data: bytearray, draw: random.Random) -> None:
    """Let one number be another that stands in the file: offsets form circles, sizes overlap."""
    one, other = near_number(data, draw), near_number(data, draw)
    data[one : one + 8] = data[other : other + 8]


def cut(data: bytearray, draw: random.Random) -> None:
    del data[draw.randrange(max(1, len(data))) :]


def anywhere(data: bytearray, draw: random.Random) -> None:
    for _ in range(draw.choice((1, 8, 64))):
        if data:
            data[draw.randrange(len(data))] = draw.randrange(256)


def flip(data: bytearray, draw: random.Random) -> None:
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def repeated(data: bytearray, draw: random.Random) -> None:
    """Put a piece of the file in another place, or many times in its own."""
    start = draw.randrange(max(1, len(data)))
    piece = data[start : start + draw.choice((8, 64, 4096))]
    at = draw.randrange(max(1, len(data)))
    data[at:at] = piece * draw.choice((1, 2, 50))


def dropped(data: bytearray, draw: random.Random) -> None:
    start = draw.randrange(max(1, len(data)))
    del data[start : start + draw.choice((1, 4, 8, 100, 4096))]


def page(data: bytearray, draw: random.Random) -> None:
    """Damage the head of a page, or an event's."""
    at = draw.randrange(max(1, len(data) // 4096)) * 4096 + draw.choice((0, 8, 16, 4 * draw.randrange(1024)))
    width = draw.choice((4, 8))
    data[at : at + width] = draw.choice((*INTERESTING, draw.getrandbits(64))).to_bytes(8, "little")[:width]


def filled(data: bytearray, draw: random.Random) -> None:
    at, size = draw.randrange(max(1, len(data))), draw.choice((4, 64, 4096))
    data[at : at + size] = bytes([draw.choice((0, 0xFF, 0x80, 0x20))]) * len(data[at : at + size])


DAMAGES = (number, number, number, offset, cut, anywhere, flip, repeated, dropped, page, filled)


def damaged(good: bytes, draw: random.Random) -> tuple[str, bytes]:
    """Return what was done, and the result."""
    data = bytearray(good)
    done = [draw.choice(DAMAGES) for _ in range(draw.choice((1, 1, 1, 2, 3, 8)))]
    for one in done:
        one(data, draw)
    return "+".join(one.__name__ for one in done), bytes(data)


def bombs(directory: Path) -> dict[str, Path]:
    """Write small files that would unpack to `BOMB_BYTES`."""
    zeros, rounds = _squeezed(bytes(8)), _squeezed(pack("<IHH", 68, 0, 8))  # records that are sound, and of no use
    made = {}
    whole = recordings.dat7(directory / "bomb.dat").read_bytes()
    place = whole.index(b"1.5\0") + 4  # where the options are
    options = pack("<HHIQ", 0, 1, 0, 8 + len(zeros)) + pack("<II", len(zeros), BOMB_BYTES) + zeros
    made["dat7"] = directory / "bomb.dat"
    made["dat7"].write_bytes(whole[:place] + pack("<Q", len(whole)) + whole[place + 8 :] + options)
    whole = recordings.perf(directory / "bomb.data").read_bytes()
    at, size = unpack_from("<QQ", whole, 40)
    # One stream, in records of less than 64 KiB.
    records = b"".join(
        pack("<IHH", 81, 0, 8 + len(rounds[low : low + 60_000])) + rounds[low : low + 60_000]
        for low in range(0, len(rounds), 60_000)
    )
    grown = bytearray(whole[:at] + records + whole[at + size :])
    grown[48:56] = pack("<Q", len(records))
    moved = at + len(records)
    for place in (0, 16):
        (old,) = unpack_from("<Q", grown, moved + place)
        grown[moved + place : moved + place + 8] = pack("<Q", old - size + len(records))
    made["perf"] = directory / "bomb.data"
    made["perf"].write_bytes(grown)
    made["text"] = directory / "bomb.txt"
    made["text"].write_bytes(b"# tracer: nop\n" + b"x" * (1 << 26))
    return made


def _squeezed(unit: bytes) -> bytes:
    """Return `BOMB_BYTES` of one unit again and again, compressed."""
    piece = unit * ((1 << 24) // len(unit))
    packer = zstandard.ZstdCompressor(write_content_size=True).compressobj(size=BOMB_BYTES)
    return b"".join(packer.compress(piece) for _ in range(BOMB_BYTES // len(piece))) + packer.flush()


def worked(path: Path) -> str:
    """Read, analyse and render a recording."""
    from nostale.report import to_json, to_text
    from nostale.systems.catalogue import SYSTEMS
    from nostale.watch import analyse, needed, read_trace

    monitors = [monitor for system in SYSTEMS for monitor in system.monitors()]
    try:
        answer = analyse(read_trace(path, needed(monitors)), None, monitors)
    except BadInput as refused:
        line = str(refused)
        return f"{'refused' if line.isprintable() else 'crash'}\n{line!r}"
    json.loads(to_json(answer))
    odd = [line for line in to_text(answer, colour=False).split("\n") if not line.isprintable()]
    if odd:
        return f"crash\nnot printable: {odd[0]!r}"
    return f"{answer.verdict}\n"


def fuzz(cases: int, seed: int, where: Path, keep: Path | None = None) -> list[tuple[str, Outcome]]:
    """Try `cases` damaged recordings and return (what was done, how it ended) of each.

    Args:
        keep: a directory for those that end badly.
    """
    good = {
        f"{name}-{size}": make(where / f"{name}-{size}", script).read_bytes()
        for name, make in FORMS.items()
        for size, script in (("short", recordings.SMALL), ("long", recordings.LONG))
    }
    done = []
    for one in range(cases):
        draw = random.Random(f"{seed}:{one}")
        name = draw.choice(sorted(good))
        what, data = damaged(good[name], draw)
        path = where / "case"
        path.write_bytes(data)
        outcome = tried(path, worked)
        if not outcome.good and keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{seed}-{one}").write_bytes(data)
        done.append((f"{seed}:{one} {name}: {what}", outcome))
    return done


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bombs", action="store_true", help="also the files that unpack to more than there is")
    parser.add_argument("--no-compiler", action="store_true", help="the readers in Python instead of the compiled ones")
    parser.add_argument("--keep", type=Path, help="a directory for the files that end badly")
    wanted = parser.parse_args()
    if wanted.no_compiler:
        os.environ["CC"] = ""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="nostale-fuzz-") as directory:
        where = Path(directory)
        for make in FORMS.values():  # loads in the parent what every child needs
            worked(make(where / "warm", recordings.SMALL))
        done = fuzz(wanted.cases, wanted.seed, where, wanted.keep)
        if wanted.bombs:
            done += [(f"bomb {name}", tried(path, worked)) for name, path in bombs(where).items()]
    status = summary(done, "recordings", time.perf_counter() - started)
    by_form = Counter((name.split(" ")[1].split("-")[0], outcome.good) for name, outcome in done)
    print(", ".join(f"{form}: {count}" for (form, _), count in sorted(by_form.items())))
    return status


if __name__ == "__main__":
    sys.exit(main())
