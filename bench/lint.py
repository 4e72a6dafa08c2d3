"""lint beside objtool of Linux 6.12: every object of the shared data, a whole vmlinux.o, and a linked Debian kernel.

objtool is asked for the same: `--noinstr --link --dry-run`. Where it can be asked, no site that it reports may be
missed, in either of the modes that a kernel build uses, and each that it does not report needs a reason that is
computed here; a site without one ends the benchmark with status 1. Of a linked kernel objtool has nothing to say.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._kernel import debian_vmlinux, objtool, vmlinux_o
from bench._peers import Row, Spent, in_turn, median, report, run, shared

from nostale.contract import Violated
from nostale.lint import lint, load_image
from nostale.lint.engine import Run
from nostale.lint.flow import Flow
from nostale.lint.reach import Scope
from nostale.outside.compressed import read_whole
from nostale.systems.entry.image import NOINSTR_ESCAPE_RULE, NOINSTR_UNBALANCED_RULE

QUESTION = ("--noinstr", "--link", "--dry-run")
# A build adds these where objtool runs late; the order of the walk changes, and with it what comes first.
BUILD = (
    *QUESTION,
    *("--hacks=jump_label", "--hacks=noinstr", "--orc", "--retpoline", "--rethunk", "--uaccess", "--static-call"),
)
SAME = (NOINSTR_ESCAPE_RULE, NOINSTR_UNBALANCED_RULE)  # what objtool asks too
NAMES = ("base", "m1_drop_begin_irqentry_enter", "m4_printk_in_noinstr", "m5_begin_without_end")
NAMES += ("m7_static_key_slowpath", "m9_path_dependent", "m11_tailcall_out")
WARNING = re.compile(r"objtool: (\S+): (?:call to (.*)\(\) leaves|return with instrumentation)")
WALK = """
import gc, sys, time
gc.disable()  # as the command line does
from nostale.lint import lint, load_image
from nostale.systems.entry.image import NOINSTR_ESCAPE_RULE, NOINSTR_UNBALANCED_RULE
import iced_x86
image = load_image(sys.argv[1])
began = time.process_time()
lint(image, (NOINSTR_ESCAPE_RULE, NOINSTR_UNBALANCED_RULE))
print("walk", time.process_time() - began)
"""
AS_INSTALLED = {"PYTHONDONTWRITEBYTECODE": ""}  # as a user has it: bytecode is kept
AS_COMMAND = AS_INSTALLED | {"OPENBLAS_NUM_THREADS": "1"}  # which the command line sets by itself
Site = tuple[str, str | None]  # where it leaves, as objtool names it, and the callee, None for a return


def main() -> None:
    tool, whole = objtool(), vmlinux_o()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="nostale-bench-") as directory:
        where = Path(directory)
        objects = {name: unpacked(name, where) for name in NAMES}
        for name, path in {**objects, "vmlinux.o": whole}.items():
            rows += sites(name, path, tool)
        rows += beside("base", objects["base"], tool, where, whole=False)
        rows += beside("vmlinux.o", whole, tool, where, whole=True)
        rows += linked(debian_vmlinux(), where)
    report("lint", rows)


def unpacked(name: str, where: Path) -> Path:
    path = where / f"{name}.o"
    path.write_bytes(read_whole(shared() / f"data/lint/vmlinux_{name}.o.xz"))
    return path


def beside(name: str, path: Path, tool: Path, where: Path, *, whole: bool) -> list[Row]:
    """CPU time and memory of both, and of ours the part that objtool's is all of: decoding and walking."""
    ours(path, where)  # writes the bytecode
    results = in_turn(
        {
            "nostale": lambda: ours(path, where),
            "walk": lambda: run(sys.executable, "-c", WALK, path, where=where, env=AS_COMMAND),
            "objtool": lambda: run(tool, *QUESTION, path, where=where, env={"SRCARCH": "x86"}),
        }
    )
    walked = sorted(float(one.output.split()[-1]) for one in results["walk"])[len(results["walk"]) // 2]
    us, them = results["nostale"], results["objtool"]
    cpu, peak = median(us, "cpu_s"), median(us, "peak_bytes") / 1e6
    rows = [
        row("decode and walk, CPU", name, walked, median(them, "cpu_s"), "objtool", "s"),
        row("whole process, CPU", name, cpu, median(them, "cpu_s"), "objtool", "s"),
        row(
            "whole process, same rules, CPU",
            name,
            median(results["walk"], "cpu_s"),
            median(them, "cpu_s"),
            "objtool",
            "s",
        ),
        row("whole process, memory", name, peak, median(them, "peak_bytes") / 1e6, "objtool", "MB"),
    ]
    if not whole:
        rows.append(row("whole process, CPU", name, cpu, 0.7, "promised at most", "s"))
        rows.append(row("decode and walk, CPU", name, walked, 2.5 * median(them, "cpu_s"), "2.5 objtool", "s"))
    else:
        rows.append(row("whole process, memory", name, peak, median(them, "peak_bytes") / 4e6, "objtool / 4", "MB"))
    return rows


def linked(path: Path, where: Path) -> list[Row]:
    """All rules over a distribution's kernel."""
    spent = in_turn({"nostale": lambda: ours(path, where)}, rounds=3)["nostale"]
    return [
        row("all rules, CPU", "Debian vmlinux", median(spent, "cpu_s"), 6, "promised at most", "s"),
        row("all rules, memory", "Debian vmlinux", median(spent, "peak_bytes") / 1e6, 500, "promised at most", "MB"),
    ]


def ours(path: Path, where: Path) -> Spent:
    """Run `nostale lint` whatever it concludes: only what could not run is an error."""
    script = '"$@" > /dev/null; case $? in 0 | 1 | 3) ;; *) exit 1 ;; esac'
    command = Path(sys.executable).parent / "nostale"
    return run("sh", "-c", script, "sh", command, "lint", path, where=where, env=AS_INSTALLED)


# Which sites, and why those that objtool does not report.


@dataclass(frozen=True, slots=True)
class Found:
    """A site of ours: whether it is certain, the function its path begins in, and in how many states it is reached."""

    site: Site
    certain: bool
    entry: str
    states: int


def sites(name: str, path: Path, tool: Path) -> list[Row]:
    """Compare both tools' sites; one that is missed, or an extra one without a reason, ends the benchmark."""
    told = {site for mode in (QUESTION, BUILD) for site in reported(tool, mode, path)}
    found = list(seen(path))
    known = {one.site for one in found} | {(one.site[0], "{dynamic}") for one in found}
    missed = sorted((place, callee or "") for place, callee in told - known)
    if missed:
        sys.exit(f"{name}: objtool reports what was not found: {missed}")
    places = {place for place, _ in told}
    functions = {place.rsplit("+", 1)[0] for place in places}
    extra = {one.site: why_extra(one, functions) for one in found if one.site[0] not in places}
    for (place, callee), why in sorted(extra.items(), key=str):
        print(f"{name}: {place}{f' to {callee}' if callee else ''}: not reported by objtool: {why}")
    unexplained = [site for site, why in extra.items() if not why]
    if unexplained:
        sys.exit(f"{name}: no reason why objtool does not report {unexplained}")
    print(f"{name}: {len(told)} sites of objtool's found, {len(extra)} more: {dict(Counter(extra.values()))}")
    count = len(told)
    return [row("sites of objtool's that are found", name, count, count, "objtool", "sites")] if count else []


def why_extra(one: Found, functions: Iterable[str]) -> str:
    """Return why objtool does not report a site, "" where none of the known reasons holds."""
    callee = one.site[1] or ""
    if not one.certain:
        return "a static call, which objtool lets pass" if callee.startswith("__SCT__") else "a doubt, no finding"
    if one.states > 1:
        return "path-dependent: reached in several states, of which objtool looks at the first"
    if one.entry in functions or one.site[0].rsplit("+", 1)[0] in functions:
        return "objtool stops at the first finding of a function"
    return ""


def reported(tool: Path, mode: tuple[str, ...], path: Path) -> set[Site]:
    """Return every site that objtool prints."""
    environment = os.environ | {"SRCARCH": "x86"}
    done = subprocess.run([tool, *mode, path], capture_output=True, text=True, env=environment, check=False)
    return {(match[1], match[2]) for match in WARNING.finditer(done.stdout + done.stderr)}


def seen(path: Path) -> Iterable[Found]:
    """Yield the sites of the rules that objtool has too."""
    image = load_image(path)
    flow = Flow(image)
    for rule in SAME:
        walked = Run(flow, rule, Scope(flow, rule.scope)).walked
        findings = {image.place(one.address): one for one in walked.findings}
        for result in lint(image, (rule,)).results:
            last = result.verdict.path[-1] if getattr(result.verdict, "path", ()) else None
            if last is not None and last.place in findings:
                one = findings[last.place]
                entry = image.place(walked.trail(one)[0][0]).rsplit("+", 1)[0]
                certain = isinstance(result.verdict, Violated)
                yield Found((last.place, last.callee), certain, entry, len(walked.states(one.address)))


def row(promise: str, work: str, us: float, peer: float, peer_name: str, unit: str) -> Row:
    return Row(promise, work, round(us, 4), round(peer, 4), peer_name, unit, round(peer / us, 2))


if __name__ == "__main__":
    main()
