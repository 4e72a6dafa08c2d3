"""entry.probe-recursion: what a breakpoint handler can run before it is safe from breakpoints of its own."""

from __future__ import annotations

from dataclasses import dataclass, field

from nostale.contract import Binding, Bound, Evidence, Grade, Witness
from nostale.lint import (
    Class,
    Flow,
    How,
    ImageRule,
    Occurrence,
    Paths,
    Site,
    Symbol,
    Target,
    Transfer,
    Via,
    jump_key,
    table_places,
    tell_way,
)
from nostale.outside.instruction import Kind
from nostale.outside.operands import operands
from nostale.systems.entry.contract import PROBE_RECURSION
from nostale.systems.entry.image.noinstr_instrumented import inserted
from nostale.systems.entry.image.protected import PROTECTED
from nostale.systems.entry.image.variables import loaded, stored, variables

# Where each begins, in which state, and why (arch/x86/kernel/traps.c, nmi.c, v6.12).
_ENTRIES = (
    ("exc_int3", "bare", "a breakpoint was hit in the kernel: whatever is patched or probed here is hit again"),
    ("exc_nmi", "nmi", "an NMI arrived: a breakpoint's IRET would unmask NMIs before the handler says that it runs"),
    ("exc_debug", "debug", "a debug exception arrived: hardware breakpoints are still armed"),
    ("exc_debug_kernel", "debug", "a debug exception arrived: hardware breakpoints are still armed"),
)
# A function whose return makes it safe, and what it is then safe from.
_RETURNS = {"poke_int3_handler": "poked", "kprobe_int3_handler": "handled"}
_CALLS = {"irqentry_enter_from_user_mode": "user"}
# A variable that a store to makes it safe.
_STORES = {"current_kprobe": "handled", "nmi_state": "latched", "tracing_irq_cpu": "traced"}
_READS = {"cpu_dr7": "disarmed"}  # either no breakpoint is armed, or DR7 is cleared next: local_db_save()
# Never called where a breakpoint is handled: these enter NMI context first, and ct_nmi_enter() asks for it.
_NOT_IN_NMI = frozenset({"__rcu_irq_enter_check_tick"})
_DEBUG, _DR7 = (b"\x0f\x21", b"\x0f\x23"), 7 << 3  # mov from and to a debug register, its number in the last byte
# With paravirt a debug register is got and set by a slot of pv_ops, its number the first argument.
_DEBUG_REGISTERS = tuple(f"{by}_{does}_debugreg" for by in ("native", "pv_native", "xen") for does in ("get", "set"))
_NUMBER_DR7 = 7
_UNTIL = frozenset({"guarded"})


