"""Make what lint is measured on and against: objtool, a whole vmlinux.o, a distribution's vmlinux.

    python bench/_kernel.py objtool       half a minute
    python bench/_kernel.py vmlinux.o     a quarter of an hour of CPU: every object of the shared configuration, once
    python bench/_kernel.py vmlinux       Debian's linked kernel as its -dbg package has it, 590 MB

Each is kept in build/kernel, or in $NOSTALE_KBUILD, and made again only where it is not there. Sources and kernels are
fetched by package name from Debian and are not part of this repository. Needs apt, gcc, make, flex, bison, bc,
libelf-dev.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._peers import ROOT, need, shared

SOURCE = "linux-source-6.12"
# What depends on the current one; the package itself has the kernel's number in its name.
DEBUG_KERNEL = "linux-image-cloud-amd64-dbg"
CONFIG = "data/lint/config-x86_64-6.12.117"
_MAKERS = ("apt-get", "dpkg", "gcc", "make", "flex", "bison", "bc")


def place() -> Path:
    """Where all of it is kept."""
    return Path(os.environ.get("NOSTALE_KBUILD", ROOT / "build" / "kernel")).absolute()


def objtool() -> Path:
    """Return objtool of Linux 6.12, made from its source where it is not there yet."""
    target = place() / "objtool"
    if not target.exists():
        tree = _configured()
        _say(f"making {target}")
        _make(tree, "tools/objtool")
        _keep(tree / "tools/objtool/objtool", target)
    return target


def vmlinux_o() -> Path:
    """Return every object of a kernel linked into one, as `ld -r` left it: objtool has not changed it."""
    target = place() / "vmlinux.o"
    if not target.exists():
        tree = _configured()
        _say(f"building {target}: a quarter of an hour of CPU")
        # With IBT objtool runs once, on vmlinux.o; `true` runs in its place.
        _make(tree, "vmlinux_o", "objtool=true")
        _keep(tree / "vmlinux.o", target)
    return target


def debian_vmlinux() -> Path:
    """Return Debian's linked kernel with its symbols and debugging information: 590 MB."""
    target = place() / "vmlinux"
    if not target.exists():
        need("apt-get", "dpkg")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as directory:
            package = _newest(DEBUG_KERNEL)
            _unpacked(package, Path(directory))
            (whole,) = Path(directory).glob("usr/lib/debug/boot/vmlinux-*")
            whole.rename(target)
    return target


def _configured() -> Path:
    """Return the build tree of the shared configuration; its source is fetched first."""
    need(*_MAKERS)
    tree = place() / "out"
    if not (tree / "Makefile").exists():
        source = _source()
        tree.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shared() / CONFIG, tree / ".config")
        _run("make", "-s", "-C", source, f"O={tree}", "olddefconfig")
    return tree


def _source() -> Path:
    tree = place() / "source"
    if not tree.exists():
        place().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place()) as directory:
            _unpacked(SOURCE, Path(directory))
            (packed,) = Path(directory).glob("usr/src/linux-source-*.tar.xz")
            _run("tar", "-C", directory, "-xf", packed)
            (found,) = (one for one in Path(directory).glob("linux-source-*") if one.is_dir())
            found.rename(tree)
    return tree


def _unpacked(package: str, directory: Path) -> None:
    """Fetch a package and unpack it, without installing it."""
    _say(f"fetching {package}")
    _run("apt-get", "-q", "download", package, where=directory)
    (fetched,) = directory.glob("*.deb")
    _run("dpkg", "-x", fetched, directory)
    fetched.unlink()


def _newest(package: str) -> str:
    """Return the one package that another one stands for."""
    said = subprocess.run(["apt-cache", "depends", package], capture_output=True, text=True, check=True).stdout
    (found,) = (line.split()[-1] for line in said.splitlines() if "Depends:" in line)
    return found


def _make(tree: Path, *goals: str) -> None:
    _run("nice", "make", "-s", f"-j{os.cpu_count()}", "-C", tree, *goals)


def _keep(made: Path, target: Path) -> None:
    """Copy in one step, so that what is there is whole."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.copy(made, partial)
    partial.rename(target)


def _run(*command: str | Path, where: Path | None = None) -> None:
    done = subprocess.run([*map(str, command)], cwd=where, stdout=sys.stderr, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}")


def _say(what: str) -> None:
    print(what, file=sys.stderr)


MAKES = {"objtool": objtool, "vmlinux.o": vmlinux_o, "vmlinux": debian_vmlinux}

if __name__ == "__main__":
    wanted = sys.argv[1:]
    if not wanted or any(one not in MAKES for one in wanted):
        sys.exit(__doc__)
    for one in wanted:
        print(MAKES[one]())
