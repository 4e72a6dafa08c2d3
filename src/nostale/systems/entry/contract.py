"""What kernel entry must keep to: no instrumentable code before the context is established, and no range left open."""

from __future__ import annotations

from nostale.contract import Automaton, Contract, Event, Role, Source, depth_automaton

DEPTH_LIMIT = 8  # ranges nest two or three deep where a helper with its own range is inlined into another

_CONTEXT = ("context",)
_BEGIN = "instrumentation_begin(): the context is established, instrumentable code may run from here"
_END = "instrumentation_end(): from here the context is being taken down, instrumentable code may not run"
_SOURCES = (
    Source("Documentation/core-api/entry.rst, 'Non-instrumentable code - noinstr', v6.12"),
    Source("include/linux/instrumentation.h, v6.12"),
    Source("tools/objtool/check.c, validate_call(), validate_return(), v6.12"),
    Source("x86 entry rework, pull request, Thomas Gleixner, 12 June 2020"),
)


def _with_entry(automaton: Automaton, event: str) -> Automaton:
    """Let every entry of the kernel begin anew at depth zero, whatever was open before it."""
    edges = {**automaton.edges, **{(state, event): automaton.initial for state in automaton.states}}
    events = tuple(sorted({*automaton.events, event}))
    return Automaton(automaton.name, automaton.states, events, edges, automaton.final)


NOINSTR_ESCAPE = Contract(
    id="entry.noinstr-escape",
    title="noinstr code runs instrumentable code only inside an annotated range",
    why="An exception, interrupt, NMI or system call interrupts everything the kernel knows about its own context: RCU "
    "may not be watching, CR3 and GS may be the user's, lockdep is out of step. A tracer, probe or sanitizer that runs "
    "then acts on that stale view.",
    remedy="Put instrumentation_begin() and instrumentation_end() around it once the context is established, or make "
    "the callee noinstr or __always_inline.",
    keys=_CONTEXT,
    observer="context",
    events=(
        Event("enter", Role.CHANGE, _CONTEXT, "the kernel is entered: nothing is known of its context"),
        Event("begin", Role.SYNC, _CONTEXT, _BEGIN),
        Event("end", Role.CHANGE, _CONTEXT, _END),
        Event("escape", Role.USE, _CONTEXT, "control goes to instrumentable code"),
    ),
    requirements=("EN-1", "EN-2", "EN-3", "EN-16", "EN-17"),
    sources=_SOURCES,
    automaton=_with_entry(
        depth_automaton(
            "noinstr_escape", enter="begin", leave="end", needs_inside="escape", needs_outside=None, limit=DEPTH_LIMIT
        ),
        "enter",
    ),
)

NOINSTR_UNBALANCED = Contract(
    id="entry.noinstr-unbalanced",
    title="noinstr code never returns with instrumentation still enabled",
    why="The caller goes on as protected code and takes its context down, while the annotation still claims that "
    "instrumentable code may run: the range has no end, and no check that follows means anything.",
    remedy="End the range on every path that leaves: instrumentation_end() before each return, and no tail call inside "
    "a range.",
    keys=_CONTEXT,
    observer="context",
    events=(
        Event("begin", Role.CHANGE, _CONTEXT, _BEGIN),
        Event("end", Role.SYNC, _CONTEXT, _END),
        Event("return", Role.RELY, _CONTEXT, "control returns to protected code, which relies on the range's end"),
    ),
    requirements=("EN-1", "EN-3"),
    sources=_SOURCES,
    automaton=depth_automaton(
        "noinstr_unbalanced", enter="begin", leave="end", needs_inside=None, needs_outside="return", limit=DEPTH_LIMIT
    ),
)

NOINSTR_INDIRECT = Contract(
    id="entry.noinstr-indirect",
    title="an indirect call or jump of noinstr code goes to noinstr code only, or stands inside an annotated range",
    why="Where a function pointer goes is decided at run time. Before the kernel's context is established it may go to "
    "code that a tracer or probe may run in, and nothing in the source shows it.",
    remedy="Make it a direct call, or a call through pv_ops or a constant table whose functions are all noinstr; or "
    "put instrumentation_begin() and instrumentation_end() around it once the context is established.",
    keys=_CONTEXT,
    observer="context",
    events=(
        Event("enter", Role.CHANGE, _CONTEXT, "the kernel is entered: nothing is known of its context"),
        Event("begin", Role.SYNC, _CONTEXT, _BEGIN),
        Event("end", Role.CHANGE, _CONTEXT, _END),
        Event("indirect", Role.USE, _CONTEXT, "control goes to instrumentable code through a pointer"),
    ),
    requirements=("EN-3", "EN-17"),
    sources=(*_SOURCES, Source("db2b0c5d7b6f objtool: Support pv_ops indirect calls for noinstr")),
    automaton=_with_entry(
        depth_automaton(
            "noinstr_indirect",
            enter="begin",
            leave="end",
            needs_inside="indirect",
            needs_outside=None,
            limit=DEPTH_LIMIT,
        ),
        "enter",
    ),
)

