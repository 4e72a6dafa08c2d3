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

SWAPGS_FENCE = Contract(
    id="entry.swapgs-fence",
    title="a SWAPGS that a branch decides on is followed by a fence before anything is read through GS",
    why="A CPU that mispredicts the branch runs on with the wrong GS base: user mode chooses where the kernel reads "
    "its own variables from, and finds out by the cache what was read (CVE-2019-1125). Both arms need the fence, the "
    "one without SWAPGS too.",
    remedy="FENCE_SWAPGS_USER_ENTRY after the SWAPGS of an entry from user mode, FENCE_SWAPGS_KERNEL_ENTRY on the arm "
    "that has none and where both meet.",
    keys=_CONTEXT,
    observer="context",
    events=(
        Event("decide", Role.CHANGE, _CONTEXT, "a branch decides whether SWAPGS runs: it may be mispredicted"),
        Event("swap", Role.OTHER, _CONTEXT, "SWAPGS"),
        Event("fence", Role.SYNC, _CONTEXT, "a fence: nothing after it runs before the branch is resolved"),
        Event("gs", Role.USE, _CONTEXT, "memory is read or written through GS, or control leaves for code that does"),
    ),
    requirements=("EN-9", "EN-10", "EN-14"),
    sources=(
        Source("arch/x86/entry/calling.h, FENCE_SWAPGS_USER_ENTRY, FENCE_SWAPGS_KERNEL_ENTRY, v6.12"),
        Source("Documentation/admin-guide/hw-vuln/spectre.rst, 'Spectre variant 1 (swapgs)', v6.12"),
        Source("c07e45553da1 x86/entry: Add a fence for kernel entry SWAPGS in paranoid_entry()"),
    ),
    automaton=Automaton.of(
        "swapgs_fence",
        [
            *(("resolved", event, "resolved") for event in ("swap", "fence", "gs")),
            *((state, "decide", "open") for state in ("resolved", "open")),
            ("open", "swap", "open"),
            ("open", "fence", "resolved"),
        ],
        initial="resolved",
        forbidden=("gs",),
    ),
)

_OFF = ("lockdep-off", "rcu-on", "trace-off")
_ON = ("trace-on", "prepare", "rcu-off", "lockdep-on")

ORDER = Contract(
    id="entry.order",
    title="lockdep, context tracking and tracing are told of an entry in order, and mirrored on the way back",
    why="Tracing needs RCU, and RCU's own checks need lockdep to know that interrupts are off. Told in another order, "
    "a tracepoint runs while RCU does not watch, or lockdep reports what is not there and misses what is.",
    remedy="On entry lockdep_hardirqs_off(), then context tracking (RCU), then trace_hardirqs_off_finish(). On the way "
    "back trace_hardirqs_on_prepare() and lockdep_hardirqs_on_prepare(), then context tracking, then "
    "lockdep_hardirqs_on().",
    keys=_CONTEXT,
    observer="context",
    events=(
        Event("lockdep-off", Role.OTHER, _CONTEXT, "lockdep is told that interrupts are off"),
        Event("rcu-on", Role.OTHER, _CONTEXT, "RCU watches"),
        Event("trace-off", Role.OTHER, _CONTEXT, "tracing is told that interrupts are off"),
        Event("trace-on", Role.OTHER, _CONTEXT, "tracing is told that interrupts will be on"),
        Event("prepare", Role.OTHER, _CONTEXT, "lockdep is told that interrupts will be on"),
        Event("rcu-off", Role.OTHER, _CONTEXT, "RCU stops watching"),
        Event("idle", Role.OTHER, _CONTEXT, "RCU stops watching an idle CPU; whatever interrupts it tells RCU again"),
        Event("lockdep-on", Role.OTHER, _CONTEXT, "lockdep is told that interrupts are on"),
        Event("unmask", Role.OTHER, _CONTEXT, "interrupts are enabled"),
    ),
    requirements=("EN-7", "EN-8", "EN-13", "EN-18", "EN-23"),
    sources=(
        Source("kernel/entry/common.c, include/linux/entry-common.h, v6.12"),
        Source("Documentation/core-api/entry.rst, 'Syscalls', 'Interrupts and regular exceptions', v6.12"),
        Source("9d820f68b2bd entry: Fix the incorrect ordering of lockdep and RCU check"),
        Source("arm64 entry series, Mark Rutland, November 2020: ca1314d73eed, 23529049c684, 7cd1ea1010ac"),
        Source("kvm: fix latent guest entry/exit bugs, Mark Rutland, 2022"),
    ),
    automaton=Automaton.of(
        "order",
        [
            # Entry: each may be missing, where the caller or the configuration has it elsewhere; none may come early.
            ("anywhere", "lockdep-off", "told lockdep"),
            *((state, "rcu-on", "RCU watches") for state in ("anywhere", "told lockdep", "away")),
            *((state, "trace-off", "inside") for state in ("anywhere", "told lockdep", "RCU watches", "inside")),
            ("away", "lockdep-off", "away"),
            ("inside", "lockdep-off", "told lockdep"),
            # The way back. What is inside of RCU may be traced; what is away may not.
            *((state, "trace-on", "leaving") for state in ("anywhere", "RCU watches", "inside", "leaving")),
            *((state, "prepare", "leaving") for state in ("anywhere", "RCU watches", "inside", "leaving")),
            *((state, "rcu-off", "away") for state in ("anywhere", "told lockdep", "RCU watches", "inside", "leaving")),
            *((state, "idle", "idle") for state in ("anywhere", "told lockdep", "RCU watches", "inside", "leaving")),
            *(("idle", event, "idle") for event in ("lockdep-on", "lockdep-off", "unmask")),
            ("idle", "rcu-on", "RCU watches"),
            ("away", "lockdep-on", "away"),
            *((state, "lockdep-on", "on") for state in ("anywhere", "leaving", "inside", "on")),
            *(("on", event, "on") for event in ("trace-on", "prepare")),
            ("on", "trace-off", "inside"),
            ("on", "lockdep-off", "told lockdep"),
            *((state, "unmask", "anywhere") for state in ("anywhere", "inside", "leaving", "on", "RCU watches")),
        ],
        initial="anywhere",
        forbidden=(*_OFF, *_ON, "idle", "unmask"),
    ),
)

