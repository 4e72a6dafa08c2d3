"""Control flow of an image, one instruction at a time: where each may go next, and which transfers leave.

The edges are those of every kernel that this image may turn into: each alternative and its original, both arms of each
jump label, the fixup of each instruction that may fault. Under an assumption (`Flow.under`) those of such a machine.
"""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from nostale.lint.assumed import Assumed, Came
from nostale.lint.effects import Effects
from nostale.lint.entry_branch import entry_branch
from nostale.lint.features import PTI, XENPV
from nostale.lint.image import Class, Image
from nostale.lint.noreturn import NoReturn
from nostale.lint.pointers import Pointers
from nostale.lint.switch import switch_targets
from nostale.lint.symbols import Symbol
from nostale.lint.tables import Group, Replacement, Tables, annotated, jump_key, read_tables
from nostale.lint.targets import INDIRECT_THUNKS, RETURN_THUNK, TRAMPOLINE, How, Target, Targets, Transfer, Via
from nostale.outside.instruction import Instruction, Kind

_PLAIN = (Kind.NEXT, Kind.PAD)
_PUSHES_BYTES = 48  # what iret to the next instruction needs: five pushes and the loads before them


@dataclass(frozen=True, slots=True)
class Edge:
    """A way on: where to, what made it so ("" for the plain next one), and whether it enters another section."""

    to: int
    why: str = ""
    leaves: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """One instruction in the flow of control. `stuck` says why nothing follows where something should."""

    address: int
    kind: Kind
    edges: tuple[Edge, ...]
    transfer: Transfer | None = None
    stuck: str = ""


