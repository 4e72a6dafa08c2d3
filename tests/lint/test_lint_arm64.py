from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from nostale.lint import Class, How, load_image, vector_slots
from nostale.lint.flow import Flow
from nostale.lint.reach import Scope, entries
from nostale.outside.instruction import Kind

CC, LD, OBJDUMP = "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-ld", "aarch64-linux-gnu-objdump"

PRELUDE = """
.macro FUNC name:req
.globl \\name
.type \\name, %function
\\name:
.endm
.macro ENDF name:req
.size \\name, . - \\name
.endm
.text
FUNC traced
ret
ENDF traced
.section .noinstr.text, "ax"
.subsection 0
"""


@pytest.fixture
def build(tmp_path):
    """Compile a source for arm64; `suffix` tells its language."""
    if shutil.which(CC) is None:
        pytest.skip(f"no {CC}: apt-get install gcc-aarch64-linux-gnu")

    def run(source, *flags, suffix=".s"):
        path = tmp_path / f"source{suffix}"
        path.write_text(source)
        output = tmp_path / "object.o"
        subprocess.run([CC, "-c", "-O2", *flags, "-o", str(output), str(path)], check=True)
        return output

    return run


@pytest.fixture
def assemble(build):
    return lambda text: load_image(build(PRELUDE + text + "\n"))


def at(image, name, offset=0):
    return image.symbols.named(name).address + offset


def site(image, name, offset=0):
    return Flow(image).site(at(image, name, offset))


def ways(image, name, offset=0):
    return sorted(image.place(edge.to) for edge in site(image, name, offset).edges)


def test_branches_go_both_ways_and_a_call_comes_back(assemble):
    image = assemble("FUNC f\n b.eq 1f\n tbz x0, #3, 1f\n bl traced\n cbnz w1, 1f\n1: ret\nENDF f")
    assert ways(image, "f") == ["f+0x10", "f+0x4"]
    assert ways(image, "f", 4) == ["f+0x10", "f+0x8"]
    called = site(image, "f", 8)
    assert (called.transfer.how, called.transfer.callee, called.transfer.targets[0].kind) == (
        How.CALL,
        "traced",
        Class.TEXT,
    )
    assert ways(image, "f", 8) == ["f+0xc"]
    assert site(image, "f", 16).transfer.how is How.RETURN


def test_a_tail_call_by_relocation_and_past_a_landing_pad(assemble):
    image = assemble("FUNC g\n bti c\n ret\nENDF g\nFUNC f\n b.ne 1f\n b traced\n1: b g+4\nENDF f")
    assert site(image, "f", 4).transfer.callee == "traced"
    assert site(image, "f", 8).transfer.how is How.TAIL
    image = assemble("FUNC g\n nop\n ret\nENDF g\nFUNC f\n b g+4\nENDF f")
    assert site(image, "f").transfer is None


ALTERNATIVE = """
FUNC f
661: nop
662: ret
ENDF f
.pushsection .altinstructions, "a"
.long 661b - ., 663f - .
.hword {feature}
.byte 4, {length}
.popsection
.subsection 1
663: b 9f
664:
.subsection 0
FUNC g
nop
9: ret
ENDF g
"""


def test_an_alternative_in_the_same_section_is_entered_beside_its_original(assemble):
    image = assemble(ALTERNATIVE.format(feature=7, length="664f - 663f"))
    original, replacement = Flow(image).arrive(at(image, "f"))
    assert (image.place(original.to), original.why) == ("f+0x0", "")
    assert replacement.why == "alternative for CPU capability 7"
    # Branches in it are resolved where it stands; the patcher keeps their targets.
    flow = Flow(image)
    assert [image.place(edge.to) for edge in flow.site(replacement.to).edges] == ["g+0x4"]
    assert flow.function(replacement.to).name == "f"


def test_a_callback_may_leave_its_instruction_or_make_it_nothing(assemble):
    image = assemble(ALTERNATIVE.format(feature=(1 << 15) | 7, length=0))
    original, nothing = Flow(image).arrive(at(image, "f"))
    assert (image.place(original.to), image.place(nothing.to)) == ("f+0x0", "f+0x4")
    assert nothing.why == "alternative for CPU capability 7, written by a callback (nothing)"


def test_a_callback_that_the_image_does_not_define_is_one_too(assemble):
    text = ALTERNATIVE.format(feature=(1 << 15) | 7, length=0).replace("663f - .", "elsewhere - .")
    assert len(list(Flow(assemble(text)).arrive(at(assemble(text), "f")))) == 2


@pytest.mark.parametrize(("flags", "on"), [(1, True), (0, False)])
def test_a_brk_comes_back_where_the_bug_table_says_that_it_warns(assemble, flags, on):
    image = assemble(
        f"""FUNC f
1: brk #0x800
ret
ENDF f
.pushsection __bug_table, "aw"
.long 1b - ., 0
.hword 10, {flags}
.popsection"""
    )
    assert bool(site(image, "f").edges) is on


