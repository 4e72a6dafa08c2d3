r"""The condition of a litmus test, as a disjunction of conjunctions of `place = value`.

>>> parse_condition("(0:rax=0 /\\ ~[x]=2)", "t:1")
((Atom(place='0:rax', value='0', equal=True), Atom(place='x', value='2', equal=False)),)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product

from nostale.contract import BadInput


@dataclass(frozen=True, slots=True)
class Atom:
    """One comparison: a register `0:rax` or a location `x`, and what it must hold (or, not `equal`, must not)."""

    place: str
    value: str
    equal: bool = True


Condition = tuple[tuple[Atom, ...], ...]
_TRUE: Condition = ((),)
_FALSE: Condition = ()
_ATOM = r"(\[?)((?:\d+:)?[A-Za-z_][\w.]*)(\]?)\s*(=|<>|!=)\s*(-?[\w:\"'.+ ]*\w\"?)"
_TOKEN = re.compile(rf"\s*(/\\|\\/|~|\(|\)|(?:not|true|false)\b|{_ATOM})")
_MOST_CLAUSES = 4096


def parse_condition(text: str, where: str) -> Condition:
    """Read a condition.

    Raises:
        BadInput: it is malformed, or has too many cases.
    """
    reader = _Reader(text, where)
    made = reader.either()
    if not reader.at_end():
        raise reader.refuse()
    return made


@dataclass(slots=True)
class _Reader:
    r"""Reads `\/` of `/\` of `~`, atoms and parentheses; a negation is pushed down to the atoms as it is read."""

    text: str
    where: str
    at: int = 0

    def at_end(self) -> bool:
        return not self.text[self.at :].strip()

    def next(self, *words: str) -> bool:
        """Take the next token if it is one of `words`."""
        found = _TOKEN.match(self.text, self.at)
        if found and found.group(1) in words:
            self.at = found.end()
            return True
        return False

    def either(self, *, negated: bool = False) -> Condition:
        made = self.both(negated=negated)
        while self.next("\\/"):
            made = self.joined(made, self.both(negated=negated), both=negated)
        return made

    def both(self, *, negated: bool) -> Condition:
        made = self.one(negated=negated)
        while self.next("/\\"):
            made = self.joined(made, self.one(negated=negated), both=not negated)
        return made

    def one(self, *, negated: bool) -> Condition:
        if self.next("~", "not"):
            return self.one(negated=not negated)
        if self.next("("):
            made = self.either(negated=negated)
            if not self.next(")"):
                raise self.refuse()
            return made
        for word, value in (("true", True), ("false", False)):
            if self.next(word):
                return _TRUE if value is not negated else _FALSE
        return self.atom(negated=negated)

    def atom(self, *, negated: bool) -> Condition:
        found = _TOKEN.match(self.text, self.at)
        if not found or not found.group(3) or bool(found.group(2)) != bool(found.group(4)):
            raise self.refuse()
        self.at = found.end()
        return ((Atom(found.group(3), found.group(6).strip(), (found.group(5) == "=") is not negated),),)

    def joined(self, left: Condition, right: Condition, *, both: bool) -> Condition:
        made = tuple(dict.fromkeys((*one, *other) for one, other in product(left, right)) if both else left + right)
        if len(made) > _MOST_CLAUSES:
            raise BadInput(self.where, "the condition has too many cases", remedy="split the test")
        return made

    def refuse(self) -> BadInput:
        rest = self.text[self.at :].strip() or "its end"
        return BadInput(self.where, f"the condition cannot be read at {rest!r}", remedy=r"such as (0:rax=0 /\ [x]=1)")
