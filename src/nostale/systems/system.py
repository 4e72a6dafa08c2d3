"""What a system of the five is: the observer's view, what changes it, and who checks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nostale.contract import Contract, Requirement

if TYPE_CHECKING:  # each engine is imported only by the commands that use it
    from nostale.lint import AuditRule, ImageRule, Rule
    from nostale.prove import Model
    from nostale.systems.claims import Bug, Dispute, NotShown
    from nostale.watch import TraceMonitor


@dataclass(frozen=True, slots=True)
class System:
    """One of the five.

    Args:
        name: `isolation`, `entry`, `lazytlb`, `accel` or `codegen`.
        title: what it is, in a line.
        view: what the observer keeps.
        change, sync, use, rely: the rule in this system's words.
        contracts: what must hold, as far as it is stated yet.
        models: its models, the main one first; loaded when asked for, since most commands need one engine.
        rules: its rules for images.
        monitors: its monitors for traces.
        watched: the contracts that these judge; listed apart, so that whoever only lists them loads no engine.
        bugs: real defects that its models show, and those of its area that they do not.
        disputes: what was argued and its models decide.
    """

    name: str
    title: str
    view: str
    change: str
    sync: str
    use: str
    rely: str
    contracts: tuple[Contract, ...] = ()
    models: Callable[[], tuple[type[Model], ...]] = tuple
    rules: Callable[[], tuple[Rule | ImageRule | AuditRule, ...]] = tuple
    monitors: Callable[[], tuple[TraceMonitor, ...]] = tuple
    watched: tuple[Contract, ...] = ()
    bugs: Callable[[], tuple[Bug | NotShown, ...]] = tuple
    disputes: Callable[[], tuple[Dispute, ...]] = tuple

    def requirements(self) -> tuple[Requirement, ...]:
        """Return the demands, hazards and objections of its source thread, in their order."""
        import tomllib
        from importlib.resources import files

        text = files(f"nostale.systems.{self.name}").joinpath("requirements.toml").read_text()
        return tuple(
            Requirement(
                id,
                row["text"],
                row["checkable"],
                tuple((kind, name) for kind in ("document", "command") for name in row.get(kind, ())),
                row.get("unchecked", ""),
            )
            for id, row in tomllib.loads(text).items()
        )