def test_a_fault_goes_on_at_its_fixup(assemble):
    image = assemble(
        """FUNC f
1: ldtr x0, [x1]
2: ret
3: mov x0, #-1
ret
ENDF f
.pushsection __ex_table, "a"
.long 1b - ., 3b - .
.hword 3, 0
.popsection"""
    )
    assert ways(image, "f") == ["f+0x4", "f+0x8"]


def test_a_jump_label_has_both_arms(assemble):
    image = assemble(
        """FUNC f
1: nop
ret
2: ret
ENDF f
.pushsection __jump_table, "aw"
.long 1b - ., 2b - .
.quad some_key - .
.popsection"""
    )
    assert {edge.why for edge in site(image, "f").edges} == {
        "static branch on some_key falls through",
        "static branch on some_key jumps",
    }


def test_data_between_code_is_not_decoded(assemble):
    image = assemble("FUNC f\n ldr x0, 1f\n ret\n1: .quad 0x1400000014000000\nENDF f\nFUNC g\n ret\nENDF g")
    found = image.decoded(at(image, "f"), at(image, "g") + 4)
    assert [(one[1], one[2]) for one in found] == [(4, Kind.NEXT), (4, Kind.RETURN), (8, Kind.DATA), (4, Kind.RETURN)]
    assert image.symbols.starting(at(image, "f")).name == "f"
    flow = Flow(image)
    scope = Scope(flow, {Class.NOINSTR})
    reached = {at(image, "f"), at(image, "f", 4), at(image, "g")}
    assert set(scope.first) <= reached | {at(image, "traced")}
    assert scope.look(reached).missed == []


def test_control_that_runs_into_data_is_said(assemble):
    image = assemble("FUNC f\n nop\n.quad 0\nENDF f")
    assert site(image, "f", 4).stuck == "is data, not code"


VECTORS = """
.section .entry.text, "ax"
.align 11
.globl vectors
vectors:
.rept 16
b 1f
.align 7
.endr
.size vectors, . - vectors
1: eret
dsb nsh
isb
"""


def test_every_slot_of_a_vector_table_is_an_entry(assemble):
    image = assemble(VECTORS)
    (entry,) = (one for one in image.sections if one.kind is Class.ENTRY)
    assert vector_slots(image, entry) == [at(image, "vectors", 0x80 * slot) for slot in range(16)]
    flow = Flow(image)
    first, _ = entries(flow, [entry])
    assert set(vector_slots(image, entry)) <= set(first)
    # What stands behind eret is for speculation only.
    reached = {*first, at(image, "vectors", 0x800)}
    assert Scope(flow, {Class.ENTRY}).look(reached).missed == []


def test_a_label_that_is_not_aligned_as_a_vector_table_is_none(assemble):
    image = assemble(VECTORS.replace(".align 11", ".align 11\nnop"))
    assert [slot for section in image.sections for slot in vector_slots(image, section)] == []


SWITCH = """
int a(int), b(int), c(int);
int chosen(unsigned int n, int x)
{
	switch (n) {
%s
	}
	return x;
}
"""


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize(("cases", "spread", "load"), [(12, 1, "ldrb"), (12, 90, "ldrh")])
def test_a_switch_goes_to_every_case_and_nowhere_else(build, tmp_path, cases, spread, load, linked):
    body = "".join(f"\tcase {n}: x = a(x + {n});{' x ^= b(x) * 3 + c(x);' * spread} return x;\n" for n in range(cases))
    path = build(SWITCH % body, "-fno-pic", suffix=".c")
    if linked:  # then the table's address stands in adrp and add
        path, whole = tmp_path / "vmlinux", path
        subprocess.run([LD, "--unresolved-symbols=ignore-all", "-e", "0", "-o", path, whole], check=True)
    image = load_image(path)
    text = subprocess.run([OBJDUMP, "-d", path], check=True, capture_output=True, text=True).stdout
    jump = int(re.search(r"^ +([0-9a-f]+):.*\tbr\tx", text, re.MULTILINE)[1], 16)
    assert load in text
    edges = Flow(image).site(jump if linked else at(image, "chosen", jump)).edges
    # Each case begins by loading its own constant: those are the targets, and there are as many as cases.
    assert len({edge.to for edge in edges}) == cases
    flow = Flow(image)
    flow_reached, waiting = set(), [at(image, "chosen")]
    for one in waiting:
        if one not in flow_reached:
            flow_reached.add(one)
            waiting += [edge.to for edge in flow.site(one).edges]
    function = image.symbols.named("chosen")
    assert {one[0] for one in image.decoded(function.address, function.end) if one[2] is not Kind.PAD} <= flow_reached


@pytest.mark.shared
def test_every_instruction_of_the_arm64_object_is_reached(shared):
    image = load_image(shared / "data/lint/arm64_partial.o.xz")
    flow = Flow(image)
    scope = Scope(flow, {Class.NOINSTR, Class.ENTRY, Class.CPUIDLE})
    waiting = [edge.to for one in (*scope.first, *scope.later) for edge in flow.arrive(one)]
    reached = set()
    for one in waiting:
        if one not in reached:
            reached.add(one)
            waiting += [edge.to for edge in flow.site(one).edges]
    assert len(reached) > 5_000
    assert scope.look(reached).missed == []
    assert [image.place(one) for one in reached if flow.site(one).stuck] == []
