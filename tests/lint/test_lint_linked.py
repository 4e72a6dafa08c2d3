"""A linked image answers as the object it was linked from, and its values say what its relocations said."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.lint.conftest import PRELUDE, compiler

from nostale.contract import BadInput
from nostale.lint import Class, lint, load_image
from nostale.lint.flow import Flow
from nostale.lint.patchsites import PatchSites
from nostale.lint.tables import annotated, jump_key, read_tables, sites, table_places
from nostale.systems.entry.image import RULES

SCRIPT = """
SECTIONS {
  . = 0xffffffff81000000;
  .text : {
    *(.text .text.unlikely)
    __noinstr_text_start = .; *(.noinstr.text)
    __cpuidle_text_start = .; *(.cpuidle.text) __cpuidle_text_end = .;
    __noinstr_text_end = .;
    __entry_text_start = .; *(.entry.text) __entry_text_end = .;
    __static_call_text_start = .; *(.static_call.text) __static_call_text_end = .;
    __indirect_thunk_start = .; *(.text..__x86.*) __indirect_thunk_end = .;
  }
  . = ALIGN(4096);
  .rodata : {
    __start_rodata = .; *(.rodata .rodata.*)
    __start_ro_after_init = .; *(.data..ro_after_init)
    __start___jump_table = .; *(__jump_table) __stop___jump_table = .;
    __start_static_call_sites = .; *(.static_call_sites) __stop_static_call_sites = .;
    __end_ro_after_init = .;
    __start___ex_table = .; *(__ex_table) __stop___ex_table = .;
    __end_rodata = .;
  }
  . = ALIGN(4096);
  .data : { *(.data) __start___bug_table = .; *(__bug_table) __stop___bug_table = .; }
  .init.data : {
    __start_mcount_loc = .; *(__mcount_loc) __stop_mcount_loc = .;
    __start_kprobe_blacklist = .; *(_kprobe_blacklist) __stop_kprobe_blacklist = .;
    __alt_instructions = .; *(.altinstructions) __alt_instructions_end = .;
    . = ALIGN(8);
    __parainstructions = .; *(.parainstructions) __parainstructions_end = .;
    __retpoline_sites = .; *(.retpoline_sites) __retpoline_sites_end = .;
  }
  .altinstr_replacement : { *(.altinstr_replacement) }
  /DISCARD/ : { *(.discard.*) }
}
"""

# Every way in which one thing refers to another: calls, a slot, a switch, a store to pv_ops, a static call and its
# update, a jump label with either kind of key, alternatives, a fixup, a warning, and the tables of patch sites.
SOURCE = """
.globl __SCK__answer, __SCT__answer, pv_ops
FUNC f
 call quiet
1: call traced
 call *pv_ops+8(%rip)
 call *constant(%rip)
 jmp *table(,%rax,8)
2: .byte 0x0f, 0x1f, 0x44, 0, 0
9: call __SCT__answer
3: mov (%rax), %rax
 ud2
4: nop
5: ret
ENDF f
FUNC g
 movq $quiet, pv_ops+8(%rip)
 movq $__SCK__answer, %rdi
 movq $__SCT__answer, %rsi
 movq $traced, %rdx
 call traced
 movq $quiet, known(%rip)
 call *known(%rip)
 movq $quiet, held(%rip)
 call *held(%rip)
 ret
ENDF g
.pushsection .cpuidle.text,"ax"
FUNC idle
6: nop
 ret
ENDF idle
.popsection
.pushsection .static_call.text,"ax"
FUNC __SCT__answer
 jmp quiet