@dataclass(slots=True)
class Flow:
    """The control flow of one image, found as it is asked for; `effects` are of all rules and machines together."""

    image: Image
    assumed: Assumed | None = None
    tables: Tables = field(init=False)
    effects: Effects = field(init=False)
    _targets: Targets = field(init=False)
    _pointers: Pointers = field(init=False)
    _noreturn: NoReturn = field(init=False)
    _replaced_starts: list[int] = field(init=False)
    _hinted: frozenset[int] = field(init=False)
    _special: set[int] = field(init=False)  # where control may do more than go on to the next instruction
    _ends: list[int] = field(init=False)  # of functions, sorted
    _sites: dict[int, Site] = field(default_factory=dict)  # those that depend on what is assumed
    _alike: dict[int, Site] = field(default_factory=dict)  # those that are the same on every machine: most
    _depends: bool = False  # what is being looked at depends on it
    _annotated: dict[str, Mapping[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tables = read_tables(self.image)
        self.effects = Effects(self.image)
        self._targets = Targets(self.image)
        self._pointers = Pointers(self.image, self._targets, self.tables)
        self._noreturn = NoReturn(self.image, self._targets)
        self._replaced_starts = [start for start, _, _ in self.tables.replaced]
        self._hinted = frozenset(self.tables.hints)
        tables = self.tables
        self._special = {*tables.alternatives, *tables.jump_labels, *tables.fixups}
        self._ends = sorted(self.image.symbols.functions.ends())

    def under(self, assumed: Assumed) -> Flow:
        """Return the control flow of the same image on a machine of which something is known."""
        found = copy.copy(self)
        found.assumed, found._sites = assumed, {}
        return found

    def site(self, address: int) -> Site:
        """Return the instruction at `address`, how control goes on and what leaves."""
        found = self._sites.get(address) or self._alike.get(address)
        if found is None:
            one = self.image.instruction(address)
            if one is not None and one[2] in _PLAIN and self._plain(one):
                found = self._alike[address] = Site(address, one[2], (Edge(address + one[1]),))
                return found
            self._depends = False
            found = self._look(address, one)
            if found.transfer is not None:
                found = self._without_xen(found, found.transfer)
            if any(edge.why for edge in found.edges):
                found = self._crossing(found)
            (self._sites if self._depends else self._alike)[address] = found
        return found

    def _without_xen(self, site: Site, transfer: Transfer) -> Site:
        """Leave out what only a paravirtual guest of Xen goes to, where the machine is known to be none."""
        targets = tuple(one for one in transfer.targets if not one.table.startswith("xen_"))
        if len(targets) == len(transfer.targets):
            return site
        self._depends = True
        if self.assumed is None or XENPV not in self.assumed.off:
            return site
        return replace(site, transfer=replace(transfer, targets=targets))

    def annotated(self, table: str) -> Mapping[int, int]:
        """Return how often a table of annotations names each place; read once for all rules."""
        if table not in self._annotated:
            self._annotated[table] = annotated(self.image, table)
        return self._annotated[table]

    def arrive(self, address: int, why: str = "") -> Iterator[Edge]:
        """Yield the ways to begin at a place: itself and each alternative that may stand there."""
        if address not in self.tables.alternatives:
            yield Edge(address, why)
            return
        prefix = f"{why}; " if why else ""
        waiting, met = [(address, why)], {address}
        for place, reason in waiting:  # grows where an alternative is nothing and another one follows it directly
            group = self.tables.alternatives.get(place)
            if group is None or group.end <= place:
                yield Edge(place, reason)
                continue
            replacements, original = self._arms(group)
            if original:
                yield Edge(place, reason)
            for one in replacements:
                named = self.image.machine.feature(one.feature)
                chosen = f"{prefix}alternative {'without' if one.inverted else 'for'} {named}"
                if one.end > one.start:
                    yield Edge(one.start, chosen)
                elif group.end not in met:
                    met.add(group.end)
                    waiting.append((group.end, f"{chosen} (nothing)"))

    def home(self, address: int) -> int:
        """Return the place that stands for `address` in its function: of replacement code, the original."""
        group = self._group_of(address)
        return group.start if group else address

    def function(self, address: int) -> Symbol | None:
        """Return the function that `address` belongs to; of a split-off cold part, the part."""
        return self.image.symbols.functions.containing(self.home(address))

    def _arms(self, group: Group) -> tuple[tuple[Replacement, ...], bool]:
        """Return the replacements of a group that may be in place, and whether its original may."""
        self._depends = True
        if self.assumed is None:
            return group.replacements, not group.always_replaced
        replacements, original = self.assumed.arms(group)
        # A call that replaces a call through a pointer goes to what that pointer holds: the original tells it.
        others = tuple(one for one in replacements if not one.calls)
        return others, (original and not group.always_replaced) or len(others) < len(replacements)

    def _look(self, address: int, one: Instruction | None) -> Site:
        if one is None:
            return Site(address, Kind.INVALID, (), stuck="runs off the end of its section")
        kind = one[2]
        if kind in (Kind.INVALID, Kind.DATA):
            return Site(address, kind, (), stuck="does not decode" if kind is Kind.INVALID else "is data, not code")
        if address in self.tables.jump_labels:
            return self._jump_label(one)
        if kind in _PLAIN:
            edges, stuck = self._next(one)
            return Site(address, kind, (*edges, *self._faults(one)), stuck=stuck)
        return _FORMS[kind](self, one)

    # One instruction of each kind.

    def _jump_label(self, one: Instruction) -> Site:
        target, entry = self.tables.jump_labels[one[0]]
        key, _ = jump_key(self.image, entry)
        edges, stuck = self._next(one, f"static branch on {key} falls through")
        return Site(one[0], one[2], (*edges, *self.arrive(target, f"static branch on {key} jumps")), stuck=stuck)

    def _branch(self, one: Instruction) -> Site:
        taken = self._jumped(one, "branch taken")
        jumps = None
        if self.assumed is None:
            self._depends = True  # perhaps: what it asks is not looked at
        elif entry_branch(self.image, one, Came.USER, user_cr3=True) is not None:
            self._depends = True
            if self.assumed.came is not None:
                jumps = entry_branch(self.image, one, self.assumed.came, user_cr3=PTI in self.assumed.on)
        if jumps:
            return taken
        edges, stuck = self._next(one, "branch not taken")
        if jumps is False:
            return Site(one[0], one[2], edges, stuck=stuck)
        return Site(one[0], one[2], (*edges, *taken.edges), taken.transfer, stuck)

    def _jump(self, one: Instruction) -> Site:
        return self._jumped(one, "jump")

    def _jumped(self, one: Instruction, why: str) -> Site:
        """Tell a jump within the function from a tail call, a return through the thunk and an indirect jump."""
        address, _, kind, to = one
        if self._stays(one):
            return Site(address, kind, tuple(self.arrive(to, why)))
        target = self._targets.near(one)
        if target.name == RETURN_THUNK:
            return Site(address, kind, (), Transfer(How.RETURN, Via.DIRECT, ""))
        if target.name.startswith(INDIRECT_THUNKS):
            return Site(address, kind, (), self._through_thunk(one, target, How.TAIL))
        if target.name.startswith(TRAMPOLINE):
            return Site(address, kind, (), self._targets.static_call(target.name.removeprefix(TRAMPOLINE), How.TAIL))
        if target.address is None or self._is_tail(address, target):
            return Site(address, kind, (), self._direct(How.TAIL, target))
        to = target.address
        group = self._group_of(address)
        if group is not None and any(part.end == to and part.start <= address for part in group.replacements):
            return Site(address, kind, tuple(self.arrive(group.end, why)))
        return Site(address, kind, tuple(self.arrive(to, why)))

    def _jump_indirect(self, one: Instruction) -> Site:
        function = self.function(one[0])
        targets = switch_targets(self.image, one, function) if function else ()
        if targets:
            edges = [edge for target in targets for edge in self.arrive(target, "switch")]
            return Site(one[0], one[2], tuple(edges))
        return Site(one[0], one[2], (), self._pointers.indirect(one, How.TAIL, function))

    def _call(self, one: Instruction) -> Site:
        address, _, kind, _ = one
        target = self._targets.near(one)
        if target.name.startswith(TRAMPOLINE):
            transfer = self._targets.static_call(target.name.removeprefix(TRAMPOLINE), How.CALL)
        elif target.name.startswith(INDIRECT_THUNKS):
            transfer = self._through_thunk(one, target, How.CALL)
        elif target.address is not None and self._is_inner(address, target.address):
            edges, stuck = self._next(one)
            return Site(address, kind, (*edges, *self.arrive(target.address, "call within the function")), stuck=stuck)
        else:
            transfer = self._direct(How.CALL, target)
        return self._after_call(one, transfer)

    def _call_indirect(self, one: Instruction) -> Site:
        return self._after_call(one, self._pointers.indirect(one, How.CALL, self.function(one[0])))

    def _after_call(self, one: Instruction, transfer: Transfer) -> Site:
        edges, stuck = self._next(one) if transfer.returns else ((), "")
        if stuck and not any(target.address is not None for target in transfer.targets):
            stuck = ""  # the last instruction of a function: the compiler knew that the callee does not return
        return Site(one[0], one[2], (*edges, *self._faults(one)), transfer, stuck)

    def _return(self, one: Instruction) -> Site:
        return Site(one[0], one[2], (), Transfer(How.RETURN, Via.DIRECT, ""))

    def _resume(self, one: Instruction) -> Site:
        # iret to the next instruction, to serialise: sync_core(), arch/x86/include/asm/sync_core.h.
        if self._returns_to_next(one):
            edges, stuck = self._next(one, "iret to the next instruction")
            return Site(one[0], one[2], (*edges, *self._faults(one)), stuck=stuck)
        return Site(one[0], one[2], self._faults(one), Transfer(How.RESUME, Via.DIRECT, ""))

    def _stop(self, one: Instruction) -> Site:
        if one[0] + one[1] in self.tables.reachable:
            edges, stuck = self._next(one, "the trap comes back")
            return Site(one[0], one[2], edges, stuck=stuck)
        return Site(one[0], one[2], ())

    # What they have in common.

    def _plain(self, one: Instruction) -> bool:
        """Return whether no table and no end of a function makes an instruction do more than go on: most are so."""
        address, following = one[0], one[0] + one[1]
        if address in self._special or following in self._special:
            return False
        ends, at = self._ends, bisect_right(self._ends, address)
        return not (at < len(ends) and ends[at] <= following) and self._group_of(address) is None

    def _next(self, one: Instruction, why: str = "") -> tuple[tuple[Edge, ...], str]:
        """Return the edges to the following instruction, or why there is none."""
        address, length = one[0], one[1]
        following = address + length
        group = self._group_of(address)
        if group is not None and any(part.end == following and part.start <= address for part in group.replacements):
            return tuple(self.arrive(group.end, why)), ""
        if group is None:
            function = self.image.symbols.functions.containing(address)
            if function is not None and following >= function.end and not self._inside(following, function):
                return (), f"runs off the end of {function.name}"
        return tuple(self.arrive(following, why)), ""

    def _inside(self, address: int, function: Symbol) -> bool:
        other = self.image.symbols.functions.containing(address)
        return other is not None and _parent(other) == _parent(function)

    def _returns_to_next(self, one: Instruction) -> bool:
        """Return whether an iret goes on at the next instruction: its address was pushed, or an unwind hint says so."""
        following, function = one[0] + one[1], self.function(one[0])
        if function is None or function.address is None:  # written in assembly: labels, and hints at entries
            section = self.image.section_at(one[0])
            start = max(section.start if section else one[0], one[0] - _PUSHES_BYTES)
        elif following in self._hinted:
            return True
        else:
            start = max(function.address, one[0] - _PUSHES_BYTES)
        return any(reference.address == following for reference in self.image.references(start, one[0]))

    def _faults(self, one: Instruction) -> tuple[Edge, ...]:
        fixups = self.tables.fixups.get(one[0], ())
        group = self._group_of(one[0])
        if group is not None:
            # Replacement code faults where it is copied to.
            inside = next(part.start for part in group.replacements if part.start <= one[0] < part.end)
            fixups += self.tables.fixups.get(group.start + one[0] - inside, ())
        return tuple(edge for fixup in fixups for edge in self.arrive(fixup, "it faults and goes on at its fixup"))

    def _through_thunk(self, one: Instruction, thunk: Target, how: How) -> Transfer:
        """Return the transfer of `call __x86_indirect_thunk_REGISTER`."""
        return self._pointers.register(one, thunk.name.rsplit("_", 1)[1], how, self.function(one[0]))

    def _direct(self, how: How, target: Target) -> Transfer:
        returns = how is How.JUMP or not self._noreturn.never(target)
        return Transfer(how, Via.DIRECT, target.name, (target,), returns=returns)

    def _stays(self, one: Instruction) -> bool:
        """Return whether a jump is plainly one within its function, as nearly all are: nothing needs to be named."""
        address, length, _, to = one
        functions = self.image.symbols.functions
        own = functions.containing(address)
        return (
            own is not None
            and to != own.address
            and functions.containing(to) is own
            and self._group_of(address) is None
            and not self.image.relocated(address, address + length)
        )

    def _is_tail(self, address: int, target: Target) -> bool:
        """A jump to the start of another function is a tail call; into the middle of one, or to a label, it is not."""
        assert target.address is not None
        functions = self.image.symbols.functions
        callee = functions.containing(target.address)
        if callee is None or callee.address is None:
            return False
        skipped = target.address - callee.address
        if skipped and self.image.read(callee.address, skipped) not in self.image.machine.landing_pads:
            return False
        own = self.image.symbols.containing(self.home(address))
        return own is None or _parent(own) != _parent(callee)

    def _is_inner(self, address: int, to: int) -> bool:
        """A call that stays in its function: it builds a return address, or runs a piece of it twice."""
        if address in self.tables.inner_calls:
            return True
        if self.image.symbols.starting(to) is not None or self._crosses(address, to):
            return False
        return self.function(address) == self.function(to)

    def _crosses(self, address: int, to: int) -> bool:
        source, target = self.image.section_at(self.home(address)), self.image.section_at(to)
        return source != target and target is not None and target.kind is not Class.ALTERNATIVE

    def _crossing(self, site: Site) -> Site:
        """Mark the ways into another section, however they come about: jump, jump label, switch or fixup."""
        source = self.image.section_at(self.home(site.address))
        if source is not None and all(source.start <= edge.to < source.end for edge in site.edges):
            return site
        crossing = {edge.to for edge in site.edges if self._crosses(site.address, edge.to)}
        if not crossing:
            return site
        edges = tuple(Edge(edge.to, edge.why, edge.to in crossing) for edge in site.edges)
        if site.transfer is not None:
            return Site(site.address, site.kind, edges, site.transfer, "its fixup lies in another section")
        targets = tuple(self._targets.at(to) for to in sorted(crossing))
        names = " or ".join(target.name for target in targets)
        return Site(site.address, site.kind, edges, Transfer(How.JUMP, Via.DIRECT, names, targets), site.stuck)

    def _group_of(self, address: int) -> Group | None:
        at = bisect_right(self._replaced_starts, address) - 1
        if at < 0:
            return None
        _, end, start = self.tables.replaced[at]
        return self.tables.alternatives[start] if address < end else None


def _parent(symbol: Symbol) -> str:
    """Name the function that a compiler's split-off part belongs to; `foo.cold` is of `foo`."""
    return symbol.name.split(".cold")[0]


_FORMS = {
    Kind.JUMP: Flow._jump,
    Kind.BRANCH: Flow._branch,
    Kind.JUMP_INDIRECT: Flow._jump_indirect,
    Kind.CALL: Flow._call,
    Kind.CALL_INDIRECT: Flow._call_indirect,
    Kind.RETURN: Flow._return,
    Kind.RESUME: Flow._resume,
    Kind.STOP: Flow._stop,
}
