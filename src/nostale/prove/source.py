"""Get at the source of a model's functions, and say where in it something stands."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nostale.contract import BadInput
from nostale.prove.ir import Site

_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed function: `tree` has the file's own line numbers."""

    tree: ast.FunctionDef
    file: str
    globals: dict[str, Any]

    def site(self, node: ast.AST) -> Site:
        """Say where `node` stands."""
        return Site(self.file, getattr(node, "lineno", self.tree.lineno))

    def refuse(self, node: ast.AST, instead: str) -> BadInput:
        """Return the error for something outside the language: where, what was written, what to write instead."""
        written = ast.unparse(node).split("\n", 1)[0]
        return BadInput(str(self.site(node)), f"`{written}` is not part of the modelling language", remedy=instead)


def source_of(function: Callable[..., Any]) -> Source:
    """Parse a function's source.

    Raises:
        BadInput: the source cannot be read, as of a function made by exec().
    """
    code = inspect.unwrap(function)
    return _parsed(getattr(code, "__func__", code))


@functools.cache
def _parsed(code: Callable[..., Any]) -> Source:
    """Parse a function once, however many processes and rules are made of it; nobody changes the tree."""
    try:
        lines, first = inspect.getsourcelines(code)
    except (OSError, TypeError) as error:
        name = getattr(code, "__qualname__", repr(code))
        raise BadInput(
            name, "its source cannot be read", cause="a function made at run time", remedy="write it in a file"
        ) from error
    tree = ast.parse(textwrap.dedent("".join(lines))).body[0]
    if not isinstance(tree, ast.FunctionDef):
        raise BadInput(code.__qualname__, "is not a plain function", remedy="write it with def")
    ast.increment_lineno(tree, max(first, 1) - 1)
    return Source(tree, _shown(Path(inspect.getsourcefile(code) or "?")), code.__globals__)


def _shown(path: Path) -> str:
    """Name a file without this machine's directories where that can be done."""
    for base in (_PACKAGE.parent, Path.cwd()):
        if path.is_relative_to(base):
            return str(path.relative_to(base))
    return str(path)


def statements(source: Source) -> list[ast.stmt]:
    """Return a function's statements without its docstring."""
    body = source.tree.body
    first = body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return body[1:]
    return body


def headline(function: Callable[..., Any]) -> str:
    """Return the first line of a function's docstring, without its full stop."""
    return (inspect.getdoc(function) or function.__name__).split("\n", 1)[0].rstrip(".")
