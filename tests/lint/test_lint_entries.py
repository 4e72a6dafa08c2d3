"""Assumed features, what instructions do, and where a kernel is entered."""

from __future__ import annotations

import pytest

from nostale.lint.assumed import Assumed, Came
from nostale.lint.effects import Effects
from nostale.lint.entries import EntryKind, find_entries, missing_kinds, possible
from nostale.lint.features import ALWAYS, FRED, PTI, SERIALIZE, XENPV
from nostale.lint.flow import Flow
from nostale.lint.tables import Group, Replacement

ON, OFF, OPEN = PTI.number, FRED.number, SERIALIZE.number
MACHINE = Assumed("m", frozenset({PTI}), frozenset({FRED, XENPV}))


def arms(*features):
    group = Group(0, 5, tuple(Replacement(at, at + 1, *one) for at, one in enumerate(features, 10)), False)
    replacements, original = MACHINE.arms(group)
    return [one.start for one in replacements], original


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([(ON,)], ([10], False)),
        ([(OFF,)], ([], True)),
        ([(OPEN,)], ([10], True)),
        ([(ALWAYS.number,)], ([10], False)),
        ([(ON, True)], ([], True)),
        ([(OFF, True)], ([10], False)),
        ([(OPEN, True)], ([10], True)),
        ([(ON,), (ON,)], ([11], False)),
        ([(ON,), (OFF,)], ([10], False)),
        ([(ON,), (OPEN,)], ([10, 11], False)),
        ([(OPEN,), (ON,)], ([11], False)),
    ],
)
def test_the_last_applied_alternative_is_in_place(entries, expected):
    assert arms(*entries) == expected


GROUP = """
661: jmp 1f
662:
.pushsection .altinstructions,"a"
.long 661b - ., 663f - .
.short {feature}, {flags}
.byte 2, 2
.popsection
.pushsection .altinstr_replacement,"ax"
663: nop; nop
.popsection
"""


@pytest.mark.parametrize(
    ("feature", "flags", "ways"),
    [(PTI.number, 0, ["next"]), (PTI.number, 1, ["1"]), (FRED.number, 0, ["1"]), (SERIALIZE.number, 0, ["1", "next"])],
)
def test_control_goes_on_as_the_machine_has_it(assemble, feature, flags, ways):
    group = GROUP.format(feature=feature, flags=flags)
    image = assemble(f"FUNC f\n nop\n {group}\n next_: nop\n1: ret\nENDF f")
    flow, f = Flow(image).under(MACHINE), image.symbols.named("f").address
    met, waiting = set(), [edge.to for edge in flow.arrive(f)]
    for at in waiting:
        met.add(at)
        waiting += [edge.to for edge in flow.site(at).edges if edge.to not in met]
    assert ("next" in ways) == (f + 3 in met)
    assert ("1" in ways) == (f + 1 in met)


@pytest.mark.parametrize(("condition", "user"), [("je", False), ("jne", True)])
@pytest.mark.parametrize("test", ["testb $3, 16(%rsp)", "testb $3, 0x90(%rsp)", "testb $3, 0x88(%rdi)"])
def test_an_entry_from_user_mode_decides_what_asks_for_the_saved_cs(assemble, test, condition, user):
    image = assemble(f'.section .entry.text,"ax"\nf: nop\n nop\n{test}\nb: {condition} 1f\n nop\n1: ret')
    branch = image.symbols.named("b").address
    for came, jumps in ((Came.USER, user), (Came.ENTRY, not user)):
        site = Flow(image).under(Assumed("m", came=came)).site(branch)
        assert [edge.to - branch for edge in site.edges] == [3 if jumps else 2]
    assert len(Flow(image).under(MACHINE).site(branch).edges) == 2


@pytest.mark.parametrize("test", ["testb $1, 16(%rsp)", "testb $3, 16(%rdi)", "cmpb $3, 16(%rsp)"])
def test_what_asks_something_else_is_left_open(assemble, test):
    image = assemble(f'.section .entry.text,"ax"\nf: nop\n nop\n{test}\nb: je 1f\n nop\n1: ret')
    site = Flow(image).under(Assumed("m", came=Came.USER)).site(image.symbols.named("b").address)
    assert len(site.edges) == 2


@pytest.mark.parametrize(("on", "ways"), [({PTI}, 1), (set(), 2)])
def test_with_pti_an_entry_has_the_users_cr3(assemble, on, ways):
    text = "f: mov %cr3, %rax\n mov %rax, %r14\n bt $12, %rax\nb: jnc 1f\n nop\n1: ret"
    image = assemble(f'.section .entry.text,"ax"\n{text}')
    flow = Flow(image).under(Assumed("m", frozenset(on), came=Came.ENTRY))
    assert len(flow.site(image.symbols.named("b").address).edges) == ways


