"""Give every variable of a model its slot in the state vector."""

from __future__ import annotations

from typing import Any

from nostale.contract import BadInput
from nostale.prove.expressions import World
from nostale.prove.ir import Slot
from nostale.prove.language import Cells, Component, Variable


def lay_out(name: str, value: object, world: World) -> None:
    """Give every variable its slot; rows are consecutive, so that an index can reach into them."""
    match value:
        case Variable(low, high, first, words, shown):
            if id(value) in world.at:
                raise BadInput(name, "one variable under two names", remedy="make one for each")
            if not low <= first <= high:
                raise BadInput(name, f"starts at {first}, outside [{low}, {high}]")
            world.at[id(value)] = len(world.slots)
            world.slots.append(Slot(name, low, high, first, words, shown))
        case Cells(items, per):
            _lay_out_row(name, items, per, world)
        case list(items):
            for index, item in enumerate(items):
                lay_out(f"{name}[{index}]", item, world)
        case Component():
            if id(value) in world.placed:
                return  # a reference of one component to another: the variables have their slots already
            world.placed.add(id(value))
            for inner, item in vars(value).items():
                lay_out(f"{name}.{inner}", item, world)


def _lay_out_row(name: str, items: list[Any], per: str, world: World) -> None:
    if items and all(isinstance(item, Component) for item in items):
        # Field by field, so that an index known only at run time reaches one field of any record.
        for inner in vars(items[0]):
            _lay_out_row(f"{name}.{inner}", [getattr(item, inner) for item in items], per, world)
        return
    for index, item in enumerate(items):
        first = len(world.slots)
        lay_out(f"{name}[{index}]", item, world)
        if per:
            world.belongs(per, index, range(first, len(world.slots)))
