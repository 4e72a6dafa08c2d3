"""Event formats: where each field of an event lies, as the kernel's own description says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from nostale.contract import BadInput

_NAME = re.compile(r"^name:\s*(\S+)\s*$", re.M)
_ID = re.compile(r"^ID:\s*(\d{1,9})\s*$", re.M)
_FIELD = re.compile(
    r"^\s*field:\s*(?P<type>[^;]*?)(?P<name>\w+)(?:\[[^\]]*\])?;\s*offset:\s*(?P<offset>\d{1,9});\s*size:\s*(?P<size>\d{1,9});"
    r"(?:\s*signed:\s*(?P<signed>[01]);)?",
    re.M,
)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an event.

    Args:
        name: as in the description.
        type: as in the description, without the name: `unsigned int`, `__data_loc char[]`.
        offset: in bytes from the event's first one.
        size: in bytes.
        signed: whether a number is.
    """

    name: str
    type: str
    offset: int
    size: int
    signed: bool

    @property
    def is_pointer(self) -> bool:
        """Whether it holds an address."""
        return self.size == 8 and ("*" in self.type)


@dataclass(frozen=True, slots=True)
class EventFormat:
    """One kind of event.

    Args:
        name: without the system.
        system: the directory it is in, such as `csd`.
        id: `common_type` of its events.
        fields: by name.
        text: the description itself.
    """

    name: str
    system: str
    id: int
    fields: dict[str, Field] = field(repr=False)
    text: str = field(repr=False)

    def field_of(self, name: str) -> Field | None:
        """Return a field, or one element of an array such as `args[1]`; None where there is no such."""
        array, bracket, index = name.partition("[")
        known = self.fields.get(array)
        if known is None or not bracket:
            return known
        size = 8 if "long" in known.type else 4
        at = int(index.rstrip("]")) * size
        return replace(known, name=name, offset=known.offset + at, size=size) if at + size <= known.size else None


@dataclass(frozen=True, slots=True)
class Formats:
    """All kinds of events of one trace, by id and by name."""

    by_id: dict[int, EventFormat]
    by_name: dict[str, EventFormat]

    @classmethod
    def of(cls, formats: Iterable[EventFormat]) -> Formats:
        """Index `formats`; of two of one name the first is kept."""
        by_id: dict[int, EventFormat] = {}
        by_name: dict[str, EventFormat] = {}
        for one in formats:
            by_id.setdefault(one.id, one)
            by_name.setdefault(one.name, one)
        return cls(by_id, by_name)


def parse_format(text: str, system: str, where: str) -> EventFormat:
    r"""Read one description (`events/SYSTEM/EVENT/format`).

    Raises:
        BadInput: it has no name or no id.

    >>> text = "name: poke\nID: 7\nformat:\n\tfield:int cpu;\toffset:8;\tsize:4;\tsigned:1;\n"
    >>> one = parse_format(text, "x", "x")
    >>> one.id, one.fields["cpu"].offset
    (7, 8)
    """
    name, number = _NAME.search(text), _ID.search(text)
    if name is None or number is None:
        raise BadInput(where, f"an event description in {system!r} lacks its name or ID", cause="a damaged file")
    return EventFormat(name[1], system, int(number[1]), parse_fields(text), text)


def parse_fields(text: str) -> dict[str, Field]:
    """Read the `field:` lines of a description (also those of `header_page`)."""
    return {
        m["name"]: Field(m["name"], m["type"].strip(), int(m["offset"]), int(m["size"]), m["signed"] == "1")
        for m in _FIELD.finditer(text)
    }