PAIRING = Contract(
    id="entry.pairing",
    title="what tells the kernel of an entry is told of the way back by its counterpart, on every path",
    why="irqentry_enter() and its like count: preemption, NMI nesting, RCU's nesting. One path that leaves without the "
    "counterpart leaves the count wrong for good; RCU then watches an idle CPU for ever, or does not watch a running "
    "one.",
    remedy="Call the counterpart on each path to a return, early ones too, and only after its first half.",
    keys=("context", "pair"),
    observer="context",
    events=(
        Event("first", Role.OTHER, ("context", "pair"), "the first half of a pair is called"),
        Event("second", Role.OTHER, ("context", "pair"), "its counterpart is called"),
        Event("back", Role.OTHER, ("context", "pair"), "the function returns"),
    ),
    requirements=("EN-8", "EN-10", "EN-13", "EN-23"),
    sources=(
        Source("include/linux/entry-common.h, irqentry_enter(), irqentry_nmi_enter(), v6.12"),
        Source("include/linux/context_tracking_irq.h; kernel/context_tracking.c, ct_nmi_enter(), ct_nmi_exit(), v6.12"),
        Source("arch/arm64/kernel/entry-common.c, v6.12"),
    ),
    automaton=Automaton.of(
        "pairing",
        [("out", "first", "in"), ("in", "second", "out"), ("out", "back", "out")],
        initial="out",
        forbidden=("first", "second", "back"),
    ),
)

CR3_BEFORE_GS = Contract(
    id="entry.cr3-before-gs",
    title="a paranoid entry has the kernel's page tables in place before it uses or computes the kernel's GS",
    why="An NMI, #MC, #DB or #DF can hit kernel entry code that still runs on the user's page tables, in which the "
    "kernel's variables are not mapped: what reads one through GS, or GSBASE's value from a kernel table, faults "
    "there, in an entry that cannot take a fault.",
    remedy="SAVE_AND_SWITCH_TO_KERNEL_CR3 first, then GSBASE; on the way back nothing through GS after RESTORE_CR3.",
    keys=_CONTEXT,
    observer="context",
    events=(
        Event("switch", Role.OTHER, _CONTEXT, "CR3 is set to the kernel's page tables"),
        Event("restore", Role.OTHER, _CONTEXT, "CR3 is set to what was found, or to the user's page tables"),
        Event("gs", Role.OTHER, _CONTEXT, "memory is used through GS, a GSBASE is set, or C code is called"),
    ),
    requirements=("EN-9", "EN-10", "EN-14"),
    sources=(
        Source("arch/x86/entry/entry_64.S, paranoid_entry, paranoid_exit, v6.12"),
        Source("arch/x86/entry/calling.h, SAVE_AND_SWITCH_TO_KERNEL_CR3, PARANOID_RESTORE_CR3, v6.12"),
    ),
    automaton=Automaton.of(
        "cr3_before_gs",
        [
            *((state, "switch", "kernel's") for state in ("user's", "kernel's")),
            *((state, "restore", "user's") for state in ("user's", "kernel's")),
            ("kernel's", "gs", "kernel's"),
        ],
        initial="user's",
        forbidden=("gs",),
    ),
)

NMI_LATCH = Contract(
    id="entry.nmi-latch",
    title="an NMI handler says that it runs before anything unmasks NMIs",
    why="IRET ends the blocking of NMIs, whoever executes it: a handler of a breakpoint or a fault, or code that "
    "serialises by it. An NMI that comes then runs on the very stack of the one that it interrupts, and overwrites it.",
    remedy="Set nmi_state first; before that nothing that may fault, trap or serialise by IRET.",
    keys=_CONTEXT,
    observer="context",
    events=(
        Event("latched", Role.OTHER, _CONTEXT, "nmi_state says that an NMI is handled: another one waits"),
        Event("unmask", Role.OTHER, _CONTEXT, "NMIs are unmasked"),
    ),
    requirements=("EN-10", "EN-11"),
    sources=(
        Source("arch/x86/kernel/nmi.c, exc_nmi(), 'nmi_state', v6.12"),
        Source("arch/x86/entry/entry_64.S, asm_exc_nmi, v6.12"),
        Source("SDM vol. 3, 'Handling Multiple NMIs'; arch/x86/include/asm/sync_core.h, iret_to_self(), v6.12"),
    ),
    automaton=Automaton.of(
        "nmi_latch",
        [("bare", "latched", "latched"), ("latched", "latched", "latched"), ("latched", "unmask", "latched")],
        initial="bare",
        forbidden=("unmask",),
    ),
)

CONTRACTS = (
    NOINSTR_ESCAPE,
    NOINSTR_UNBALANCED,
    NOINSTR_INDIRECT,
    NOINSTR_INSTRUMENTED,
    PROBE_RECURSION,
    SWAPGS_FENCE,
    ORDER,
    PAIRING,
    CR3_BEFORE_GS,
    NMI_LATCH,
)
