"""The annotated ranges of arm64: its entry code marks none, and keeps its order by the functions that it is made of.

A range begins when a function that makes the context known comes back, and ends where one that takes it down is
called: enter_from_kernel_mode(), arm64_enter_nmi(), exit_to_user_mode() and their like, and inside of those what they
do it with, ct_nmi_enter() and __ct_user_exit(). enter_from_user_mode() and exit_to_user_mode() are inlined: there the
static branch around __ct_user_exit() and __ct_user_enter() is the place, and DWARF tells which of the two it is in.
With the branch off, user mode is no extended quiescent state, and RCU watches all along.

Source: arch/arm64/kernel/entry-common.c, include/linux/context_tracking.h, user_exit_irqoff(), v6.12.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from nostale.lint import Flow, How, Image, Occurrence, Regions, Target, jump_key, table_places, vector_slots
from nostale.systems.entry.image.protected import PROTECTED, SCOPE

# Those that nest: what was known before is known again after the pair of them.
_ENTERS = re.compile(r"(__)?enter_from_kernel_mode|arm64_enter_\w+|ct_(irq|nmi)_enter")
_EXITS = re.compile(r"(__)?exit_to_kernel_mode|arm64_exit_\w+|ct_(irq|nmi)_exit")
# Those that do not: user mode and idle are where nothing else is underneath.
_ENTERS_ANEW = re.compile(r"(__)?enter_from_user_mode|__ct_user_exit|ct_idle_exit")
_EXITS_FOR_GOOD = re.compile(r"(__|asm_)?exit_to_user_mode|__ct_user_enter|ct_idle_enter")
_GENERIC = re.compile(r"(__)?ct_\w+")  # kernel/context_tracking.c, which marks its ranges
_DEBUG = "arm64_enter_el1_dbg"
_HANDLERS = re.compile(r"el[01][th]_(64|32)_(sync|irq|fiq|error)_handler")  # called by the vectors, of another object
_KEY, _USER_EXIT, _USER_ENTER = "context_tracking_key", "user_exit_irqoff", "user_enter_irqoff"
_USER_MODE = "enter_from_user_mode"
_TRACKED = "__ct_user_exit"
_UNPROBED = (".kprobes.text",)

_ESTABLISHED = "the context is established"
_TAKEN_DOWN = "the context is being taken down"
_OPEN, _CLOSED = ("enter", "begin"), ("enter",)  # whatever was before
_CALLS = (
    (_ENTERS, "after", ("begin",), f"has come back: {_ESTABLISHED}"),
    (_EXITS, "before", ("end",), f"is called: {_TAKEN_DOWN}"),
    (_ENTERS_ANEW, "after", _OPEN, f"has come back: {_ESTABLISHED}"),
    (_EXITS_FOR_GOOD, "before", _CLOSED, f"is called: {_TAKEN_DOWN}"),
)
_UNDEFINED = "{} is not defined in this image: whether it is noinstr cannot be told"
_NOT_ENTERED = (
    "nothing in this image shows that {} is reached from an exception vector: whether the context is established where "
    "it is called cannot be told"
)
_IDLE_ONLY = (
    "nothing on this path makes RCU watch: it does already if the interrupted context was not idle, which {} decides "
    "by data"
)
_NO_DWARF = "the image has no debugging information to tell where enter_from_user_mode() is inlined into {}"


def regions(flow: Flow) -> Regions | None:
    """Return the ranges of an arm64 image, None for another machine: there the source marks them."""
    if flow.image.machine.name != "arm64":
        return None
    found = _Found(flow)
    return Regions(found.before, found.after, found.doubt)


@dataclass(slots=True)
class _Found:
    flow: Flow
    before: dict[int, tuple[Occurrence, ...]] = field(default_factory=dict)
    after: dict[int, tuple[Occurrence, ...]] = field(default_factory=dict)
    _untold: bool = False  # no DWARF where it is needed
    _branching: set[str] = field(default_factory=set)  # functions with a branch on whether user mode is tracked
    _entered: frozenset[int] = frozenset()
    _by_call: set[str] = field(default_factory=set)  # functions that call an out-of-line one of those that tell

    def __post_init__(self) -> None:
        debug: set[str] = set()
        transfers = list(self._transfers())
        for at, _, target in transfers:
            name = base(target.name)
            owner = self._owner(at)
            for form, when, events, what in _CALLS:
                if form.fullmatch(name):
                    self._put(self.after if when == "after" else self.before, at, events, f"{name}() {what}")
                    self._by_call.add(owner)
            if name == _DEBUG:
                debug.add(owner)
        for address, name in _functions(self.flow.image):
            if (_EXITS.fullmatch(name) or _EXITS_FOR_GOOD.fullmatch(name)) and not _GENERIC.match(name):
                self._put(self.before, address, _OPEN, f"{name}() is entered while {_ESTABLISHED}")
        self._inlined()
        self._recursions(transfers, debug)
        self._entered = frozenset(_reached(self.flow))

    def _put(self, where: dict[int, tuple[Occurrence, ...]], at: int, events: tuple[str, ...], what: str) -> None:
        where[at] = where.get(at, ()) + tuple(Occurrence(event, what) for event in events)

    def _owner(self, address: int) -> str:
        function = self.flow.function(address)
        return base(function.name) if function else ""

    def _transfers(self) -> Iterator[tuple[int, How, Target]]:
        """Yield every direct transfer of the protected sections: (place, how, target)."""
        image = self.flow.image
        for section in image.sections:
            if section.kind not in SCOPE:
                continue
            for one in image.decoded(section.start, section.end):
                transfer = self.flow.site(one[0]).transfer
                if transfer is None:
                    continue
                for target in transfer.targets:
                    yield one[0], transfer.how, target

    def _inlined(self) -> None:
        image = self.flow.image
        labels = self.flow.tables.jump_labels.items()
        branches = {at for at, (_, entry) in labels if jump_key(image, entry)[0].split("+")[0] == _KEY}
        self._branching = {self._owner(at) for at in branches}
        tracked = image.symbols.named(_TRACKED) is not None
        copies = image.inlined((_USER_EXIT, _USER_ENTER, _USER_MODE))
        if copies is None:
            self._untold = True
            return
        for copy in copies:
            for start, end in copy.spans:
                if copy.name == _USER_MODE and not tracked:
                    # This kernel has no context tracking of user mode: RCU watches there, and here.
                    self._put(self.before, start, _OPEN, f"{_USER_MODE}(): RCU watches in user mode")
                for at in sorted(branches):
                    if start <= at < end and copy.name != _USER_MODE:
                        leaves = copy.name == _USER_EXIT
                        what = _ESTABLISHED if leaves else _TAKEN_DOWN
                        self._put(self.before, at, _OPEN if leaves else _CLOSED, f"{copy.name}(), inlined: {what}")

    def _recursions(self, transfers: list[tuple[int, How, Target]], debug: set[str]) -> None:
        """Take each transfer of a debug exception's handler to code that may be probed out of the range.

        RCU watches there, but the probe's own exception comes back to the same handler, without end.
        """
        image = self.flow.image
        forbidden = set(table_places(image, "_kprobe_blacklist"))
        for at, _, target in transfers:
            if self._owner(at) not in debug or target.kind in PROTECTED:
                continue
            section = image.section_at(target.address) if target.address is not None else None
            if target.address in forbidden or (section is not None and section.name in _UNPROBED):
                continue
            # The range goes on behind it; for this one transfer it does not hold.
            self._put(self.before, at, ("end",), f"a probe in {target.name}() would raise this exception again")
            self._put(self.after, at, ("begin",), f"{target.name}() has come back")

    def doubt(self, address: int) -> str:
        """Return what would have to be known to tell whether an address lies in a range."""
        owner = self._owner(address)
        transfer = self.flow.site(address).transfer
        missing = [one.name for one in transfer.targets if one.address is None] if transfer is not None else []
        if missing:
            return _UNDEFINED.format(missing[0])
        if _ENTERS.fullmatch(owner) and not _GENERIC.match(owner):
            return _IDLE_ONLY.format(owner)
        if self._untold and (owner in self._branching or owner not in self._by_call):
            return _NO_DWARF.format(owner)
        return "" if address in self._entered else _NOT_ENTERED.format(owner or self.flow.image.place(address))


def base(name: str) -> str:
    """Return a function's name as the source has it: gcc adds .isra.0, .constprop.0, .part.0."""
    return name.split(".")[0]


