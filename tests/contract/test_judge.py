import pytest

from nostale.contract import (
    FRESH,
    Binding,
    Bound,
    Contract,
    Event,
    Evidence,
    Grade,
    Holds,
    Role,
    Source,
    Step,
    Unknown,
    Violated,
    Witness,
    judge,
)

EVENTS = (
    Event("patch", Role.CHANGE, ("address",), "text changes"),
    Event("sync", Role.SYNC, ("cpu",), "the CPU serialises"),
    Event("run", Role.USE, ("cpu", "address"), "the CPU runs it"),
    Event("done", Role.RELY, ("address",), "the patcher returns"),
)
CONTRACT = Contract(
    "codegen.test", "title", "why", "remedy", ("cpu", "address"), "cpu", EVENTS, ("CG-9",), (Source("x"),)
)
PATH = (Step("CPU 0", "here", "ran it"),)
USED = Witness("run", PATH)


def bound(**grades: Grade) -> Binding:
    entries = {e.name: Bound(f"by {e.name}", grades.get(e.name, Grade.EXACT)) for e in EVENTS}
    return Binding(CONTRACT, "watch", entries, FRESH, "nothing happened yet", ("assumed",))


def test_exact_evidence_of_a_use_is_a_violation_by_use():
    assert judge(bound(), Evidence((USED,))) == (Violated(PATH, Role.USE, ("assumed",)),)


def test_a_rely_is_told_apart_from_a_use():
    (verdict,) = judge(bound(), Evidence((Witness("done", PATH),)))
    assert isinstance(verdict, Violated) and verdict.of is Role.RELY


def test_nothing_found_with_exact_evidence_holds_within_its_bounds():
    assert judge(bound(), Evidence(bounds=("2 CPUs",))) == (Holds(("2 CPUs",), ("assumed",)),)


# Each row: one event's grade, and what a witness and its absence may then conclude.
@pytest.mark.parametrize(
    ("event", "grade", "with_witness", "without"),
    [
        ("patch", Grade.MAY, Unknown, Holds),
        ("patch", Grade.MUST, Violated, Unknown),
        ("patch", Grade.UNSEEN, Violated, Unknown),
        ("patch", Grade.ASSUMED, Violated, Holds),
        ("sync", Grade.MAY, Violated, Unknown),
        ("sync", Grade.MUST, Unknown, Holds),
        ("sync", Grade.UNSEEN, Unknown, Holds),
        ("run", Grade.MAY, Unknown, Holds),
        ("run", Grade.MUST, Violated, Unknown),
        ("done", Grade.MAY, Violated, Holds),  # the witness is of the use: how good relies are does not matter to it
        ("done", Grade.UNSEEN, Violated, Unknown),
    ],
)
def test_grades_decide_what_may_be_concluded(event, grade, with_witness, without):
    assert isinstance(judge(bound(**{event: grade}), Evidence((USED,)))[0], with_witness)
    assert isinstance(judge(bound(**{event: grade}), Evidence())[-1], without)


def test_a_witness_in_doubt_is_unknown_and_says_what_is_missing():
    doubtful = Witness("run", PATH, {"run": Grade.MAY}, "the call may go elsewhere")
    (verdict,) = judge(bound(), Evidence((doubtful,)))
    assert isinstance(verdict, Unknown) and verdict.why == "the call may go elsewhere" and verdict.path == PATH


def test_what_was_not_looked_at_keeps_it_from_holding_but_not_from_being_violated():
    lost = Evidence((USED,), not_seen=("17 events were lost",))
    assert [type(v) for v in judge(bound(), lost)] == [Violated, Unknown]
    assert judge(bound(), Evidence(not_seen=("17 events were lost",)))[0].missing == ("17 events were lost",)


def test_a_binding_leaves_no_event_out():
    with pytest.raises(ValueError, match=r"codegen\.test in lint"):
        Binding(CONTRACT, "lint", {"patch": Bound("x", Grade.EXACT)}, FRESH, "")
