"""entry.order: in which order lockdep, context tracking and tracing are told, function by function."""

from __future__ import annotations

from collections.abc import Mapping

from nostale.contract import Binding, Bound, Grade
from nostale.lint import Class, Flow, How, Occurrence, Rule, Transfer
from nostale.outside.x86_effects import Effect
from nostale.systems.entry.contract import ORDER
from nostale.systems.entry.image.protected import SCOPE

# By whom each is told (include/linux/irqflags.h, context_tracking.h, kernel/context_tracking.c, v6.1 and v6.12).
_TELLS = {
    "lockdep_hardirqs_off": "lockdep-off",
    "ct_user_exit": "rcu-on",
    "__ct_user_exit": "rcu-on",
    "ct_irq_enter": "rcu-on",
    "ct_nmi_enter": "rcu-on",
    "ct_idle_exit": "rcu-on",
    "rcu_irq_enter_check_tick": "rcu-on",
    "__rcu_irq_enter_check_tick": "rcu-on",
    "trace_hardirqs_off_finish": "trace-off",
    "trace_hardirqs_on_prepare": "trace-on",
    "lockdep_hardirqs_on_prepare": "prepare",
    "ct_user_enter": "rcu-off",
    "__ct_user_enter": "rcu-off",
    "ct_irq_exit": "rcu-off",
    "ct_nmi_exit": "rcu-off",
    "ct_idle_enter": "idle",
    "lockdep_hardirqs_on": "lockdep-on",
}
_WHY = "it comes at the wrong time: see the order on entry and on the way back"


def classify(transfer: Transfer, section: str) -> tuple[Occurrence, ...]:
    """Return whom a call tells of an entry or of the way back."""
    event = _TELLS.get(transfer.callee)
    if event is None or transfer.how in (How.RETURN, How.RESUME):
        return ()
    return (Occurrence(event, f"call of {transfer.callee}(): {ORDER.event(event).what}", _WHY, transfer.callee),)


def places(flow: Flow) -> Mapping[int, tuple[Occurrence, ...]]:
    """Return where interrupts are enabled by STI."""
    found = {}
    for section in flow.image.sections:
        if section.kind is Class.NOINSTR:
            for address, what in flow.effects.within(section).items():
                if what is Effect.STI:
                    why = "RCU does not watch, and nothing tells it of the interrupt that comes now"
                    found[address] = (Occurrence("unmask", "STI enables interrupts", why),)
    return found


ORDER_RULE = Rule(
    binding=Binding(
        ORDER,
        "lint",
        {
            **{
                event.name: Bound(
                    "a call of " + " or ".join(f"{name}()" for name, tells in _TELLS.items() if tells == event.name),
                    Grade.EXACT,
                )
                for event in ORDER.events
                if event.name != "unmask"
            },
            "unmask": Bound("STI in .noinstr.text", Grade.EXACT),
        },
        start="anywhere",
        start_why="its callers may have told some of it: each function is asked for the order of what it tells itself",
        assumptions=(
            "a function is asked for the order of what it tells itself, not of what those tell that it calls or that "
            "were inlined without a call; lockdep tells nothing in a kernel without PROVE_LOCKING",
        ),
    ),
    what="Follows every path of every function in the protected sections and looks at the calls that tell lockdep, "
    "context tracking (RCU) and tracing of an entry or of the way back. On entry lockdep comes first, then RCU, then "
    "tracing; on the way back tracing and lockdep are prepared, then RCU stops watching, then lockdep is told. Nothing "
    "is traced between RCU's stopping and its watching again, and interrupts are not enabled there. What a function "
    "leaves out is no finding: its caller or the configuration may have it.",
    why=ORDER.why,
    example="""\
noinstr void enter_from_user(struct pt_regs *regs)
{
	lockdep_hardirqs_off(CALLER_ADDR0);
	trace_hardirqs_off_finish();     /* a tracepoint: RCU does not watch yet */
	__ct_user_exit(CT_STATE_USER);   /* violated: it comes after what needs it */
}
""",
    remedy=ORDER.remedy,
    scope=SCOPE,
    marks=(),
    classify=classify,
    places=places,
    counted="told so far",
)
