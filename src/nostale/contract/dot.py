"""Read and write automata as the kernel's runtime-verification `.dot` files (tools/verification/models/**/*.dot).

Only what those files use is read: one edge or node a statement, an `__init_STATE` node for the initial state, an
ellipse or a double circle for states that may end a run, several events on one edge apart by a line break.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from nostale.contract.automaton import Automaton
from nostale.contract.errors import BadInput

_TOKEN = re.compile(
    r'"((?:[^"\\]|\\.)*)"'  # a quoted name
    r"|([A-Za-z_][\w.]*|-?\d+(?:\.\d+)?)"  # a bare word
    r"|(->|[{}\[\];=,])"
    r"|(//[^\n]*|/\*.*?\*/|#[^\n]*)"  # a comment
    r"|(\s+)",
    re.S,
)
_INIT = "__init_"
_DEFAULTS = ("node", "edge", "graph")  # statements that set attributes for what follows
_EDGE_LABEL_BREAK = re.compile(r"\\n|\n")


def read_dot(text: str, where: str) -> Automaton:
    r"""Read one automaton.

    Args:
        text: the file's text.
        where: the file's name, for errors.

    Raises:
        BadInput: not a digraph, no initial state, or two edges on one event.

    >>> a = read_dot('digraph state_automaton { "__init_a" -> "a"; "a" -> "b" [ label = "go" ]; }', "x.dot")
    >>> a.initial, a.step("a", "go")
    ('a', 'b')
    """
    name, initial, final, edges = "automaton", None, set(), []
    for number, (statement, attributes) in enumerate(_statements(text, where)):
        if number == 0:
            name = statement[1] if len(statement) > 1 else name
        elif "->" in statement:
            ends = [word for word in statement if word != "->"]
            for source, target in pairwise(ends):
                if source.startswith(_INIT):
                    initial = target
                    continue
                for event in _EDGE_LABEL_BREAK.split(attributes.get("label", "")):
                    if not event.strip():
                        raise BadInput(
                            where,
                            f"the edge from {source!r} to {target!r} has no event",
                            remedy='give it [ label = "event" ]',
                        )
                    edges.append((source, event.strip(), target))
        elif statement[0] not in _DEFAULTS and attributes.get("shape") in ("ellipse", "doublecircle"):
            final.add(statement[0])
    if initial is None:
        raise BadInput(
            where,
            "no initial state",
            cause="a drawing that is not an automaton",
            remedy='add an edge "__init_STATE" -> "STATE"',
        )
    stem = where.rsplit("/", 1)[-1].removesuffix(".dot")
    return Automaton.of(stem if name == "state_automaton" else name, edges, initial=initial, final=final)


def write_dot(automaton: Automaton) -> str:
    """Write one, in the layout the kernel's own files have; reading it back gives an equal automaton."""
    lines = [
        f"digraph {'state_automaton' if not automaton.name.isidentifier() else automaton.name} {{",
        "\tcenter = true;",
        '\tsize = "7,11";',
        f'\t{{node [shape = plaintext, style=invis, label=""] "{_INIT}{automaton.initial}"}};',
    ]
    lines += [f'\t{{node [shape = ellipse] "{state}"}};' for state in automaton.states if state in automaton.final]
    lines += [f'\t{{node [shape = plaintext] "{state}"}};' for state in automaton.states]
    lines.append(f'\t"{_INIT}{automaton.initial}" -> "{automaton.initial}";')
    lines += [
        f'\t"{source}" -> "{target}" [ label = "{event}" ];'
        for (source, event), target in sorted(automaton.edges.items())
    ]
    lines += ["\t{ rank = min ;", f'\t\t"{_INIT}{automaton.initial}";', f'\t\t"{automaton.initial}";', "\t}", "}", ""]
    return "\n".join(lines)


def _statements(text: str, where: str) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Yield (words, attributes) of each statement, head first; a group's `node [...]` is for its nodes."""
    words: list[str] = []
    attributes: dict[str, str] = {}
    inherited: list[dict[str, str]] = []
    tokens = _tokens(text, where)
    for token, kind in tokens:
        if kind == "punct" and token == "[":
            attributes = _attributes(tokens, where)
            if words == ["node"]:
                # In a group the nodes follow without a semicolon: {node [shape = ellipse] "a"};
                if inherited:
                    inherited[-1] = attributes
                words, attributes = [], {}
        elif kind == "punct" and token in "{};":
            if words == ["digraph"] or words[:1] == ["digraph"]:
                yield words, {}
                words = []
                inherited.append({})
                continue
            if words and "=" not in words:
                yield words, {**(inherited[-1] if inherited else {}), **attributes}
            words, attributes = [], {}
            if token == "{":
                inherited.append({})
            elif token == "}" and inherited:
                inherited.pop()
        else:
            if not words and not inherited and token != "digraph":
                raise BadInput(where, f"starts with {token!r}, not with digraph", cause="not a .dot file")
            words.append(token)
    if not text.strip() or inherited:
        raise BadInput(where, "ends before its closing brace", cause="a file cut short")


def _attributes(tokens: Iterator[tuple[str, str]], where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    words: list[str] = []
    for token, kind in tokens:
        if kind == "punct" and token in ",;]":
            if len(words) == 3:
                found[words[0]] = words[2]
            words = []
            if token == "]":
                return found
        else:
            words.append(token)
    raise BadInput(where, "an attribute list without its closing bracket", cause="a file cut short")


def _tokens(text: str, where: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            line = text.count("\n", 0, at) + 1
            raise BadInput(f"{where}:{line}", f"{text[at]!r} does not belong here", cause="not a .dot file")
        at = match.end()
        quoted, word, punct, comment, space = match.groups()
        if quoted is not None:
            yield quoted, "word"
        elif word is not None:
            yield word, "word"
        elif punct is not None:
            yield punct, "punct" if punct != "->" and punct != "=" else "operator"
        else:
            assert comment is not None or space is not None