ENDF __SCT__answer
.popsection
.pushsection .rodata,"a"
constant: .quad quiet
.type constant, @object
.size constant, 8
.balign 8
table: .quad 4b, 5b
.popsection
.pushsection .data,"aw"
.balign 8
.type known, @object
known: .quad 0
.size known, 8
.type held, @object
held: .quad 0
.size held, 8
.quad held
.type pv_ops, @object
pv_ops: .quad 0, quiet
.size pv_ops, 16
.type __SCK__answer, @object
__SCK__answer: .quad quiet, 0
.size __SCK__answer, 16
.type any_key, @object
any_key: .quad 0
.size any_key, 8
.popsection
.pushsection .data..ro_after_init,"aw"
.type fixed_key, @object
fixed_key: .quad 0
.size fixed_key, 8
.popsection
.pushsection __jump_table,"aw"
.balign 8
.long 2b - ., 4b - .
.quad fixed_key + 1 - .
.long 6b - ., 6b - .
.quad any_key + 2 - .
.popsection
.pushsection .static_call_sites,"aw"
.long 9b - ., __SCK__answer + 1 - .
.popsection
.pushsection __ex_table,"a"
.long 3b - ., 5b - ., 0
.popsection
.pushsection __bug_table,"aw"
.long 4b - 2 - ., 0
.word 7, 1
.popsection
.pushsection __mcount_loc,"a"
.quad traced
.popsection
.pushsection _kprobe_blacklist,"a"
.quad traced
.popsection
.pushsection .parainstructions,"a"
.quad 1b
.byte 3, 5
.balign 16
.popsection
.pushsection .retpoline_sites,"a"
.long 1b - .
.popsection
.pushsection .altinstructions,"a"
.long 6b - ., 7f - .
.word 5
.byte 1, 8f - 7f
.popsection
.pushsection .altinstr_replacement,"ax"
7: lfence
8:
.popsection
"""


def link(source: Path, output: Path, *flags: str) -> Path:
    """Link an object; what it does not define is defined beside it, in .text."""
    if shutil.which("ld") is None or shutil.which("nm") is None:
        pytest.skip("no linker (ld, nm)")
    script, rest = output.with_suffix(".lds"), output.with_suffix(".rest.o")
    script.write_text(SCRIPT)
    lacking = [line.split()[-1] for line in subprocess.check_output(["nm", "-u", str(source)], text=True).splitlines()]
    stubs = "".join(f".globl {one}\n.type {one}, @function\n{one}: ret\n.size {one}, 1\n" for one in lacking)
    subprocess.run([compiler(), "-c", "-x", "assembler", "-o", str(rest), "-"], input=stubs, text=True, check=True)
    command = ["ld", "-T", str(script), *flags, "-o", str(output), str(source), str(rest)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)  # it warns of sections with odd flags
    return output


@pytest.fixture
def both(build, tmp_path):
    """The source as an object without its annotations, and linked, without and with its relocations."""
    source = build(PRELUDE + SOURCE)
    linked = link(source, tmp_path / "vmlinux")
    kept = link(source, tmp_path / "vmlinux-relocs", "--emit-relocs")
    return load_image(source), load_image(linked), load_image(kept)


def told(image):
    """Return everything that an image tells, with names in the place of addresses."""
    name, tables, patch = image.place, read_tables(image), PatchSites(image)
    flow = Flow(image)
    code = []
    for symbol in ("f", "g", "idle"):
        start = image.symbols.named(symbol)
        for one in image.decoded(start.address, start.end):
            site = flow.site(one[0])
            known = sorted((target.name, target.kind) for target in site.transfer.targets) if site.transfer else []
            edges = sorted(name(flow.home(edge.to)) for edge in site.edges)
            callee, complete = (site.transfer.callee, site.transfer.complete) if site.transfer else ("", True)
            code.append((name(one[0]), one[2], edges, callee, known, site.stuck, complete))
    return {
        "code": code,
        "jump labels": sorted(
            (name(a), name(to), jump_key(image, at)[0]) for a, (to, at) in tables.jump_labels.items()
        ),
        "keys": sorted((name(one.at), one.key, one.ro_after_init) for one in patch.jump_labels.values()),
        "fixups": sorted((name(a), [name(to) for to in tos]) for a, tos in tables.fixups.items()),
        "alternatives": sorted((name(a), len(group.replacements)) for a, group in tables.alternatives.items()),
        "warnings": sorted(map(name, tables.reachable)),
        "ftrace": sorted(map(name, patch.ftrace)),
        "blacklist": sorted(map(name, patch.kprobe_blacklist)),
        "paravirt": sorted((name(at), slot) for at, slot in patch.paravirt.items()),
        "retpolines": [name(at) for at in sites(image, ".retpoline_sites")],
        "static calls": sorted((name(one.at), one.key, one.tail) for one in patch.static_calls.values()),
        "classes": {symbol: image.class_at(image.symbols.named(symbol).address) for symbol in ("f", "traced", "idle")},
    }


def test_a_linked_image_tells_what_its_object_told(both):
    source, linked, kept = (told(image) for image in both)
    assert all(source.values())
    assert linked == source
    assert kept == source


def test_each_of_the_linked_things_is_what_the_source_says(both):
    linked = told(both[1])
    sites = {row[0]: row for row in linked["code"]}
    assert linked["classes"] == {"f": Class.NOINSTR, "traced": Class.TEXT, "idle": Class.CPUIDLE}
    assert [key[1:] for key in linked["keys"]] == [("fixed_key", True), ("any_key", False)]
    callees = [(row[3], [name for name, _ in row[4]]) for row in linked["code"] if row[3]]
    assert ("*pv_ops+0x8", ["quiet"]) in callees
    assert ("*constant", ["quiet"]) in callees
    assert ("__SCT__answer", ["quiet", "traced"]) in callees  # its first target, and what g() sets it to
    # All stores to a variable are known only where nothing, in code or data, holds its address.
    assert {row[3]: row[6] for row in linked["code"] if row[3] in ("*known", "*held")} == {
        "*known": True,
        "*held": False,
    }
    assert linked["warnings"] == ["f+0x2c"]
    assert len(sites) == len(linked["code"])
    switch = next(row for row in linked["code"] if row[2] and not row[3] and row[1].name == "JUMP_INDIRECT")
    assert len(switch[2]) == 2


def test_an_object_from_before_objtool_made_the_table_has_its_static_calls_by_name(assemble):
    calls = "FUNC f\n call __SCT__x\n jne __SCT__x\n jmp __SCT__y\n lea __SCT__x(%rip), %rax\nENDF f"
    image = assemble(calls)
    found = [(image.place(one.at), one.key, one.tail) for one in PatchSites(image).static_calls.values()]
    assert found == [("f+0x0", "x", False), ("f+0x5", "x", True), ("f+0xb", "y", True)]


@pytest.mark.shared
def test_a_static_call_told_by_itself_is_the_one_of_the_list(shared):
    image = load_image(shared / "data/lint/vmlinux_base.o.xz")
    whole, one_by_one = PatchSites(image).static_calls, PatchSites(image)
    protected = [part for part in image.sections if part.name in (".noinstr.text", ".cpuidle.text", ".entry.text")]
    places = {one[0] for part in protected for one in image.decoded(part.start, part.end)} | set(whole)
    assert {at: call for at in places if (call := one_by_one.static_call(at))} == whole
    assert len(whole) == 437


def test_a_probe_is_refused_by_class_by_name_and_where_the_table_says(both):
    for image in both:
        patch = PatchSites(image)
        assert [patch.probeable(image.symbols.named(name).address) for name in ("f", "traced", "idle")] == [
            False,
            False,
            True,
        ]


def test_without_annotations_a_linked_image_is_never_cleared_and_lists_what_its_object_lists(demos, tmp_path):
    bare = tmp_path / "bare.o"
    for name in ("good", "broken"):
        removed = ["--remove-section=.discard.instr_begin", "--remove-section=.discard.instr_end"]
        subprocess.run(["objcopy", *removed, str(demos[name]), str(bare)], check=True)
        linked = lint(load_image(link(bare, tmp_path / "vmlinux")), RULES)
        stripped = lint(load_image(bare), RULES)
        escapes = [transfers(answer) for answer in (stripped, linked)]
        assert escapes[0] == escapes[1]
        assert len(escapes[0]) > 1
        words = {result.verdict.word for result in linked.results if "escape" in result.id or "unbalanced" in result.id}
        assert words == {"unknown"}


def transfers(answer):
    return sorted(
        (result.verdict.path[-1].place, result.verdict.path[-1].callee)
        for result in answer.results
        if result.id == "entry.noinstr-escape" and result.verdict.path
    )


def test_a_linked_image_without_symbols_is_refused_with_a_way_out(demos, tmp_path):
    linked = link(demos["good"], tmp_path / "vmlinux", "--strip-all")
    with pytest.raises(BadInput, match="without symbols") as caught:
        load_image(linked)
    assert "unstripped vmlinux" in caught.value.remedy


# A distribution's kernel.


@pytest.fixture(scope="module")
def vmlinux():
    """A linked kernel with --emit-relocs: its relocations are the linker's own word on every table and operand."""
    kept = Path(__file__).parents[2] / "build" / "kernel" / "vmlinux"
    path = Path(os.environ.get("NOSTALE_VMLINUX", kept))
    if not path.exists():
        pytest.skip("no linked kernel: set NOSTALE_VMLINUX or run bench/_kernel.py vmlinux")
    if "has no relocations" in output("readelf", "-rW", str(path), limit=1 << 12):
        pytest.skip(f"{path} was linked without --emit-relocs: nothing to compare with")
    return path