def _functions(image: Image) -> Iterator[tuple[int, str]]:
    """Yield (address, name in the source) of each function of the protected sections."""
    for section in image.sections:
        for one in image.symbols.labels.between(section.start, section.end) if section.kind in SCOPE else ():
            if one.kind == "func" and one.address is not None:
                yield one.address, base(one.name)


def _reached(flow: Flow) -> set[int]:
    """Return every instruction of the protected sections that an exception comes to by direct transfers.

    It enters by a vector, or by a handler that the vectors of another object call. Where the image has no marks, what
    kernel/context_tracking.c does between its own is not followed.
    """
    image = flow.image
    marked = image.section_named(".discard.instr_begin") is not None
    waiting = [address for address, name in _functions(image) if _HANDLERS.fullmatch(name)]
    for section in image.sections:
        if section.kind in SCOPE:
            waiting += vector_slots(image, section)
    met = set(waiting)
    for at in waiting:  # grows while it is gone through
        site = flow.site(at)
        following = [edge.to for edge in site.edges]
        for target in site.transfer.targets if site.transfer is not None else ():
            if target.address is not None and target.kind in PROTECTED and (marked or not _GENERIC.match(target.name)):
                following += [edge.to for edge in flow.arrive(target.address)]
        for one in following:
            if one not in met and image.class_at(one) in PROTECTED:
                met.add(one)
                waiting.append(one)
    return met
