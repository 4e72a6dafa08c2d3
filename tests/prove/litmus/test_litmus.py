"""Litmus tests: how they are read, what is said of them, and what is wrong with a bad one, word for word."""

import json

import pytest

from nostale.cli import _run
from nostale.contract import BadInput, Holds, Unknown
from nostale.prove import Means
from nostale.prove.hardware.tso import TSO
from nostale.prove.litmus import decide, parse
from nostale.report import to_json, to_text

SB = """X86_64 SB
"store buffering" (* a comment (* in a comment *)
over lines *)
Com=Fr Fr
{ x=0; int y=0; 1:rax=7; }
 P0          | P1          ;
 movl $1,(x) | movl $1,(y) ;
 %s | %s ;
 movl (y),%%eax | movl (x),%%eax ;
locations [x;]
%s
"""
EXISTS = "exists (0:rax=0 /\\ 1:rax=0)"


def answer(asked=EXISTS, first="", second="", **means):
    return decide(SB % (first, second, asked), "SB.litmus", Means(None, None, **means))


def outcome(asked=EXISTS, first="", second=""):
    return answer(asked, first, second).results[0].outcome


def test_store_buffering_is_allowed_and_two_fences_forbid_it():
    assert outcome() == outcome(EXISTS, "mfence") == "Allowed"
    assert outcome(EXISTS, "mfence", "mfence") == "Forbidden"


def test_a_locked_exchange_on_either_side_forbids_it_too():
    assert outcome(EXISTS, "xchgl %ebx,(z)", "lock xchgl %ebx,(z)") == "Forbidden"


def test_lfence_and_sfence_order_no_store_against_a_later_load():
    assert outcome(EXISTS, "sfence", "lfence") == "Allowed"


def test_a_locked_exchange_that_does_not_drain_would_allow_it(monkeypatch):
    monkeypatch.setattr(TSO, "locked", not_drained)
    assert outcome(EXISTS, "xchgl %ebx,(z)", "xchgl %ebx,(z)") == "Allowed"


def not_drained(self, cpu: int) -> None:
    pass


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("~exists (0:rax=0 /\\ 1:rax=0)", "Allowed"),
        ("exists (0:rax=2)", "Forbidden"),
        ("forall ([x]=1 /\\ y=1)", "Required"),
        ("forall (0:rax=0)", "Allowed"),
        ("forall (x=0)", "Forbidden"),
        ("exists not (0:rax=0 \\/ 1:rax=0)", "Allowed"),
        ("exists (0:rax=0 /\\ ~(1:rax=0 \\/ 1:rax=1))", "Forbidden"),
        ("exists (true /\\ (false \\/ 0:rax=1))", "Allowed"),
        ("exists (1:rax=7)", "Forbidden"),
    ],
)
def test_every_kind_of_condition_is_answered(asked, said):
    assert outcome(asked) == said


def test_an_allowed_outcome_comes_with_its_shortest_way():
    (result,) = answer().results
    assert isinstance(result.verdict, Holds) and len(result.witness) == 6
    assert [step.what for step in result.witness[:4]] == [
        "movl $1,(x)", "movl (y),%eax", "movl $1,(y)", "movl (x),%eax",
    ]  # fmt: skip
    assert [step.observer for step in result.witness[4:]] == ["P0's store buffer", "P1's store buffer"]
    assert [(c.var, c.old, c.new) for c in result.witness[3].changed] == [("1:rax", "7", "0")]
    assert result.witness[1].source == "SB.litmus:9"


def test_text_and_json_tell_the_outcome_and_the_way():
    shown = to_text(answer())
    assert "Allowed: the machine may end so" in shown and "movl (y),%eax" in shown
    (result,) = json.loads(to_json(answer()))["results"]
    assert result["outcome"] == "Allowed" and len(result["path"]) == 6 and result["verdict"] == "holds"


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (("mfence", ""), None),
        (("incl (x)", ""), "the instruction 'incl (x)' at SB.litmus:8; modelled are mov, xchg, mfence, lfence, sfence"),
        (("movb $1,(x)", ""), "the instruction 'movb $1,(x)' at SB.litmus:8; modelled are "),
        (("movq $1,(x)", ""), "an access that is not of its place's size: 'movq $1,(x)' at SB.litmus:8"),
        (("movl $-1,(x)", ""), "values below 0, such as -1 at SB.litmus:8"),
        (("movl $0x80000000,(x)", ""), "values beyond 31 bits, such as 0x80000000 at SB.litmus:8"),
        (("movl (%ebx),%ecx", ""), "addresses that the test computes: (%ebx) at SB.litmus:8"),
    ],
)
def test_what_is_not_modelled_is_unknown_and_named(change, missing):
    (result,) = answer(EXISTS, *change).results
    assert (result.outcome is None) == (missing is not None)
    if missing:
        assert isinstance(result.verdict, Unknown) and result.verdict.missing[0].startswith(missing)


