"""The file that binds a user's automaton to what an engine sees: TOML, the same shape for every engine.

Every refusal says where, what was written and what to write instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from difflib import get_close_matches
from typing import Any

from nostale.contract.automaton import Automaton
from nostale.contract.errors import BadInput

_BY_TABLES = "bind each event by a table [events.NAME]"


def read_bindings(text: str, where: str, names: Set[str]) -> Mapping[str, Any]:
    """Return the file's outermost table.

    Raises:
        BadInput: it is not TOML, or has a name that is not among `names`.
    """
    import tomllib  # here: most runs have no automaton of the user's own

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(where, f"is not TOML: {error}", remedy=_BY_TABLES) from None
    refuse_unknown(table, names, where)
    return table


def event_rows(table: Mapping[str, Any], automaton: Automaton, where: str, how: str) -> dict[str, Any]:
    """Return what stands for each event of the automaton, in its order; `row_of` says whether that is a row.

    Args:
        how: what to write, for a remedy.

    Raises:
        BadInput: an event without a row, or a row without an event.
    """
    rows = table.get("events", {})
    if not isinstance(rows, dict):
        raise BadInput(where, "events is not a table", remedy=_BY_TABLES)
    for event in rows:
        if event not in automaton.events:
            remedy = nearest_of(event, automaton.events)
            raise BadInput(f"{where}: events.{event}", "the automaton has no such event", remedy=remedy)
    for event in automaton.events:
        if event not in rows:
            raise BadInput(where, f"does not bind the event {event!r}", remedy=how)
    return {event: rows[event] for event in automaton.events}


def row_of(row: Any, where: str, names: Set[str], how: str) -> Mapping[str, Any]:  # noqa: ANN401  # whatever it has
    """Return the row of one event; BadInput where it is no table of those names."""
    if not isinstance(row, dict):
        raise BadInput(where, "is not a table", remedy=how)
    refuse_unknown(row, names, where)
    return row


def refuse_unknown(table: Mapping[str, Any], names: Set[str], where: str) -> None:
    """Raise BadInput where a table has a name that means nothing."""
    for name in table:
        if name not in names:
            raise BadInput(where, f"{name!r} means nothing here", remedy=nearest_of(name, sorted(names)))


def nearest_of(name: str, names: Sequence[str]) -> str:
    """Return a remedy that names the nearest of what there is."""
    close = get_close_matches(name, names, 1)
    return f"did you mean {close[0]}?" if close else f"there is {', '.join(names)}"


def text_of(table: Mapping[str, Any], name: str, where: str, default: str = "") -> str:
    """Return a text; BadInput where it is none."""
    value = table.get(name, default)
    if not isinstance(value, str):
        raise BadInput(f"{where}: {name}", "is not a text", remedy=f'write {name} = "..."')
    return value


def texts_of(table: Mapping[str, Any], name: str, where: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return a list of texts; BadInput where it is none."""
    value = table.get(name, list(default))
    if not isinstance(value, list) or any(not isinstance(one, str) for one in value):
        raise BadInput(f"{where}: {name}", "is not a list of texts", remedy=f'write {name} = ["...", "..."]')
    return tuple(value)
