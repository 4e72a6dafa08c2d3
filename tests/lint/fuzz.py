"""Damaged images, each read and linted in a process of its own with limits: an answer or one line, nothing else.

    python -m tests.lint.fuzz --cases 10000 --seed 1 [IMAGE...]

Without IMAGE the demonstration is taken, in each form that this machine can build. What is damaged: headers, sections
(overlapping, linked in circles, of huge sizes, counts and alignments), symbols, relocations, tables, code, compressed
sections that lie about their size, packed files that unpack to more than anyone has.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import zstandard

from nostale.contract import BadInput
from nostale.systems.entry import demo

CPU_LIMIT_S = 10  # the demonstration takes 0.02
MEMORY_LIMIT_BYTES = 256 << 20  # above what the process has before it reads anything
BOMB_BYTES = 1 << 29  # twice what there is memory for
INTERESTING = (0, 1, 2, 3, 7, 0x7F, 0xFF, 0xFFFF, 0xFF00, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 62, (1 << 64) - 1)
SHF_COMPRESSED = 0x800
LINKER_SCRIPT = """
SECTIONS {
  . = 0xffffffff81000000;
  .text : {
    *(.text .text.*)
    __noinstr_text_start = .; *(.noinstr.text) __noinstr_text_end = .;
    __entry_text_start = .; *(.entry.text) __entry_text_end = .;
  }
  .altinstr_replacement : { *(.altinstr_replacement) }
  .altinstructions : { __alt_instructions = .; *(.altinstructions) __alt_instructions_end = .; }
  .data : { __start___jump_table = .; *(__jump_table) __stop___jump_table = .; *(.data) }
  .bss : { *(.bss) }
}
"""


# The forms of an image.


def forms(directory: Path) -> dict[str, Path]:
    """Build the demonstration in every form that the compilers here make."""
    made = {
        "object": demo.build_demo(directory, broken=False),
        "broken": demo.build_demo(directory, broken=True),
    }
    here = Path(demo.__file__).parent
    sources = [here / name for name in demo.SOURCES]
    script = directory / "link.lds"
    script.write_text(LINKER_SCRIPT)
    relocatable, plain = demo.FLAGS, tuple(flag for flag in demo.FLAGS if flag != "-r")
    linked = (
        *plain,
        "-static",
        "-no-pie",
        "-Wl,--emit-relocs,--build-id=none,-e,demo_entry_exception",
        f"-Wl,-T,{script}",
    )
    arm64 = tuple(
        flag for flag in relocatable if flag not in ("-mcmodel=kernel", "-mno-red-zone", "-fcf-protection=none")
    )
    # The demonstration's patched branch is a five-byte NOP of x86.
    translated = directory / "arm64"
    shutil.copytree(here, translated, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    annotations = translated / "annotate.h"
    annotations.write_text(annotations.read_text().replace(".byte 0x0f, 0x1f, 0x44, 0x00, 0x00", "nop"))
    wanted = {
        "dwarf": ("gcc", (*relocatable, "-g"), sources),
        "linked": ("gcc", linked, sources),
        "linked-dwarf": ("gcc", (*linked, "-g"), sources),
        "arm64": ("aarch64-linux-gnu-gcc", (*arm64, "-g"), [translated / demo.SOURCES[0]]),
    }
    for name, (compiler, flags, parts) in wanted.items():
        if shutil.which(compiler):
            output = directory / f"{name}.elf"
            command = [compiler, *flags, "-o", str(output), *map(str, parts)]
            subprocess.run(command, check=True, capture_output=True)
            made[name] = output
    return made


# What is damaged.


@dataclass(slots=True)
class Target:
    """The bytes of a good image and where its headers and tables are; mutations of the headers leave these alone."""

    data: bytearray
    sections: list[tuple[int, tuple[int, ...]]]  # (offset of the header, its ten fields)
    draw: random.Random

    def number(self, size_bytes: int) -> int:
        """Draw a number that may upset whoever trusts it."""
        pick = self.draw.random()
        if pick < 0.6:
            value = self.draw.choice(INTERESTING)
        elif pick < 0.8:
            value = self.draw.choice([len(self.data), len(self.sections), *(one[4] for _, one in self.sections)])
            value += self.draw.choice((-1, 0, 1, 8))
        else:
            value = self.draw.getrandbits(size_bytes * 8)
        return value & ((1 << size_bytes * 8) - 1)

    def put(self, offset: int, size_bytes: int, value: int) -> None:
        """Write a number where the file has room for it."""
        if offset >= 0 and offset + size_bytes <= len(self.data):
            self.data[offset : offset + size_bytes] = value.to_bytes(size_bytes, "little")

    def content(self, *types: int) -> tuple[int, int]:
        """Draw a section with content and return where it begins and its size."""
        found = [f for _, f in self.sections if f[5] and f[1] not in (0, 8) and (not types or f[1] in types)]
        picked = self.draw.choice(found or [(0, 0, 0, 0, 0, len(self.data))])
        return picked[4], picked[5]

    def record(self, kind: int, record_bytes: int) -> int | None:
        """Draw a record of a table and return its offset."""
        start, size = self.content(kind)
        count = size // record_bytes
        return start + self.draw.randrange(count) * record_bytes if count else None


SECTION_FIELDS = ((0, 4), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8), (40, 4), (44, 4), (48, 8), (56, 8))
HEADER_FIELDS = ((16, 2), (18, 2), (24, 8), (32, 8), (40, 8), (52, 2), (54, 2), (56, 2), (58, 2), (60, 2), (62, 2))
SYMBOL_FIELDS = ((0, 4), (4, 1), (5, 1), (6, 2), (8, 8), (16, 8))
RELOCATION_FIELDS = ((0, 8), (8, 4), (12, 4), (16, 8))


def header(target: Target) -> None:
    offset, size = target.draw.choice(HEADER_FIELDS)
    target.put(offset, size, target.number(size))


def section(target: Target) -> None:
    at, _ = target.draw.choice(target.sections)
    offset, size = target.draw.choice(SECTION_FIELDS)
    target.put(at + offset, size, target.number(size))


def overlap(target: Target) -> None:
    """Let one section lie where another one does."""
    (one, _), (_, other) = target.draw.choice(target.sections), target.draw.choice(target.sections)
    target.put(one + 24, 8, other[4] + target.draw.choice((0, 1, 4)))
    if target.draw.random() < 0.5:
        target.put(one + 32, 8, other[5])


def circle(target: Target) -> None:
    """Let a section be linked to itself, or two to each other."""
    one, other = (target.draw.randrange(len(target.sections)) for _ in range(2))
    target.put(target.sections[one][0] + 40, 4, other)
    target.put(target.sections[other][0] + 40, 4, one)
    target.put(target.sections[one][0] + 44, 4, target.draw.choice((one, other)))


def retype(target: Target) -> None:
    """Let a section be of another kind: a second symbol table, relocations of relocations."""
    at, _ = target.draw.choice(target.sections)
    target.put(at + 4, 4, target.draw.choice((0, 1, 2, 3, 4, 8, 9, 11, 17, 18, 19)))


def table(kind: int, record_bytes: int, fields: tuple[tuple[int, int], ...]):
    def damage(target: Target) -> None:
        at = target.record(kind, record_bytes)
        if at is not None:
            offset, size = target.draw.choice(fields)
            target.put(at + offset, size, target.number(size))

    return damage


def loop_symbols(target: Target) -> None:
    """Give all symbols of a table one place, or one size that contains everything."""
    start, size = target.content(2)
    offset, value = target.draw.choice(((8, 0), (16, 1 << 20), (16, (1 << 64) - 1), (8, (1 << 64) - 1)))
    for at in range(start, start + size - 23, 24):
        target.put(at + offset, 8, value)


def names(target: Target) -> None:
    """Damage names: line breaks, control characters, no end."""
    start, size = target.content(3)
    for _ in range(target.draw.choice((1, 4, 32))):
        target.put(start + target.draw.randrange(max(size, 1)), 1, target.draw.choice((0, 10, 13, 27, 0x80, 0xFF)))


def content(target: Target) -> None:
    """Write over part of a section: code, a table of the kernel, debugging information."""
    start, size = target.content()
    for _ in range(target.draw.choice((1, 2, 16, 64))):
        target.put(start + target.draw.randrange(max(size, 1)), 1, target.draw.randrange(256))


def ones(target: Target) -> None:
    """Fill part of a section with one byte."""
    start, size = target.content()
    at = start + target.draw.randrange(max(size, 1))
    end = min(start + size, at + target.draw.choice((4, 16, 256)), len(target.data))
    target.data[at:end] = bytes([target.draw.choice((0, 0xFF, 0x80, 0x0F))]) * max(end - at, 0)


def shrunk(target: Target) -> None:
    """Let a section end early: a record is cut in two."""
    at, fields = target.draw.choice(target.sections)
    target.put(at + 32, 8, target.draw.randrange(fields[5] + 1) if fields[5] < 1 << 32 else 0)


def compressed(target: Target) -> None:
    """Say that a section is compressed, and lie about how much it holds."""
    at, fields = target.draw.choice(target.sections)
    target.put(at + 8, 8, fields[2] | SHF_COMPRESSED)
    target.put(fields[4], 4, target.draw.choice((0, 1, 2, 99)))
    target.put(fields[4] + 8, 8, target.number(8))
    target.put(fields[4] + 16, 8, target.number(8))


def cut(target: Target) -> None:
    del target.data[target.draw.randrange(len(target.data)) :]


def anywhere(target: Target) -> None:
    for _ in range(target.draw.choice((1, 8, 64))):
        if target.data:
            target.put(target.draw.randrange(len(target.data)), 1, target.draw.randrange(256))


DAMAGES = {
    "header": header,
    "section": section,
    "overlap": overlap,
    "circle": circle,
    "retype": retype,
    "symbol": table(2, 24, SYMBOL_FIELDS),
    "relocation": table(4, 24, RELOCATION_FIELDS),
    "all symbols": loop_symbols,
    "names": names,
    "content": content,
    "filled": ones,
    "shrunk": shrunk,
    "compressed": compressed,
    "cut": cut,
    "anywhere": anywhere,
}


def damaged(good: bytes, draw: random.Random) -> tuple[str, bytes]:
    """Return what was done, and the result."""
    if draw.random() < 0.02:
        return packed(good, draw)
    shoff, count = struct.unpack_from("<Q", good, 40)[0], struct.unpack_from("<H", good, 60)[0]
    sections = [(shoff + 64 * i, struct.unpack_from("<IIQQQQIIQQ", good, shoff + 64 * i)) for i in range(count)]
    target = Target(bytearray(good), sections, draw)
    done = [draw.choice(list(DAMAGES)) for _ in range(draw.choice((1, 1, 1, 2, 3, 8)))]
    for name in done:
        DAMAGES[name](target)
    return "+".join(done), bytes(target.data)


def packed(good: bytes, draw: random.Random) -> tuple[str, bytes]:
    """Return an image packed and then damaged, or one that unpacks to more than there is."""
    form = draw.choice(("xz", "zstd"))
    squeeze = lzma.compress if form == "xz" else zstandard.ZstdCompressor().compress
    whole = bytearray(squeeze(good))
    for _ in range(draw.choice((0, 1, 2, 16))):
        whole[draw.randrange(len(whole))] = draw.randrange(256)
    if draw.random() < 0.3:
        del whole[draw.randrange(len(whole)) :]
    return form, bytes(whole)


def bombs(directory: Path) -> dict[str, Path]:
    """Write small files that unpack to `BOMB_BYTES` of zeros."""
    made = {}
    zeros = bytes(1 << 24)
    for name in ("xz", "zstd"):
        path = directory / f"bomb.{name}"
        with path.open("wb") as file:
            if name == "xz":
                packer = lzma.LZMACompressor(preset=0)
                file.writelines(packer.compress(zeros) for _ in range(BOMB_BYTES // len(zeros)))
                file.write(packer.flush())
            else:
                with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as stream:
                    for _ in range(BOMB_BYTES // len(zeros)):
                        stream.write(zeros)
        made[f"bomb.{name}"] = path
    return made


# What becomes of it.


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one ended: `holds`, `violated`, `unknown`, `refused`, or a fault: `crash`, `killed`, `memory`."""

    word: str
    said: str
    cpu_s: float
    peak_bytes: int

    @property
    def good(self) -> bool:
        """Whether it is an answer or an error in one line."""
        return self.word in ("holds", "violated", "unknown", "refused")


