"""Faces of packages of which a run needs few parts: a part is imported when one of its names is first asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module


def on_demand(package: str, **parts: str) -> Callable[[str], object]:
    """Return the `__getattr__` of a package (PEP 562) that imports its parts on demand.

    Args:
        package: its `__name__`.
        parts: module to the names that it gives, none of which may be that of a module of the package: once that is
            imported, it is what the package has under that name.
    """
    places = {name: part for part, names in parts.items() for name in names.split()}

    def find(name: str) -> object:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found: object = getattr(import_module(f"{package}.{places[name]}"), name)
        setattr(sys.modules[package], name, found)
        return found

    return find
