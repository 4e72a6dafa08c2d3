"""What makes a finding the same one in another build: the rule, the verdict, the function and what it calls.

Offsets move with every change of the compiler or the source, and so does what the compiler appends to a name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nostale.contract.answer import Answer, Result
from nostale.contract.verdict import Holds

_OFFSET = re.compile(r"\+0x[0-9a-f]+")
# What compilers append to the name of a function that they split, copied or specialised (gcc, clang --lto).
_SUFFIX = re.compile(r"\.(?:cold|part|isra|constprop|lto_priv|llvm|localalias)(?:\.\d+)?(?=$|[^\w])")
ARROW = " -> "


@dataclass(frozen=True, slots=True, order=True)
class FindingKey:
    """One kind of finding at one place, whatever the build. `place` is `function` or `function -> callee`.

    A verdict without a path, such as that not everything could be seen, has the place "".
    """

    id: str
    verdict: str
    place: str

    def __str__(self) -> str:
        return f"{self.verdict} {self.id} at {self.place}" if self.place else f"{self.verdict} {self.id}"


def finding_key(result: Result) -> FindingKey | None:
    """Return what stands for a finding in another build; None for what holds, which is none.

    >>> from nostale.contract import Step, Violated
    >>> path = (Step("f", "f.isra.0+0x4a", "call", callee="printk"),)
    >>> print(finding_key(Result("entry.noinstr-escape", "", "", (), Violated(path))))
    violated entry.noinstr-escape at f -> printk
    """
    verdict = result.verdict
    if isinstance(verdict, Holds):
        return None
    if not verdict.path:
        return FindingKey(result.id, verdict.word, "")
    last = verdict.path[-1]
    place = stable(last.place) + (f"{ARROW}{stable(last.callee)}" if last.callee else "")
    return FindingKey(result.id, verdict.word, place)


def stable(place: str) -> str:
    """Return a place or name without what changes from build to build.

    >>> stable("exc_nmi.cold+0x1f"), stable("*ops+0x8 (handle.part.0)")
    ('exc_nmi', '*ops+0x8 (handle)')
    """
    # An offset into a named table is what a slot is; only that of a place in a function moves.
    text = place if place.startswith("*") else _OFFSET.sub("", place)
    while (shorter := _SUFFIX.sub("", text)) != text:
        text = shorter
    return text


def leaves(answer: Answer) -> tuple[Answer, ...]:
    """Return the answers that have results of their own: the parts, else the answer itself."""
    return tuple(leaf for part in answer.parts for leaf in leaves(part)) if answer.parts else (answer,)