def test_a_search_that_was_cut_short_forbids_nothing():
    (result,) = answer(EXISTS, "mfence", "mfence", max_states=5).results
    assert isinstance(result.verdict, Unknown) and result.outcome is None


def test_another_architecture_is_unknown():
    text = "AArch64 t\n{ 0:X1=x; }\n P0 | P0.F ;\n LDR W0,[X1] | MOV W1,#1 ;\nexists (0:X0=1)\n"
    (result,) = decide(text, "t", Means(None, None)).results
    assert isinstance(result.verdict, Unknown) and "instruction fetch" in result.verdict.missing[0]
    assert parse(text, "t").handlers == 1


BAD = {
    "": "t: is empty; a litmus test starts with: X86_64 NAME",
    "{ }": "t:1: no architecture and name of a litmus test; start with: X86_64 NAME",
    "X86_64 a": "t: no initial state; write { } before the table of instructions",
    "X86_64 a\n{": "t:2: the initial state is never closed; end it with }",
    "X86_64 a\n(* {": "t:2: a comment is never closed; end it with *)",
    "X86_64 a\n{ }\n": "t:2: no table of instructions; write P0 | P1 ; and a row a line",
    "X86_64 a\n{ }\nP1 ;": "t:3: the table starts with 'P1 ;'; write P0 | P1 ;",
    "X86_64 a\n{ }\nP0 ;\nmfence": "t:4: a row of the table does not end with ;; end it with ;",
    "X86_64 a\n{ }\nP0 ;\nmfence | mfence ;": "t:4: a row of 2 columns in a table of 1; one column a thread",
    "X86_64 a\n{ }\nP0 ;\nexists": "t:4: nothing after exists; such as: exists (0:rax=0)",
    "X86_64 a\n{ }\nP0 ;\nexists (0:rax=0)\nforall (x=1)": "t:5: a second condition; a litmus test asks one question",
    "X86_64 a\n{ }\nP0 ;\nexists (0:rax)": "t:4: the condition cannot be read at '0:rax)'; "
    "such as (0:rax=0 /\\ [x]=1)",
    "X86_64 a\n{ }\nP0 ;\nexists (0:rax=0": "t:4: the condition cannot be read at 'its end'; "
    "such as (0:rax=0 /\\ [x]=1)",
    "X86_64 a\n{ }\nP0 ;\nexists (0:rqx=0)": "t:4: no register 'rqx'; such as eax, rbx or r8d",
    "X86_64 a\n{ }\nP0 ;\nexists (3:rax=0)": "t:4: there is no thread 3; the table has 1",
    "X86_64 a\n{ =1; }\nP0 ;\nexists (x=0)": "t:2: '=1' is no entry of an initial state; such as x=1; or 0:rax=1;",
    "X86_64 a\n{ }\nP0 ;\nmovl $1 ;\nexists (x=0)": "t:4: 'movl $1' has 1 operands; write a source and a target",
    "X86_64 a\n{ }\nP0 ;\nmovl $1,$2 ;\nexists (x=0)": "t:4: 'movl $1,$2' cannot be; "
    "a MOV has a register on one side, or a constant left",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_a_bad_test_is_refused_with_file_and_line(text):
    with pytest.raises(BadInput) as caught:
        decide(text, "t", Means(None, None))
    assert str(caught.value) == BAD[text]


def test_prove_and_check_take_litmus_tests_and_exit_0_and_3(capsys, tmp_path):
    (tmp_path / "SB.litmus").write_text(SB % ("", "", EXISTS))
    (tmp_path / "U.litmus").write_text("AArch64 t\n{ }\n P0 ;\n NOP ;\nexists (x=1)\n")
    assert [_run(["prove", str(tmp_path / name)]) for name in ("SB.litmus", "U.litmus")] == [0, 3]
    assert [_run(["check", str(tmp_path / name)]) for name in ("SB.litmus", "U.litmus")] == [0, 3]
    assert "Allowed" in capsys.readouterr().out
    assert _run(["prove", str(tmp_path / "SB.litmus"), "--set", "a=1"]) == 2
    assert capsys.readouterr().err.endswith(
        "SB.litmus: a litmus test has no parameters; leave --set and --ablate away\n"
    )
