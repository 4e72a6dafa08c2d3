"""A user's own automaton along the paths of an image."""

from __future__ import annotations

import pytest

from nostale.contract import BadInput
from nostale.lint import custom_rule, lint

PAIR = """digraph state_automaton {
"__init_closed" -> "closed"; "closed" -> "open" [ label = "take" ]; "open" -> "closed" [ label = "give" ];
"closed" -> "closed" [ label = "return" ]; }"""
CALLS = """
entries = ["f"]
[events.take]
calls = ["take*"]
[events.give]
calls = ["give"]
[events.return]
returns = ["f"]
"""


def results(image, bind=CALLS, dot=PAIR):
    return [one.verdict for one in lint(image, [custom_rule(dot, "pair.dot", bind, "pair.toml")]).results]


def found(image, bind=CALLS, dot=PAIR):
    return [(one.word, one.path[-1].place if one.word == "violated" else "") for one in results(image, bind, dot)]


def function(body):
    return f"FUNC f\n {body}\nENDF f"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("call take\n call give\n ret", ("holds", "")),
        ("call take\n ret", ("violated", "f+0x5")),
        ("call give\n ret", ("violated", "f+0x0")),
        ("call take_two\n test %eax, %eax\n je 1f\n call give\n 1: ret", ("violated", "f+0xe")),
        ("call take\n jmp give", ("holds", "")),
        ("call take\n jmp other", ("violated", "f+0x5")),
        ("call taken\n ret", ("violated", "f+0x5")),
        ("call untaken\n ret", ("holds", "")),
    ],
)
def test_every_path_of_a_function_is_run(assemble, body, expected):
    assert found(assemble(function(body))) == [expected]


def test_only_what_is_named_is_looked_at_and_nothing_to_look_at_is_not_a_pass(assemble):
    image = assemble("FUNC g\n call take\n ret\nENDF g")
    (verdict,) = results(image)
    assert verdict.word == "unknown" and "has no function f" in verdict.missing[0]
    assert found(image, CALLS.replace('["f"]', '["*"]'))[0][0] == "violated"
    assert found(image, CALLS.replace('["f"]', '["g"]', 1) + "\n")[0][0] == "holds"  # returns of f are not g's
    assert found(image, 'sections = [".text"]' + CALLS)[0][0] == "unknown"


def test_a_state_to_start_in_is_kept_to(assemble):
    image = assemble(function("call give\n ret"))
    assert found(image)[0][0] == "violated" and found(image, 'start = "open"' + CALLS)[0][0] == "holds"


FENCE = """digraph swap { "__init_calm" -> "calm"; "calm" -> "owed" [ label = "swap" ];
"owed" -> "calm" [ label = "fence" ]; "calm" -> "calm" [ label = "fence\\nuse" ]; }"""
FENCES = """
entries = ["f"]
[events.swap]
instructions = ["swapgs"]
[events.fence]
instructions = ["lfence", "mov %*,%cr3"]
[events.use]
instructions = ["mov %gs:*"]
"""


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("swapgs\n lfence\n mov %gs:0, %rax\n ret", "holds"),
        ("swapgs\n mov %rax, %cr3\n mov %gs:0, %rax\n ret", "holds"),
        ("swapgs\n mov %gs:0, %rax\n ret", "violated"),
        ("swapgs\n mov %cr3, %rax\n mov %gs:0, %rax\n ret", "violated"),
    ],
)
def test_instructions_are_named_by_their_text(assemble, body, word):
    assert found(assemble(function(body)), FENCES, FENCE)[0][0] == word


MARKS = CALLS.replace('calls = ["take*"]', 'marks = [".discard.instr_begin"]').replace(
    'calls = ["give"]', 'marks = [".discard.instr_end"]'
)


def test_marks_are_events_before_their_instruction(assemble):
    assert found(assemble(function("BEGIN\n END\n ret")), MARKS) == [("holds", "")]
    assert found(assemble(function("BEGIN\n ret")), MARKS) == [("violated", "f+0x1")]


