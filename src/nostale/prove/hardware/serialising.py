"""Which events make a CPU fetch its instructions anew, as data: serialising on x86, context-synchronising on arm64.

A model asks in `build()`, where plain Python runs: `self.return_syncs = serialises("ERETS")`.
Sources: SDM vol. 3, "Serializing Instructions" and "Handling Self- and Cross-Modifying Code"; Intel's FRED
specification; arch/x86/include/asm/barrier.h, weak_wrmsr_fence(); Arm ARM, "Context synchronization event" and
SCTLR_EL1.EIS/EOS; RISC-V unprivileged ISA, "Zifencei". Where `recalled` is set the line was not read in its source
again: check it before resting a proof on it.
Not here: what orders memory accesses (see `memory`), and what a hypervisor adds to an instruction it traps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from nostale.contract import BadInput


@dataclass(frozen=True, slots=True)
class CoreEvent:
    """Something a CPU does, and whether it fetches anew after it.

    Args:
        arch: `x86`, `arm64` or `riscv`.
        name: as a model writes it.
        serialises: what the architecture promises; for a parameter, what is assumed unless a model says otherwise.
        parameter: why the manuals leave it open; "" where they do not.
        recalled: whether the line is from memory.
    """

    arch: str
    name: str
    serialises: bool
    parameter: str = ""
    recalled: bool = False


def _each(arch: str, names: str, *, serialises: bool, recalled: bool = False) -> tuple[CoreEvent, ...]:
    return tuple(CoreEvent(arch, name, serialises, recalled=recalled) for name in names.split(", "))


RETURNS = ("IRET", "ERETS", "ERETU", "SYSRET", "SYSEXIT")  # how x86 leaves an event handler or a system call

EVENTS: tuple[CoreEvent, ...] = (
    *_each("x86", "CPUID, IRET, RSM, SERIALIZE, INVD, WBINVD, INVLPG, INVEPT, INVVPID", serialises=True),
    *_each("x86", "LGDT, LIDT, LLDT, LTR, MOV CR0, MOV CR2, MOV CR3, MOV CR4, MOV DR, WRMSR", serialises=True),
    *_each("x86", "MOV CR3 no-flush", serialises=True, recalled=True),
    *_each("x86", "LFENCE, MFENCE, SFENCE, MOV CR8, WRMSR x2APIC, WRMSR TSC_DEADLINE, ERETS", serialises=False),
    *_each("x86", "ERETU, SYSRET, SYSEXIT, SYSCALL, SYSENTER, SWAPGS, WRMSRNS", serialises=False, recalled=True),
    *_each("x86", "INVLPGB, TLBSYNC, locked instruction", serialises=False, recalled=True),
    CoreEvent("x86", "interrupt delivery", False, 'not on the list; the kernel says "IPIs should be serializing"'),
    CoreEvent("x86", "exception delivery", False, "not on the list"),
    CoreEvent("x86", "WRMSR SPEC_CTRL", False, "most WRMSR serialise, this one is not promised to"),
    CoreEvent("x86", "VM entry", False, "not on the list"),
    CoreEvent("x86", "VM exit", False, "not on the list"),
    CoreEvent("x86", "INVPCID", False, "not on the list, unlike INVLPG"),
    *_each("arm64", "ISB", serialises=True),
    CoreEvent("arm64", "exception entry", True, "if SCTLR_EL1.EIS is set or FEAT_ExS is absent; Linux sets it"),
    CoreEvent("arm64", "ERET", True, "if SCTLR_EL1.EOS is set or FEAT_ExS is absent; Linux sets it"),
    *_each("arm64", "DMB, DSB, IC IVAU, DC CVAU, TLBI, branch", serialises=False),
    *_each("riscv", "FENCE.I", serialises=True),
    *_each("riscv", "FENCE, SFENCE.VMA, xRET, trap entry", serialises=False),
)

# Arm ARM B2.2.5: only these may be changed, into one another, while another PE may execute them.
CHANGEABLE_ON_ARM64 = ("NOP", "B", "BL", "BRK", "HVC", "ISB", "SMC", "SVC")


def core_event(name: str, arch: str = "x86") -> CoreEvent:
    """Look an event up.

    Raises:
        BadInput: there is none of that name.
    """
    known = {event.name: event for event in EVENTS if event.arch == arch}
    if name not in known:
        near = get_close_matches(name, known, 3, 0.4) or sorted(known)
        raise BadInput(f"{arch} event {name!r}", "is not in the table of core events", remedy=f"such as {near[0]}")
    return known[name]


def serialises(name: str, assumptions: Mapping[str, bool] | None = None, arch: str = "x86") -> bool:
    """Whether a CPU fetches its instructions anew after an event.

    Args:
        name: of the event.
        assumptions: for events that are parameters, what to assume instead of the default.
        arch: `x86`, `arm64` or `riscv`.

    Raises:
        BadInput: no such event, or an assumption about one whose answer the architecture gives.

    >>> serialises("IRET"), serialises("ERETS"), serialises("interrupt delivery")
    (True, False, False)
    >>> serialises("interrupt delivery", {"interrupt delivery": True})
    True
    """
    for assumed in assumptions or {}:
        if not core_event(assumed, arch).parameter:
            raise BadInput(f"{arch} event {assumed!r}", "is no parameter: the architecture says what it does")
    event = core_event(name, arch)
    return (assumptions or {}).get(name, event.serialises)


def stated(assumptions: Mapping[str, bool] | None = None, arch: str = "x86") -> tuple[str, ...]:
    """Return what a model's `assumptions()` must say of the architecture's open events."""
    open_events = [event for event in EVENTS if event.arch == arch and event.parameter]
    words = {True: "serialises", False: "does not serialise"}
    return tuple(f"{event.name} {words[serialises(event.name, assumptions, arch)]}" for event in open_events)
