"""Paths from every kernel entry, machine by machine: an automaton is run from each entry that a machine has.

A machine is a set of assumed CPU features. What an entry interrupted is assumed as well where it comes from user mode:
its tests of the saved CS are then decided, and the paths of an interrupted kernel are none of an entry from user mode.
Entries that can hit anywhere (NMI, #MC, #DB, #DF, FRED from kernel mode) are also followed as if they had hit kernel
entry code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from nostale.contract import Automaton
from nostale.lint.assumed import Assumed, Came
from nostale.lint.entries import Entry, EntryKind, from_user, hits_anywhere, possible
from nostale.lint.features import FRED, PTI, XENPV
from nostale.lint.flow import Flow
from nostale.lint.paths import Enters, Paths, Ways
from nostale.lint.walk import EventsAt


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that an image may run on, with what that rests on.

    Args:
        assumed: its features.
        why: what decides them.
    """

    assumed: Assumed
    why: str

    @property
    def name(self) -> str:
        """As it is told."""
        return self.assumed.name


# FRED and PTI exclude each other: arch/x86/mm/pti.c and arch/x86/kernel/cpu/common.c, v6.12, switch FRED off with PTI.
# Xen PV guests have no PTI: arch/x86/mm/pti.c, pti_check_boottime_disable(), v6.12.
MACHINES = (
    Machine(
        Assumed("PTI", frozenset({PTI}), frozenset({FRED, XENPV})), "page table isolation on: X86_FEATURE_PTI, no FRED"
    ),
    Machine(
        Assumed("no PTI", frozenset(), frozenset({PTI, FRED, XENPV})), "page table isolation off: nopti, or immune CPUs"
    ),
    Machine(Assumed("FRED", frozenset({FRED}), frozenset({PTI, XENPV})), "X86_FEATURE_FRED, for which PTI is off"),
    Machine(Assumed("Xen PV", frozenset({XENPV}), frozenset({PTI, FRED})), "a paravirtual guest of Xen"),
)


@dataclass(frozen=True, slots=True)
class Entered:
    """Every way from one entry of one machine."""

    machine: Machine
    entry: Entry
    came: Came | None
    flow: Flow
    ways: Ways

    @property
    def name(self) -> str:
        """The entry, and what it hit where that is the less usual."""
        return f"{self.entry.name} in entry code" if self.came is Came.ENTRY else self.entry.name


@dataclass(slots=True)
class _Run:
    flow: Flow
    machine: Machine
    automaton: Automaton
    start: str
    events: Callable[[Flow], EventsAt]
    enters: Enters
    until: frozenset[str]
    paths: dict[Came | None, tuple[Flow, Paths]] = field(default_factory=dict)

    def of(self, entry: Entry, came: Came | None) -> Entered:
        if came not in self.paths:
            flow = self.flow.under(replace(self.machine.assumed, came=came))
            self.paths[came] = flow, Paths(flow, self.automaton, self.events(flow), self.enters, self.until)
        flow, paths = self.paths[came]
        return Entered(self.machine, entry, came, flow, paths.of(entry.address, self.start))


def enter(
    flow: Flow,
    machine: Machine,
    entries: Sequence[Entry],
    automaton: Automaton,
    start: str,
    events: Callable[[Flow], EventsAt],
    *,
    enters: Enters,
    until: frozenset[str] = frozenset(),
) -> list[Entered]:
    """Run an automaton from each entry that a machine can be entered at.

    Args:
        events: makes, for the control flow of that machine, the events of an instruction.
        enters, until: as `Paths` has them.
    """
    run = _Run(flow, machine, automaton, start, events, enters, until)
    found = []
    for entry in entries:
        if possible(entry, machine.assumed):
            if entry.kind is not EntryKind.FRED_KERNEL:
                found.append(run.of(entry, Came.USER if from_user(entry) else None))
            if hits_anywhere(entry) or entry.kind is EntryKind.FRED_KERNEL:
                found.append(run.of(entry, Came.ENTRY))
    return found
