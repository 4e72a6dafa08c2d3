from __future__ import annotations

import pytest

from nostale.lint import How, Via, load_image
from nostale.lint.flow import Flow


def at(image, name, offset=0):
    return image.symbols.named(name).address + offset


def site(image, name, offset=0):
    return Flow(image).site(at(image, name, offset))


def ways(image, name, offset=0):
    return sorted(image.place(edge.to) for edge in site(image, name, offset).edges)


def test_a_conditional_jump_goes_both_ways(assemble):
    image = assemble("FUNC f\n je 1f\n nop\n1: ret\nENDF f")
    assert ways(image, "f") == ["f+0x2", "f+0x3"]


def test_a_jump_to_another_function_is_a_tail_call_and_one_into_its_middle_is_not(assemble):
    image = assemble("FUNC g\n nop\ng_middle: nop\n ret\nENDF g\nFUNC f\n jmp g\n jmp g_middle\nENDF f")
    assert site(image, "f").transfer.how is How.TAIL
    assert site(image, "f").edges == ()
    assert site(image, "f", 2).transfer is None
    assert ways(image, "f", 2) == ["g+0x1"]


def test_a_jump_to_the_own_start_is_a_loop(assemble):
    image = assemble("FUNC f\n nop\n jmp f\nENDF f")
    assert site(image, "f", 1).transfer is None


def test_a_jump_past_the_endbr_of_a_function_is_a_tail_call(assemble):
    image = assemble("FUNC g\n endbr64\ng_body: ret\nENDF g\nFUNC f\n jmp g_body\nENDF f")
    assert site(image, "f").transfer.how is How.TAIL


ALTERNATIVES = """
FUNC f
661: jmp 1f
     nop
     nop
662: ret
1:   ret
ENDF f
.pushsection .altinstructions,"a"
.long 661b - ., 663f - .
.long 5
.byte 2, 664f - 663f
.long 661b - ., 665f - .
.long 7
.byte 4, 0
.popsection
.pushsection .altinstr_replacement,"ax"
663: lfence
664:
665:
.popsection
"""


def test_an_alternative_is_entered_beside_its_original_and_nested_ones_share_the_longest(assemble):
    image = assemble(ALTERNATIVES)
    flow = Flow(image)
    first = list(flow.arrive(at(image, "f")))
    # The original, the replacement, and the empty one, after which the code behind the longest original follows.
    assert [image.place(edge.to) for edge in first] == ["f+0x0", ".altinstr_replacement+0x0", "f+0x4"]
    assert [image.place(edge.to) for edge in flow.site(first[1].to).edges] == ["f+0x4"]


def test_replacement_code_belongs_to_the_function_of_its_original(assemble):
    image = assemble(ALTERNATIVES)
    flow = Flow(image)
    replacement = next(edge.to for edge in flow.arrive(at(image, "f")) if "feature 0*32+5" in edge.why)
    assert flow.function(replacement).name == "f"


def test_replacement_code_faults_where_it_is_copied_to(assemble):
    fault = '.pushsection __ex_table,"a"\n.long 661b - ., 9f - ., 0\n.popsection\n.text\n9: ret\n'
    image = assemble(ALTERNATIVES + fault)
    replacement = image.section_named(".altinstr_replacement").start
    assert [edge.why for edge in Flow(image).site(replacement).edges] == ["", "it faults and goes on at its fixup"]


@pytest.mark.parametrize("instruction", [".byte 0x0f,0x1f,0x44,0,0", "jmp.d32 9f"])
def test_a_jump_label_goes_both_ways_whatever_stands_there(assemble, instruction):
    table = '.pushsection __jump_table,"aw"\n.long 1b - ., 9f - .\n.quad key + 1 - .\n.popsection'
    image = assemble(
        f"FUNC f\n1: {instruction}\n{table}\n ret\n9: nop\n ret\nENDF f\n.data\nkey: .quad 0\n.size key, 8"
    )
    assert ways(image, "f") == ["f+0x5", "f+0x6"]
    assert "static branch on key jumps" in [edge.why for edge in site(image, "f").edges]


def test_an_instruction_that_may_fault_also_goes_to_its_fixup(assemble):
    table = '.pushsection __ex_table,"a"\n.long 1b - ., 9f - ., 0\n.popsection'
    image = assemble(f"FUNC f\n1: mov (%rdi), %eax\n{table}\n ret\n9: ret\nENDF f")
    assert ways(image, "f") == ["f+0x2", "f+0x3"]


def test_a_trap_ends_a_path_unless_it_is_said_to_come_back(assemble):
    reachable = '1:\n.pushsection .discard.reachable,""\n.long 1b\n.popsection'
    image = assemble(f"FUNC f\n ud2\n ret\nENDF f\nFUNC g\n ud2\n{reachable}\n ret\nENDF g")
    assert ways(image, "f") == []
    assert ways(image, "g") == ["g+0x2"]


