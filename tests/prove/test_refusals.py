"""What is outside the language is refused with file:line, what was written and what to write instead."""

import inspect

import pytest

from nostale.contract import BadInput
from nostale.prove import Model, compile_model, leads_to
from nostale.systems.codegen.model import TextPoke
from tests.prove import refused

NOT = "is not part of the modelling language"
CASES = {
    "Divides": (1, f"`self.x // 2` {NOT}; Python and C divide negatives differently; use + - * on the state"),
    "Endless": (1, f"`while True:` {NOT}; the loop takes no step; wait for something or change something in it"),
    "Recursive": (4, f"`self.again()` {NOT}; helpers are inlined, so they cannot recurse; use a loop"),
    "TwoAccesses": (
        1,
        f"`self.x = self.y` {NOT}; one statement touches x, y; real code does that in several steps: "
        "split it, or say `with atomic():`",
    ),
    "OutsideRow": (1, f"`self.row[3]` {NOT}; the index 3 is outside its 3 elements"),
    "RowsOfRows": (
        1,
        f"`self.rows[self.x]` {NOT}; an index known only at run time reaches into one row, not into rows of rows",
    ),
    "NotState": (1, f"`self.z` {NOT}; assign to a variable made in build() with flag, upto, one_of or array"),
    "UnknownName": (1, f"`somewhere` {NOT}; nothing called 'somewhere' is known here; assign it first"),
    "ForOverState": (1, f"`range(self.x)` {NOT}; it can be applied only to what is known when the model is compiled"),
    "WithOther": (1, f"`with suppress(ValueError):` {NOT}; only `with atomic():`"),
    "Tries": (
        1,
        f"`try:` {NOT}; a process is made of assignments, if, while, for over a range, wait, atomic and helpers",
    ),
    "ChoiceInside": (1, f"`choose((1, 2))` {NOT}; choose() stands alone as a statement, or right of one `=`"),
    "LocalInBranch": (
        1,
        f"`if self.x:` {NOT}; 'new' is assigned in a branch that is known only at run time; write "
        "`name = a if condition else b`",
    ),
    "NoEvent": (1, f"`event('patch', address=0)` {NOT}; the model's contracts have no events: add contracts()"),
    "UnsafeIndex": (5, "the index may be 0 to 7, the row has 3 elements; give the index variable the row's range"),
    "ManySteps": (
        1,
        f"`self.two(self.x)` {NOT}; an argument of a helper with several steps must be known when the "
        "model is compiled; call it inside `with atomic():`, or pass an index",
    ),
    "Arguments": (2, f"`self.two()` {NOT}; it takes value"),
}


def said(name: str) -> str:
    with pytest.raises(BadInput) as caught:
        compile_model(getattr(refused, name)())
    return str(caught.value)


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_where_it_stands(name):
    offset, words = CASES[name]
    source, first = inspect.getsourcelines(getattr(refused, name))
    line = first + next(i for i, text in enumerate(source) if "def " in text) + offset
    assert said(name) == f"tests/prove/refused.py:{line}: {words}"


def test_a_model_without_steps_is_refused():
    assert said("Nothing") == "model Nothing: it has no process and no rule, so nothing can happen"


def test_a_property_of_several_statements_is_refused():
    assert said("NotOneReturn") == (
        "NotOneReturn.bad: is not a single return of a condition; write `return ...`, with helpers for its parts"
    )


def test_an_enum_with_gaps_is_refused():
    assert said("GapEnum") == "Gap: its values are not consecutive; number them 0, 1, 2..."


def test_source_that_cannot_be_read_is_refused():
    space = {"Model": Model, "__name__": "made"}
    exec(
        "from nostale.prove import process, upto\nclass Made(Model):\n"
        "    def build(self): self.x = upto(1)\n    @process(lane='p')\n    def run(self): self.x = 1\n",
        space,
    )
    with pytest.raises(BadInput, match=r"Made\.run: its source cannot be read"):
        compile_model(space["Made"]())


@pytest.mark.parametrize(
    ("settings", "variant", "words"),
    [
        ({"cpu": "2"}, "", "model TextPoke: no parameter 'cpu'; it has cpus, depth, fetch"),
        ({"cpus": "two"}, "", "--set cpus=two: not a number; such as cpus=2"),
        ({"fetch": "any"}, "", "--set fetch=any: not one of its values; it takes independent, ordered, line"),
        ({}, "no-tail", "model TextPoke: no variant 'no-tail'; it has no-final-sync, no-int3, no-tail-sync"),
    ],
)
def test_settings_are_checked(settings, variant, words):
    with pytest.raises(BadInput) as caught:
        TextPoke(settings, variant)
    assert str(caught.value) == words


def test_no_cpus_at_all_is_refused():
    with pytest.raises(BadInput, match="there would be none of it; set cpus to 1 or more"):
        compile_model(TextPoke({"cpus": "0"}))


def test_a_promise_that_something_happens_at_last_is_refused_with_the_reason():
    with pytest.raises(BadInput) as caught:
        leads_to("asked", "answered")
    assert str(caught.value) == (
        "leads_to: is not explored yet (likely it needs weak fairness, which is not sound with symmetry); "
        "state what must not happen with never(), and that it can happen with sometimes()"
    )


def test_the_text_poke_model_stays_a_page():
    lines = [line for line in inspect.getsource(TextPoke).splitlines() if line.strip()]
    assert len(lines) <= 60
