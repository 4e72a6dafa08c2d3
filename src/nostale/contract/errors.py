"""What a user did that nostale cannot work with. A fault of nostale itself is any other exception.

NostaleError
├── BadInput        a file, model or argument that is not what it must be
├── NotPermitted    the machine does not let this user do it
└── NotHere         the machine lacks something (a compiler, tracefs, a package)
"""

from __future__ import annotations


class NostaleError(Exception):
    """One line for the user: where, what, likely cause, remedy. Exit code 2, no traceback.

    Args:
        where: the file, model, place or argument, as the user typed it.
        what: what was found there.
        cause: the likely cause, or "" when `what` says it all.
        remedy: what to do next.

    >>> print(NostaleError("a.dat", "cut short at byte 12", cause="an interrupted copy", remedy="copy it again"))
    a.dat: cut short at byte 12 (likely an interrupted copy); copy it again
    """

    def __init__(self, where: str, what: str, *, cause: str = "", remedy: str = "") -> None:
        self.where, self.what, self.cause, self.remedy = where, what, cause, remedy
        super().__init__(where, what, cause, remedy)

    def __str__(self) -> str:
        cause = f" (likely {self.cause})" if self.cause else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        line = f"{self.where}: {self.what}{cause}{remedy}"
        # A name out of a damaged file may hold anything; it is still one line, and no order to the terminal.
        return line if line.isprintable() else "".join(one if one.isprintable() else _escaped(one) for one in line)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


class BadInput(NostaleError):
    """A file, model or argument that is not what it must be."""


class NotPermitted(NostaleError):
    """The machine does not let this user do it."""


class NotHere(NostaleError):
    """The machine lacks something: a compiler, tracefs, a package."""
