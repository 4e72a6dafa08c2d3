"""Read a litmus test in the format of herd7 and diy7, whatever the architecture: what stands where, not what it means.

A file is a header (architecture and name, a comment in quotes, `Key=Value` lines), an initial state in braces, a table
of instructions with a column per thread, and a condition. Source: the herdtools7 documentation, "Writing simple test
programs" and "Input files"; written from the documents and the test files, not from herd7's code.
Not read: tests in C and in assembler of other layouts than the table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nostale.contract import BadInput
from nostale.prove.litmus.condition import Condition, parse_condition

_QUANTIFIERS = ("~exists", "exists", "forall")
_HANDLER = re.compile(r"P\d+\.F$")
_END_OF_TABLE = re.compile(r"^[ \t]*(~\s*exists|exists|forall|locations|filter)(?![A-Za-z0-9_])", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Line:
    """A piece of text and the number of its line in the file."""

    text: str
    number: int


@dataclass(frozen=True, slots=True)
class Test:
    """A litmus test.

    Args:
        path: the file, as typed.
        arch, name: of the first line.
        initial: the entries of the initial state.
        threads: the instructions of each thread, empty cells left out.
        handlers: how many fault handlers there are; their instructions are not kept.
        quantifier: `exists`, `~exists` or `forall`; "" where the test asks nothing.
        condition: what is asked, as written.
        filter: a restriction on the final states that are looked at; "" for none.
    """

    path: str
    arch: str
    name: str
    initial: tuple[Line, ...]
    threads: tuple[tuple[Line, ...], ...]
    handlers: int
    quantifier: str
    condition: Line
    filter: str

    __test__ = False  # pytest: not a test of ours

    @property
    def asked(self) -> str:
        """The question as the file has it."""
        return f"{self.quantifier} {self.condition.text}".strip() or "no condition"

    def clauses(self) -> Condition:
        """Return the condition as a disjunction of conjunctions.

        Raises:
            BadInput: it is malformed: file, line and what was found.
        """
        return parse_condition(self.condition.text, f"{self.path}:{self.condition.number}")


def parse(text: str, path: str) -> Test:
    """Read a litmus test.

    Raises:
        BadInput: it is not one: file, line, what is wrong and what to write.
    """
    plain = _without_comments(text, path)
    arch, name = _header(plain, path)
    opened, closed = _braces(plain, path)
    initial = _entries(plain[opened + 1 : closed], _line_at(plain, opened))
    ends = _END_OF_TABLE.search(plain, closed)
    table_end = ends.start() if ends else len(plain)
    columns, handlers = _table(plain[closed + 1 : table_end], _line_at(plain, closed), path)
    quantifier, condition, restriction = _questions(plain, table_end, path)
    threads = columns[: len(columns) - handlers]
    return Test(path, arch, name, initial, threads, handlers, quantifier, condition, restriction)


def _without_comments(text: str, path: str) -> str:
    """Blank out `(* ... *)`, nested ones too, keeping every line break."""
    made, depth, opened, at = [], 0, 0, 0
    while at < len(text):
        two = text[at : at + 2]
        if two == "(*":
            opened = opened if depth else at
            depth, at = depth + 1, at + 2
        elif two == "*)" and depth:
            depth, at = depth - 1, at + 2
        else:
            made.append(text[at] if not depth or text[at] == "\n" else " ")
            at += 1
    if depth:
        raise BadInput(f"{path}:{_line_at(text, opened)}", "a comment is never closed", remedy="end it with *)")
    return "".join(made)


def _line_at(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def _header(text: str, path: str) -> tuple[str, str]:
    for number, line in enumerate(text.splitlines(), 1):
        if words := line.split():
            if len(words) < 2 or line.lstrip().startswith("{"):
                raise BadInput(
                    f"{path}:{number}", "no architecture and name of a litmus test", remedy="start with: X86_64 NAME"
                )
            return words[0], words[1]
    raise BadInput(path, "is empty", remedy="a litmus test starts with: X86_64 NAME")


def _braces(text: str, path: str) -> tuple[int, int]:
    opened = text.find("{")
    if opened < 0:
        raise BadInput(path, "no initial state", remedy="write { } before the table of instructions")
    closed = text.find("}", opened)
    if closed < 0:
        raise BadInput(f"{path}:{_line_at(text, opened)}", "the initial state is never closed", remedy="end it with }")
    return opened, closed


def _entries(text: str, first: int) -> tuple[Line, ...]:
    made = []
    for number, line in enumerate(text.split("\n"), first):
        made += [Line(entry.strip(), number) for entry in line.split(";") if entry.strip()]
    return tuple(made)


def _table(text: str, first: int, path: str) -> tuple[tuple[tuple[Line, ...], ...], int]:
    """Read the table; its first row names the threads P0, P1... and the handlers of their faults, P0.F..."""
    columns: list[list[Line]] = []
    heads: list[str] = []
    for number, row in enumerate(text.split("\n"), first):
        if not row.strip():
            continue
        body, semicolon, rest = row.rpartition(";")
        if not semicolon or rest.strip():
            raise BadInput(f"{path}:{number}", "a row of the table does not end with ;", remedy="end it with ;")
        cells = [cell.strip() for cell in body.split("|")]
        if not columns:
            named = [cell for cell in cells if not _HANDLER.match(cell)]
            if named != [f"P{thread}" for thread in range(len(named))]:
                raise BadInput(f"{path}:{number}", f"the table starts with {row.strip()!r}", remedy="write P0 | P1 ;")
            heads = cells
            columns = [[] for _ in cells]
        elif len(cells) > len(columns):
            raise BadInput(
                f"{path}:{number}",
                f"a row of {len(cells)} columns in a table of {len(columns)}",
                remedy="one column a thread",
            )
        else:
            for column, cell in zip(columns, cells):
                column += [Line(cell, number)] if cell else []
    if not columns:
        raise BadInput(f"{path}:{first}", "no table of instructions", remedy="write P0 | P1 ; and a row a line")
    # Threads first, then handlers of faults, so that a thread's number is its index.
    ordered = sorted(zip(heads, columns), key=lambda pair: bool(_HANDLER.match(pair[0])))
    return tuple(tuple(column) for _, column in ordered), sum(bool(_HANDLER.match(head)) for head in heads)


def _questions(text: str, start: int, path: str) -> tuple[str, Line, str]:
    """Read what follows the table: locations (told, not asked), a filter, and the condition."""
    found = list(_END_OF_TABLE.finditer(text, start))
    quantifier, condition, restriction = "", Line("", _line_at(text, start)), ""
    for one, following in zip(found, [*found[1:], None]):
        word = one.group(1).replace(" ", "")
        body = " ".join(text[one.end() : following.start() if following else len(text)].split())
        number = _line_at(text, one.start(1))
        if word == "filter":
            restriction = body
        elif word in _QUANTIFIERS:
            if quantifier:
                raise BadInput(f"{path}:{number}", "a second condition", remedy="a litmus test asks one question")
            quantifier, condition = word, Line(body.rstrip(";").strip(), number)
            if not condition.text:
                raise BadInput(f"{path}:{number}", f"nothing after {word}", remedy="such as: exists (0:rax=0)")
    return quantifier, condition, restriction