def test_an_iret_of_assembly_that_goes_on_behind_itself_is_followed(assemble):
    image = assemble('.section .entry.text,"ax"\nf: push $1f\na: iretq\n1: nop\nb: iretq\n nop')
    flow = Flow(image)
    assert [len(flow.site(image.symbols.named(name).address).edges) for name in "ab"] == [1, 0]


@pytest.mark.parametrize(
    ("code", "serialises"),
    [
        ("mov %rax, %cr3", True),
        ("mov %rax, %cr8", False),
        ("mov %rax, %dr7", True),
        ("cpuid", True),
        ("lfence", False),
        ("swapgs", False),
        ("sysretq", False),
        ("mov $0x48, %ecx\n wrmsr", False),
        ("mov $0x830, %ecx\n wrmsr", False),
        ("mov $0x10, %ecx\n mov %edx, %eax\n wrmsr", True),
        ("mov %eax, %ecx\n wrmsr", None),
    ],
)
def test_what_serialises(assemble, code, serialises):
    image = assemble(f"f: nop\n nop\n {code}\n ret")
    places = image.decoded(image.symbols.named("f").address, image.section_named(".noinstr.text").end)
    assert Effects(image).serialises(places[-2][0]) is serialises


ENTRIES = """
.section .entry.text,"ax"
.globl entry_SYSCALL_64
entry_SYSCALL_64: nop
asm_exc_nmi: nop
asm_exc_page_fault: nop
asm_sysvec_reschedule_ipi: nop
odd_gate: nop
asm_fred_entrypoint_user: nop
xen_asm_exc_nmi: nop
not_an_entry: nop
.section .noinstr.text
guest: vmrun
 nop
FUNC idle
 sti
 hlt
 ret
ENDF idle
.text
asm_exc_elsewhere: nop
ret_from_fork_asm: nop
.section .init.rodata,"a"
.type def_idts, @object
def_idts:
.long 14, 0x10, 0, 0
.quad asm_exc_page_fault
.long 77, 0x10, 0, 0
.quad odd_gate
.size def_idts, . - def_idts
"""


def test_every_entry_is_found_by_name_table_or_instruction(assemble):
    image = assemble(ENTRIES)
    found = [(one.kind, one.name, one.vector) for one in find_entries(image, Effects(image))]
    assert found == [
        (EntryKind.SYSCALL, "entry_SYSCALL_64", None),
        (EntryKind.NMI, "asm_exc_nmi", None),
        (EntryKind.EXCEPTION, "asm_exc_page_fault", 14),
        (EntryKind.EXCEPTION, "odd_gate", 77),
        (EntryKind.INTERRUPT, "asm_sysvec_reschedule_ipi", None),
        (EntryKind.FRED_USER, "asm_fred_entrypoint_user", None),
        (EntryKind.FORK, "ret_from_fork_asm", None),
        (EntryKind.GUEST_EXIT, ".noinstr.text+0x4", None),
        (EntryKind.IDLE, "idle+0x2", None),
        (EntryKind.XEN, "xen_asm_exc_nmi", None),
    ]


def test_kinds_that_are_not_found_are_said(assemble):
    image = assemble(ENTRIES)
    missing = missing_kinds(find_entries(image, Effects(image)))
    assert {EntryKind.SYSENTER, EntryKind.INT80, EntryKind.MACHINE_CHECK, EntryKind.FRED_KERNEL} <= set(missing)
    assert EntryKind.NMI not in missing


def test_a_machine_is_entered_where_its_features_let_it(assemble):
    image = assemble(ENTRIES)
    entries = find_entries(image, Effects(image))

    def names(assumed):
        return [
            one.kind for one in entries if possible(one, assumed) and one.kind not in (EntryKind.IDLE, EntryKind.FORK)
        ]

    native = [
        EntryKind.SYSCALL,
        EntryKind.NMI,
        EntryKind.EXCEPTION,
        EntryKind.EXCEPTION,
        EntryKind.INTERRUPT,
        EntryKind.GUEST_EXIT,
    ]
    assert names(MACHINE) == native
    assert names(Assumed("f", frozenset({FRED}), frozenset({XENPV}))) == [EntryKind.FRED_USER, EntryKind.GUEST_EXIT]
    assert names(Assumed("x", frozenset({XENPV}))) == [EntryKind.XEN]