def tried(path: Path, work: Callable[[Path], str] | None = None) -> Outcome:
    """Read, lint and render an image, or do other `work`, in a child with limits on its CPU time and memory."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _limited(path, writer, work or _worked)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        text = said.read().decode("utf-8", "replace")
    _, status, used = os.wait4(child, 0)
    word, _, rest = text.partition("\n")
    if os.WIFSIGNALED(status):
        word, rest = "killed", f"by signal {os.WTERMSIG(status)}"
    return Outcome(word, rest, used.ru_utime + used.ru_stime, used.ru_maxrss << 10)


def _limited(path: Path, writer: int, work: Callable[[Path], str]) -> None:
    """Do the work and write what came of it; never returns."""
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY_LIMIT_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        said = work(path)
    except MemoryError:
        said = "memory\n" + traceback.format_exc()
    except BaseException:
        said = "crash\n" + traceback.format_exc()
    os.write(writer, said.encode("utf-8", "backslashreplace")[-60_000:])
    os._exit(0)


def _worked(path: Path) -> str:
    from nostale.lint import lint, load_image
    from nostale.report import to_json, to_text
    from nostale.systems.catalogue import SYSTEMS

    try:
        answer = lint(load_image(path), [rule for system in SYSTEMS for rule in system.rules()])
    except BadInput as refused:
        line = str(refused)
        return f"{'refused' if line.isprintable() else 'crash'}\n{line!r}"
    json.loads(to_json(answer))
    odd = [line for line in to_text(answer, colour=False).split("\n") if not line.isprintable()]
    if odd:
        return f"crash\nnot printable: {odd[0]!r}"
    return f"{answer.verdict}\n"


def warmed() -> None:
    """Load in the parent what every child needs, so that a case takes milliseconds."""
    import numpy  # noqa: F401

    _worked(Path(os.devnull))


def fuzz(
    images: dict[str, Path], cases: int, seed: int, where: Path, keep: Path | None = None
) -> list[tuple[str, Outcome]]:
    """Try `cases` damaged images and return (what was done, how it ended) of each.

    Args:
        keep: a directory for those that end badly.
    """
    done = []
    good = {name: path.read_bytes() for name, path in images.items()}
    for number in range(cases):
        draw = random.Random(f"{seed}:{number}")
        name = draw.choice(sorted(good))
        what, data = damaged(good[name], draw)
        path = where / "case.o"
        path.write_bytes(data)
        outcome = tried(path)
        if not outcome.good and keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{seed}-{number}.o").write_bytes(data)
        done.append((f"{seed}:{number} {name}: {what}", outcome))
    return done


def summary(done: list[tuple[str, Outcome]], kind: str, seconds: float) -> int:
    """Print how many ended how, the worst of them and what ended badly; return the exit status."""
    words = Counter(outcome.word for _, outcome in done)
    print(f"{len(done)} damaged {kind} in {seconds:.0f} s: {dict(sorted(words.items()))}")
    for what, worst in (("CPU seconds", "cpu_s"), ("peak bytes", "peak_bytes")):
        name, outcome = max(done, key=lambda one: getattr(one[1], worst))
        print(f"most {what}: {getattr(outcome, worst)} at {name} ({outcome.word})")
    bad = [(name, outcome) for name, outcome in done if not outcome.good]
    for name, outcome in bad[:20]:
        print(f"--- {name}: {outcome.word}\n{outcome.said[-1500:]}")
    return 1 if bad else 0


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--as-is", action="append", default=[], type=Path, help="an image to try undamaged")
    parser.add_argument("--keep", type=Path, help="a directory for the images that end badly")
    wanted = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="nostale-fuzz-") as directory:
        where = Path(directory)
        warmed()
        done = [(str(path), tried(path)) for path in wanted.as_is]
        if wanted.cases:
            images = {path.name: path for path in wanted.images} or forms(where)
            done += fuzz(images, wanted.cases, wanted.seed, where, wanted.keep)
    return summary(done, "images", time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