NESTED = "FUNC f\n call take\n call helper\n ret\nENDF f\nFUNC helper\n {}\n ret\nENDF helper"


def test_calls_are_followed_where_that_is_asked_for(assemble):
    good, bad = assemble(NESTED.format("call give")), assemble(NESTED.format("nop"))
    assert found(good) == [("violated", "f+0xa")]
    follow = "follow = true" + CALLS
    assert [word for word, _ in found(good, follow)] == ["holds"]
    assert [word for word, _ in found(bad, follow)] == ["violated"]


def test_a_call_through_a_pointer_is_an_assumption_or_where_calls_are_followed_a_doubt(assemble):
    image = assemble(function("call take\n call *%rdi\n call give\n ret"))
    (verdict,) = results(image)
    assert verdict.word == "holds" and any(one.startswith("1 calls whose targets") for one in verdict.assumptions)
    (verdict,) = results(image, "follow = true" + CALLS)
    assert verdict.word == "unknown" and "where 1 calls go" in verdict.missing[0]


def test_a_slot_that_may_hold_another_function_is_a_doubt(assemble):
    ops = '\n.section .data,"aw"\n.globl ops\n.type ops, @object\nops: .quad give\n.size ops, 8\n'
    image = assemble(function("call take\n call *ops(%rip)\n ret") + ops)
    assert [word for word, _ in found(image)] == ["holds"]
    image = assemble(function("call *ops(%rip)\n ret") + ops)
    assert [word for word, _ in found(image)] == ["unknown"]


def test_a_followed_tail_call_leaves_a_doubt_about_the_return(assemble):
    image = assemble("FUNC f\n call take\n jmp helper\nENDF f\nFUNC helper\n ret\nENDF helper")
    (verdict,) = results(image, "follow = true" + CALLS)
    assert verdict.word == "unknown" and "a followed tail call makes for its caller, at f+0x5" in verdict.missing[0]


def test_what_no_image_shows_never_holds(assemble):
    bind = CALLS.replace('calls = ["give"]', 'unseen = "a device does it"')
    (verdict,) = results(assemble(function("ret")), bind)
    assert verdict.word == "unknown" and verdict.missing == ("give: a device does it",)


FAULTS = {
    "x": ("x", "pair.toml: is not TOML: Expected '=' after a key"),
    "an event left out": (
        CALLS.partition("[events.return]")[0],
        "does not bind the event 'return'; bind it by",
    ),
    "an event too many": (
        CALLS + "[events.gives]\ncalls=['x']",
        "gives: the automaton has no such event; did you",
    ),
    "bound to nothing": (
        CALLS.replace('calls = ["give"]', ""),
        "give: is bound to nothing; bind it by",
    ),
    "both": (
        CALLS.replace('calls = ["give"]', 'calls = ["give"]\nunseen = "x"'),
        "give: is both bound and unseen",
    ),
    "no state": ('start = "opn"' + CALLS, "start: the automaton has no state 'opn'; did you mean open?"),
    "a word": ("entrys = ['f']" + CALLS, "pair.toml: 'entrys' means nothing here; did you mean entries?"),
    "a field": (CALLS + "call = ['x']", "events.return: 'call' means nothing here; did you mean calls?"),
    "not a list": (CALLS.replace('["give"]', '"give"'), "events.give: calls: is not a list of texts; write calls = "),
    "not a bool": ("follow = 1" + CALLS, "follow: is neither true nor false; write true to follow calls"),
    "no table": ("events = 1", "pair.toml: events is not a table; bind each event by a table [events.NAME]"),
    "no tables": ("[events]\ntake = 1\ngive = 1\nreturn = 1", "events.give: is not a table; bind it by"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_with_a_remedy(name):
    text, said = FAULTS[name]
    with pytest.raises(BadInput) as caught:
        custom_rule(PAIR, "pair.dot", text, "pair.toml")
    assert said in str(caught.value) and "\n" not in str(caught.value)