@dataclass(slots=True)
class _Look:
    flow: Flow
    covered: set[int] = field(default_factory=set)  # where functions begin that are on the kprobe blacklist
    ftrace: set[int] = field(default_factory=set)
    fatal: dict[int, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        image = self.flow.image
        self.covered = set(table_places(image, "_kprobe_blacklist"))
        self.ftrace = set(table_places(image, "__mcount_loc"))

    def evidence(self) -> Evidence | None:
        image, flow = self.flow.image, self.flow
        found: dict[tuple[int, str], Witness] = {}
        missing: dict[str, None] = {}
        reached: set[int] = set()
        begun = []
        paths = Paths(flow, PROBE_RECURSION.automaton, self._events_at, self._enters, _UNTIL)
        for name, state, why in _ENTRIES:
            symbol = image.symbols.named(name)
            if symbol is None or symbol.address is None:
                continue
            begun.append(name)
            ways = paths.of(symbol.address, state)
            reached |= ways.reached
            for one in ways.findings:
                told = tell_way(flow, PROBE_RECURSION, ways, one, start_why=why, counted="protection")
                event = one.occurrence.event
                grades = {} if one.occurrence.grade is None else {event: one.occurrence.grade}
                found.setdefault((one.address, event), Witness(event, told, grades, one.occurrence.doubt))
            missing |= dict.fromkeys(f"{image.place(at)}: {why}" for at, why in ways.stuck.items())
            for at, transfer in ways.open.items():
                if not transfer.complete:
                    missing[f"{image.place(at)}: where {transfer.callee} goes"] = None
        if not begun:
            return None
        if not self.covered:
            missing["the image has no _kprobe_blacklist: what may not be probed cannot be told"] = None
        witnesses = tuple(found[key] for key in sorted(found))
        bounds = (f"{len(reached)} instructions from {', '.join(begun)} up to where each is protected",)
        return Evidence(witnesses, tuple(missing), bounds)

    def _enters(self, site: Site, target: Target) -> bool:
        if target.address is None or target.kind is Class.THUNK or target.name in _NOT_IN_NMI:
            return False
        transfer = site.transfer
        if transfer is not None and transfer.via is Via.STATIC_CALL and not transfer.complete:
            return False  # what it starts with need not be what it keeps; that it is not known is said
        return not self._probeable(target) and not self._fatal(site.address)

    def _probeable(self, target: Target) -> bool:
        """Return whether a probe can be put on a function: within_kprobe_blacklist(), kernel/kprobes.c, v6.12."""
        if target.address is None or target.kind in PROTECTED or target.kind is Class.ALTERNATIVE:
            return False
        section = self.flow.image.section_at(target.address)
        if section is not None and section.name == ".kprobes.text":
            return False
        function = self.flow.function(target.address)
        # A split-off part is covered by the function that it is of.
        own = self._whole(function) if function else None
        return own is None or not (own.address in self.covered or self._in_protected(own))

    def _fatal(self, address: int) -> bool:
        """Return whether nothing that follows in the function comes back: BUG() or panic() ends it, probed or not."""
        known = self.fatal.get(address)
        if known is None:
            waiting, met = [address], {address}
            known = True
            for at in waiting:  # grows while it is gone through
                site = self.flow.site(at)
                leaves = site.transfer is not None and site.transfer.how is not How.CALL
                if (leaves and at != address) or (at == address and site.transfer and site.transfer.how is How.TAIL):
                    known = False
                    break
                waiting += [edge.to for edge in site.edges if edge.to not in met]
                met.update(edge.to for edge in site.edges)
            self.fatal[address] = known
        return known

    def _whole(self, function: Symbol) -> Symbol:
        return self.flow.image.symbols.named(function.name.split(".")[0]) or function

    def _in_protected(self, function: Symbol) -> bool:
        return function.address is not None and self.flow.image.class_at(function.address) in PROTECTED

    def _events_at(self, site: Site) -> tuple[Occurrence, ...]:
        found = [*self._patched(site), *self._stored(site)]
        transfer = site.transfer
        if transfer is None:
            return tuple(found)
        if transfer.how is How.RETURN:
            function = self.flow.function(site.address)
            event = _RETURNS.get(function.name) if function else None
            return (*found, Occurrence(event)) if event else tuple(found)
        if (
            any(one.name in _DEBUG_REGISTERS for one in transfer.targets)
            and self._argument(site.address) == _NUMBER_DR7
        ):
            return (*found, Occurrence("disarmed"))
        if transfer.callee in _CALLS:
            return (*found, Occurrence(_CALLS[transfer.callee]))
        for target in transfer.targets:
            if inserted(target.name) or target.name in _NOT_IN_NMI or self._fatal(site.address):
                continue  # what ftrace calls is told as its site
            if self._probeable(target):
                why = "it is not on the kprobe blacklist: a probe there hits again before it can be handled"
                what = f"{transfer.how} of {target.name}(), which can be probed"
                found.append(Occurrence("probe", what, why, target.name))
            elif target.address is None and transfer.returns:
                doubt = f"{target.name}() is not in this image"
                what = f"{transfer.how} of {target.name}()"
                found.append(Occurrence("probe", what, doubt, target.name, Grade.MAY, doubt))
        return tuple(found)

    def _is_dr7(self, address: int, transfer: Transfer) -> bool:
        named = any(one.name in _DEBUG_REGISTERS for one in transfer.targets)
        return named and self._argument(address) == _NUMBER_DR7

    def _argument(self, address: int) -> int | None:
        """Return the constant that a call gets as its first argument, by the straight run of instructions before it."""
        image, function = self.flow.image, self.flow.function(address)
        if function is None or function.address is None:
            return None
        wanted = "rdi"
        for at, length, kind, _ in reversed(image.decoded(function.address, address)):
            if kind is not Kind.NEXT:
                return None
            used = operands(image.read(at, length))
            if wanted not in used.writes:
                continue
            if used.mnemonic != "mov" or used.destination != wanted:
                return None
            if used.immediate is not None or not used.source:
                return used.immediate
            wanted = used.source
        return None

    def _patched(self, site: Site) -> list[Occurrence]:
        why = "it is rewritten while the kernel runs: the INT3 that stands there meanwhile is hit again"
        if site.address in self.flow.tables.jump_labels:
            key, _ = jump_key(self.flow.image, self.flow.tables.jump_labels[site.address][1])
            return [Occurrence("patch", f"jump label on {key}", why)]
        if site.address in self.ftrace:
            return [Occurrence("patch", "ftrace site", why)]
        if site.transfer is not None and site.transfer.callee.startswith("__SCT__"):
            return [Occurrence("patch", f"static call {site.transfer.callee}", why, site.transfer.callee)]
        return []

    def _stored(self, site: Site) -> list[Occurrence]:
        image = self.flow.image
        one = image.instruction(site.address)
        if one is None:
            return []
        code = image.read(one[0], one[1])
        if code[-3:-1] in _DEBUG and code[-1] & 0x38 == _DR7:
            return [Occurrence("disarmed")]
        if not variables(image, one[0]) & {*_STORES, *_READS}:
            return []
        written, read = stored(image, one[0]), loaded(image, one[0])
        found = [Occurrence(event) for name, event in _STORES.items() if name in written]
        return found + [Occurrence(event) for name, event in _READS.items() if name in read]


PROBE_RECURSION_RULE = ImageRule(
    binding=Binding(
        PROBE_RECURSION,
        "lint",
        {
            "probe": Bound(
                "a call of a function that is not on the kprobe blacklist", Grade.EXACT, "whether it can be"
            ),
            "patch": Bound("a jump label, static call or ftrace site", Grade.EXACT),
            "poked": Bound("a return of poke_int3_handler()", Grade.EXACT),
            "handled": Bound("a return of kprobe_int3_handler(), or a store to current_kprobe", Grade.EXACT),
            "user": Bound("a call of irqentry_enter_from_user_mode()", Grade.EXACT),
            "latched": Bound("a store to nmi_state", Grade.EXACT),
            "disarmed": Bound(
                "a read of DR7 or cpu_dr7, which says whether to clear it, or a write; with paravirt "
                "get_debugreg() and set_debugreg() of register 7",
                Grade.EXACT,
            ),
            "traced": Bound("a store to tracing_irq_cpu", Grade.EXACT),
        },
        start="bare",
        start_why="a breakpoint was hit in the kernel: nothing of it has been handled yet",
        assumptions=(
            "boot-time alternatives are in place before the first breakpoint, and no probe is put on protected code",
            "once a probe is known to be hit, another one is counted as missed and not handled again: what its owner's "
            "handler runs is not looked at",
            "ct_nmi_enter() calls __rcu_irq_enter_check_tick() outside of NMI context only, which irqentry_nmi_enter() "
            "has entered before",
            "what cannot come back any more (BUG(), panic()) may run into a probe: the kernel is lost either way",
        ),
    ),
    what="Follows calls from exc_int3(), exc_debug() and exc_nmi() to where each is safe from breakpoints of its own. "
    "exc_int3() may run nothing that is patched at run time until poke_int3_handler() has come back: that function is "
    "what handles a breakpoint of the patcher. It may call nothing that a probe can be put on until it knows to have "
    "interrupted user mode (a probe on what follows is then hit in the kernel, and only once), until the probe that "
    "was hit is current (others are then counted as missed), or until kprobe_int3_handler() has come back. exc_nmi() "
    "may do neither until nmi_state says that an NMI is handled: the IRET of a breakpoint unmasks NMIs. exc_debug() "
    "may call nothing that can be probed until DR7 is looked at, and cleared where a breakpoint is armed. What traces "
    "that interrupts are off is left out from the store to tracing_irq_cpu on: a probe that is hit there is come to "
    "without tracing again. What comes after is not looked at.",
    why=PROBE_RECURSION.why,
    example="""\
static bool do_int3(struct pt_regs *regs)        /* NOKPROBE_SYMBOL(do_int3) is missing */
{
	return kprobe_int3_handler(regs);        /* a probe on do_int3() hits before it comes here */
}

noinstr void exc_int3(struct pt_regs *regs)
{
	if (poke_int3_handler(regs))
		return;
	do_int3(regs);                           /* violated: a call of do_int3(), which can be probed */
}
""",
    remedy=PROBE_RECURSION.remedy,
    look=lambda flow: _Look(flow).evidence(),
)