def output(*command, limit=-1):
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        text = process.stdout.read(limit)
        process.stdout.close()
    return text


RELOCATION = re.compile(r"^([0-9a-f]{16})  [0-9a-f]{16} (R_X86_64_\w+) +([0-9a-f]{16}) (\S+)(?: ([+-]) ([0-9a-f]+))?$")


@pytest.fixture(scope="module")
def readelf(vmlinux):
    """Return symbols by name, and (place, type, value, addend) of every relocation of what stays in memory."""
    symbols = {}
    for line in output("readelf", "-sW", str(vmlinux)).splitlines():
        fields = line.split()
        if len(fields) == 8 and fields[0].endswith(":") and fields[4] == "GLOBAL":
            symbols[fields[7]] = int(fields[1], 16)
    relocations = []
    with subprocess.Popen(["readelf", "-rW", str(vmlinux)], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("Relocation section '.rela.debug"):
                process.terminate()
                break
            if match := RELOCATION.match(line):
                place, kind, value, _, sign, addend = match.groups()
                signed = int(addend or "0", 16) * (-1 if sign == "-" else 1)
                relocations.append((int(place, 16), kind, int(value, 16), signed))
    return symbols, relocations


# (table, first symbol, symbol after it, bytes of an entry)
TABLES = (
    ("__jump_table", "__start___jump_table", "__stop___jump_table", 16),
    (".static_call_sites", "__start_static_call_sites", "__stop_static_call_sites", 8),
    ("__mcount_loc", "__start_mcount_loc", "__stop_mcount_loc", 8),
    (".altinstructions", "__alt_instructions", "__alt_instructions_end", 12),
    (".parainstructions", "__parainstructions", "__parainstructions_end", 16),
    (".retpoline_sites", "__retpoline_sites", "__retpoline_sites_end", 4),
    (".return_sites", "__return_sites", "__return_sites_end", 4),
    ("_kprobe_blacklist", "__start_kprobe_blacklist", "__stop_kprobe_blacklist", 8),
    ("__bug_table", "__start___bug_table", "__stop___bug_table", 12),
)


def ours(image, name, size):
    """Return the places that a table names, as the engine reads it, each as often as it is named."""
    if name == "__jump_table":
        return list(PatchSites(image).jump_labels)
    if name == ".static_call_sites":
        return list(PatchSites(image).static_calls)
    if name == ".altinstructions":
        return [
            start for start, group in read_tables(image).alternatives.items() for _ in range(len(group.replacements))
        ]
    if name == ".parainstructions":
        return list(PatchSites(image).paravirt)
    if name == "__bug_table":
        return image.column(image.section_named(name), size)
    return table_places(image, name) if size == 8 else sites(image, name)


@pytest.mark.parametrize(("name", "first", "after", "size"), TABLES)
def test_a_table_of_a_distributions_kernel_names_what_its_relocations_name(vmlinux, readelf, name, first, after, size):
    symbols, relocations = readelf
    if first not in symbols:
        pytest.skip(f"this kernel has no {name}")
    image = load_image(vmlinux)
    start, end = symbols[first], symbols[after]
    theirs = [
        (value + addend) % (1 << 64)
        for place, _, value, addend in relocations
        if start <= place < end and (place - start) % size == 0
    ]
    assert len(theirs) == (end - start) // size > 20
    assert Counter(ours(image, name, size)) == Counter(theirs)

    def within(place, kind):
        return symbols[f"__{kind}_text_start"] <= place < symbols[f"__{kind}_text_end"]

    for kind in ("entry", "cpuidle", "noinstr"):
        inside = [place for place in theirs if within(place, kind)]
        if kind == "noinstr":  # from v6.2 on .cpuidle.text lies within it
            inside = [place for place in inside if not within(place, "cpuidle")]
        assert sum(image.class_at(place) == kind for place in theirs) == len(inside)


def test_the_operands_that_name_data_are_those_that_the_linker_relocated(vmlinux, readelf):
    symbols, relocations = readelf
    image = load_image(vmlinux)
    code = [one for one in relocations if image.class_at(one[0]) not in (None, Class.DATA)]
    chosen = [name for name in symbols if name.startswith("__SCK__") or name == "pv_ops"]
    draw, seen = random.Random(1), 0
    for name in [*draw.sample(sorted(chosen), 40), "pv_ops"]:
        symbol = image.symbols.named(name)
        theirs = set()
        for place, kind, value, addend in code:
            if not symbol.address - 8 <= value + addend < symbol.end:
                continue
            one = image.instruction_around(place)
            # A distance counts from the end of its instruction.
            slack = one[0] + one[1] - place if kind in ("R_X86_64_PC32", "R_X86_64_PLT32") else 0
            if symbol.address <= value + addend + slack < symbol.end:
                theirs.add(place)
        assert {one.at for one in image.references_to(symbol)} == theirs
        seen += len(theirs)
    assert seen > 100


def test_a_distributions_kernel_is_unknown_with_the_transfers_listed(vmlinux):
    image = load_image(vmlinux)
    assert not annotated(image, ".discard.instr_begin")
    answer = lint(image, RULES)
    escapes = [one for one in answer.results if one.id == "entry.noinstr-escape"]
    assert {one.verdict.word for one in escapes} == {"unknown"}
    assert len([one for one in escapes if one.verdict.path]) > 200
    (order,) = [one for one in answer.results if one.id == "entry.order"]
    assert order.verdict.word == "holds"  # every instruction is on a path: stubs and local assembly are entries


def test_all_rules_over_a_distributions_kernel_take_little_time_and_memory(vmlinux, tmp_path):
    """Its debugging information, where it has any, is half a gigabyte: it is mapped, and little of it read."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    program = "import sys; from nostale.cli import _run; _run(['lint', sys.argv[1], '-o', sys.argv[2]])"
    # Not ru_maxrss, which a new program has from the process that started it.
    program += "; print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    text = output(sys.executable, "-c", program, str(vmlinux), str(tmp_path / "answer"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert int(text.split()[-1]) < 500 << 10  # KiB
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 6