NOINSTR_INSTRUMENTED = Contract(
    id="entry.noinstr-instrumented",
    title="the compiler puts no instrumentation into noinstr code",
    why="A call that the compiler inserts for ftrace, a sanitizer, coverage or profiling runs in a function that was "
    "to be free of it, before RCU watches and the context is established; an ftrace site can also be patched while "
    "the function runs.",
    remedy="Build the function with the attributes of noinstr (notrace, no_kcsan, no_sanitize_address, no_profile, "
    "no_sanitize_coverage), or the whole file without the option in its Makefile.",
    keys=_CONTEXT,
    observer="context",
    events=(Event("instrument", Role.USE, _CONTEXT, "a call that the compiler inserted runs"),),
    requirements=("EN-2", "EN-4", "EN-5"),
    sources=(
        Source("include/linux/compiler_types.h, noinstr and __no_sanitize_or_inline, v6.12"),
        Source("tools/objtool/check.c, is_profiling_func(), v6.12"),
        Source("Documentation/core-api/entry.rst, v6.12"),
    ),
    automaton=Automaton.of("noinstr_instrumented", (), initial="protected", forbidden=("instrument",)),
)

_AGAIN = ("probe", "patch")
_PROTECTS = {
    # The state, what leads on from it, and what may happen in it.
    "bare": ({"poked": "poked", "user": "guarded", "handled": "guarded"}, ()),
    "poked": ({"user": "guarded", "handled": "guarded", "traced": "guarded"}, ("patch",)),
    "nmi": ({"latched": "guarded"}, ()),
    "debug": ({"disarmed": "guarded", "user": "guarded"}, ("patch",)),
    "guarded": ({}, _AGAIN),
}
_PROTECTIONS = ("poked", "user", "handled", "latched", "disarmed", "traced")

PROBE_RECURSION = Contract(
    id="entry.probe-recursion",
    title="a breakpoint handler runs nothing that a breakpoint can be put on before it is safe from that",
    why="The breakpoint is hit again while it is handled, and again: the stack runs over before anything is printed. "
    "In an NMI the breakpoint's IRET unmasks NMIs, and the next one overwrites the stack of the first.",
    remedy="Make it noinstr or __always_inline, or put NOKPROBE_SYMBOL() on it; of a static branch or call ask whether "
    "it can be decided at boot; else move it behind the point where recursion is caught.",
    keys=_CONTEXT,
    observer="context",
    events=(
        Event("probe", Role.USE, _CONTEXT, "code runs that a probe can be put on"),
        Event("patch", Role.USE, _CONTEXT, "code runs that is rewritten while the kernel runs"),
        Event("poked", Role.OTHER, _CONTEXT, "poke_int3_handler() comes back: it was no breakpoint of the patcher"),
        Event("user", Role.OTHER, _CONTEXT, "user mode was interrupted"),
        Event("handled", Role.OTHER, _CONTEXT, "the probe is current, or kprobe_int3_handler() comes back"),
        Event("latched", Role.OTHER, _CONTEXT, "nmi_state says that an NMI is handled: another one waits"),
        Event("disarmed", Role.OTHER, _CONTEXT, "hardware breakpoints are off"),
        Event("traced", Role.OTHER, _CONTEXT, "tracing_irq_cpu says that this is being traced: it is not traced again"),
    ),
    requirements=("EN-4", "EN-6", "EN-11", "EN-20"),
    sources=(
        Source("arch/x86/kernel/traps.c, exc_int3(), do_int3(), exc_debug_kernel(), v6.12"),
        Source("arch/x86/kernel/nmi.c, exc_nmi(), v6.12"),
        Source("kernel/kprobes.c, within_kprobe_blacklist(), v6.12"),
        Source("a365a65f9ca1 x86/traps: Mark do_int3() NOKPROBE_SYMBOL"),
    ),
    automaton=Automaton.of(
        "probe_recursion",
        [
            (state, event, on.get(event, state))
            for state, (on, allowed) in _PROTECTS.items()
            for event in (*_PROTECTIONS, *allowed)
        ],
        initial="bare",
        forbidden=_AGAIN,
    ),
)

CONTRACTS = (NOINSTR_ESCAPE, NOINSTR_UNBALANCED, NOINSTR_INDIRECT, NOINSTR_INSTRUMENTED, PROBE_RECURSION)