def test_a_trap_that_only_warns_comes_back_even_without_its_annotation(assemble):
    entry = '.pushsection __bug_table,"aw"\n.long {0}b - ., 0\n.word 7, {1}\n.popsection'
    warning, bug = entry.format(1, 1), entry.format(2, 0)
    image = assemble(f"FUNC f\n1: ud2\n{warning}\n2: ud2\n{bug}\n ret\nENDF f")
    assert ways(image, "f") == ["f+0x2"]
    assert ways(image, "f", 2) == []


def test_nothing_follows_a_call_of_a_function_that_never_returns(assemble):
    image = assemble("FUNC f\n call stop\n nop\nENDF f\nFUNC stop\n hlt\n jmp stop\nENDF stop")
    assert ways(image, "f") == []


def test_a_function_that_goes_on_to_one_that_returns_does_return(assemble):
    image = assemble("FUNC f\n call go\n ret\nENDF f\nFUNC go\n hlt\n jmp quiet\nENDF go")
    assert ways(image, "f") == ["f+0x5"]


def test_a_weak_function_may_be_replaced_by_one_that_returns(assemble):
    image = assemble("FUNC f\n call stop\n ret\nENDF f\n.weak stop\n.type stop,@function\nstop: jmp stop\nENDF stop")
    assert ways(image, "f") == ["f+0x5"]


@pytest.mark.parametrize(("name", "ends"), [("panic", True), ("do_something", False)])
def test_of_an_undefined_callee_only_its_declaration_tells_that_it_never_returns(assemble, name, ends):
    image = assemble(f"FUNC f\n call {name}\n ret\nENDF f")
    assert (ways(image, "f") == []) is ends


def test_the_return_thunk_is_a_return(assemble):
    image = assemble("FUNC f\n jmp __x86_return_thunk\nENDF f")
    assert site(image, "f").transfer.how is How.RETURN


def test_an_indirect_branch_thunk_is_a_call_of_a_pointer(assemble):
    image = assemble("FUNC f\n call __x86_indirect_thunk_rax\n jmp __x86_indirect_thunk_rax\nENDF f")
    assert (site(image, "f").transfer.how, site(image, "f").transfer.via) == (How.CALL, Via.POINTER)
    assert (site(image, "f", 5).transfer.how, site(image, "f", 5).transfer.via) == (How.TAIL, Via.POINTER)


def test_iret_to_the_next_instruction_comes_back_and_another_does_not(assemble):
    image = assemble("FUNC f\n push $1f\n iretq\n1: ret\nENDF f\nFUNC g\n iretq\n ret\nENDF g")
    assert ways(image, "f", 5) == ["f+0x7"]
    assert ways(image, "g") == []
    assert site(image, "g").transfer.how is How.RESUME


def test_a_call_within_the_function_goes_in_and_comes_back(assemble):
    image = assemble("FUNC f\n call 1f\n ret\n1: nop\n ret\nENDF f")
    assert ways(image, "f") == ["f+0x5", "f+0x6"]
    assert site(image, "f").transfer is None


def test_a_function_that_runs_off_its_end_is_said(assemble):
    image = assemble("FUNC f\n nop\nENDF f\nFUNC g\n ret\nENDF g")
    assert site(image, "f").stuck == "runs off the end of f"


def test_a_jump_into_the_middle_of_an_instruction_is_followed(assemble):
    image = assemble("FUNC f\n jmp 1f + 1\n1: .byte 0xb8, 0x90, 0x90, 0x90, 0xc3\nENDF f")
    flow = Flow(image)
    assert flow.site(at(image, "f", 3)).edges[0].to == at(image, "f", 4)


SWITCH = """
extern void a(void), b(void), c(void), d(void), e(void);
__attribute__((section(".noinstr.text"))) void f(int n)
{
    switch (n) {
    case 0: a(); break; case 1: b(); break; case 2: c(); break;
    case 3: d(); break; case 4: e(); break;
    }
}
"""


@pytest.mark.parametrize("flags", [("-fno-pic", "-mcmodel=kernel"), ("-fPIC",)])
def test_a_switch_is_followed_into_each_case(build, flags):
    image = load_image(build(SWITCH, *flags, "-fno-asynchronous-unwind-tables", "-fcf-protection=none", suffix=".c"))
    flow = Flow(image)
    start = image.symbols.named("f")
    jumps = [one[0] for one in image.decoded(start.address, start.end) if one[2].name == "JUMP_INDIRECT"]
    assert len(jumps) == 1
    called = {flow.site(edge.to).transfer.callee for edge in flow.site(jumps[0]).edges if flow.site(edge.to).transfer}
    assert called == set("abcde")


def test_an_indirect_jump_without_a_table_is_a_tail_call_of_a_pointer(assemble):
    image = assemble("FUNC f\n jmp *%rax\nENDF f")
    assert (site(image, "f").transfer.how, site(image, "f").transfer.via) == (How.TAIL, Via.POINTER)
