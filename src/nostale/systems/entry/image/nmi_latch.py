"""entry.nmi-latch: what an NMI handler can run before nmi_state says that it does."""

from __future__ import annotations

from dataclasses import dataclass

from nostale.contract import Binding, Bound, Evidence, Grade, Witness
from nostale.lint import Class, Effects, Flow, ImageRule, Occurrence, Paths, Site, Target, tell_way
from nostale.outside.instruction import Kind
from nostale.outside.x86_effects import Effect
from nostale.systems.entry.contract import NMI_LATCH
from nostale.systems.entry.image.protected import SCOPE
from nostale.systems.entry.image.variables import stored

_HANDLER, _LATCH = "exc_nmi", "nmi_state"
_FOLLOWED = (*sorted(SCOPE), Class.ALTERNATIVE)
_UNTIL = frozenset({"latched"})


def look(flow: Flow) -> Evidence | None:
    """Follow the NMI handler, call by call, to where it is latched; None where the image has none."""
    image = flow.image
    handler = image.symbols.named(_HANDLER)
    if handler is None or handler.address is None:
        return None
    events = _Events(flow, flow.effects)
    ways = Paths(flow, NMI_LATCH.automaton, events.at, _enters, _UNTIL).of(handler.address, "bare")
    why = "an NMI arrived: the CPU blocks others until the next IRET"
    found = []
    for one in ways.findings:
        told = tell_way(flow, NMI_LATCH, ways, one, start_why=why, counted="nested NMIs")
        grades = {} if one.occurrence.grade is None else {"unmask": one.occurrence.grade}
        found.append(Witness("unmask", told, grades, one.occurrence.doubt))
    missing = {f"{image.place(at)}: {text}": None for at, text in ways.stuck.items()}
    missing |= {
        f"{image.place(at)}: where {one.callee} goes": None for at, one in ways.open.items() if not one.complete
    }
    bounds = (f"{len(ways.reached)} instructions from {_HANDLER}() up to a store to {_LATCH}",)
    return Evidence(tuple(found), tuple(missing), bounds)


def _enters(site: Site, target: Target) -> bool:
    return target.address is not None and target.kind in _FOLLOWED


@dataclass(frozen=True, slots=True)
class _Events:
    flow: Flow
    effects: Effects

    def at(self, site: Site) -> tuple[Occurrence, ...]:
        if _LATCH in stored(self.flow.image, site.address):
            return (Occurrence("latched"),)
        if self.effects.at(site.address) in (Effect.IRET, Effect.ERETS, Effect.ERETU, Effect.RSM):
            what = f"{self.effects.at(site.address)} unmasks NMIs"
            return (Occurrence("unmask", what, "another NMI comes on the stack that this one is on"),)
        if site.kind is Kind.STOP and site.edges:
            why = "the exception's IRET unmasks NMIs, and another one comes on the stack that this one is on"
            return (Occurrence("unmask", "a trap that comes back, as WARN()", why),)
        for target in site.transfer.targets if site.transfer is not None and site.transfer.returns else ():
            if target.kind not in (*_FOLLOWED, Class.THUNK):
                doubt = (
                    f"cannot tell whether {target.name}(), which is no protected code, faults, traps or executes IRET"
                )
                return (Occurrence("unmask", f"call of {target.name}()", doubt, target.name, Grade.MAY, doubt),)
        return ()


NMI_LATCH_RULE = ImageRule(
    binding=Binding(
        NMI_LATCH,
        "lint",
        {
            "latched": Bound("a store to nmi_state", Grade.EXACT),
            "unmask": Bound(
                "IRET, ERETS, ERETU or RSM; a trap that comes back; a call of code that is not protected",
                Grade.EXACT,
                "what such code runs was not followed",
            ),
        },
        start="bare",
        start_why="an NMI arrived: the CPU blocks others until the next IRET",
        assumptions=(
            "what the handler runs before the store takes no fault: memory that it uses is mapped. Breakpoints there "
            "are entry.probe-recursion's",
            "the assembly before exc_nmi() has a latch of its own, on the NMI stack, and unmasks only behind it",
        ),
    ),
    what="Follows exc_nmi() call by call, on both arms of each jump label and alternative, to the first store to "
    "nmi_state. No IRET may stand before it, also not as what serialises: sync_core() on a CPU without SERIALIZE is an "
    "IRET to itself. Nor may WARN(), whose trap comes back by one. A call out of protected code is unknown.",
    why=NMI_LATCH.why,
    example="""\
noinstr void exc_nmi(struct pt_regs *regs)
{
	sync_core();                                     /* violated: IRET, where the CPU has no SERIALIZE */
	if (this_cpu_read(nmi_state) != NMI_NOT_RUNNING) {
		this_cpu_write(nmi_state, NMI_LATCHED);
		return;
	}
	this_cpu_write(nmi_state, NMI_EXECUTING);
""",
    remedy=NMI_LATCH.remedy,
    look=look,
)
