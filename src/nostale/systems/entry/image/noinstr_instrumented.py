"""entry.noinstr-instrumented: what the compiler inserted into protected code."""

from __future__ import annotations

from collections.abc import Mapping

from nostale.contract import Binding, Bound, Grade
from nostale.lint import Class, Flow, How, Occurrence, Rule, Transfer, table_places
from nostale.systems.entry.contract import NOINSTR_INSTRUMENTED
from nostale.systems.entry.image.protected import SCOPE

# Functions that compilers call of their own accord, by prefix, and what for. Not UBSAN's handlers: the code around them
# is not instrumented, a branch to them stands where an operation may be undefined (entry.noinstr-escape).
_INSERTED = {
    "__fentry__": "ftrace (-pg -mfentry)",
    "mcount": "ftrace (-pg)",
    "_mcount": "ftrace (-pg)",
    "__asan_": "KASAN",
    "__hwasan_": "KASAN, software tags",
    "__kasan_": "KASAN",
    "__msan_": "KMSAN",
    "__tsan_": "KCSAN",
    "__kcsan_": "KCSAN",
    "__sanitizer_cov_": "KCOV",
    "__gcov_": "gcov",
    "__llvm_profile_": "profiling",
    "__llvm_gcov_": "gcov",
    "llvm_gcda_": "gcov",
    "llvm_gcov_": "gcov",
    "__cyg_profile_func_": "-finstrument-functions",
}
# objtool --hacks=noinstr makes these calls NOPs, since compilers once lacked the attribute that avoids them.
_PATCHED_OUT = ("__sanitizer_cov_", "__tsan_func_", "__tsan_atomic_signal_fence")
_LATER = "objtool --hacks=noinstr makes this call a NOP; this image may be from before that"
_IDLE = ".cpuidle.text was not noinstr before v6.3, and could be traced; this image does not say which it is"
_WHY = "the function was to be free of what the compiler inserts, and its context may not be established"


def inserted(name: str) -> str:
    """Say what a function that the compiler calls of its own accord is for; "" for every other function."""
    return next((what for prefix, what in _INSERTED.items() if name.startswith(prefix)), "")


def classify(transfer: Transfer, section: str) -> tuple[Occurrence, ...]:
    """Return the instrumentation that a call is."""
    what = inserted(transfer.callee)
    if not what or transfer.how in (How.RETURN, How.RESUME):
        return ()
    told = f"call to {transfer.callee}() instruments {section} section for {what}"
    if transfer.callee.startswith(_PATCHED_OUT):
        return (Occurrence("instrument", told, _LATER, transfer.callee, Grade.MAY, _LATER),)
    if section == ".cpuidle.text":
        return (Occurrence("instrument", told, _IDLE, transfer.callee, Grade.MAY, _IDLE),)
    return (Occurrence("instrument", told, _WHY, transfer.callee),)


def places(flow: Flow) -> Mapping[int, tuple[Occurrence, ...]]:
    """Return the ftrace sites of protected code, whether a call stands there now or a NOP."""
    found = {}
    for address in table_places(flow.image, "__mcount_loc"):
        kind = flow.image.class_at(address)
        if kind not in SCOPE:
            continue
        what = "an entry of __mcount_loc makes this an ftrace site"
        if kind is Class.CPUIDLE:
            found[address] = (Occurrence("instrument", what, _WHY, grade=Grade.MAY, doubt=_IDLE),)
        else:
            found[address] = (Occurrence("instrument", what, _WHY),)
    return found


NOINSTR_INSTRUMENTED_RULE = Rule(
    binding=Binding(
        NOINSTR_INSTRUMENTED,
        "lint",
        {
            "instrument": Bound(
                "a call of a function that compilers insert, or an entry of __mcount_loc",
                Grade.EXACT,
                "whether it is still there in the kernel that runs",
            )
        },
        start="protected",
        start_why="every instruction of the section is protected, inside of annotated ranges too",
    ),
    what="Looks at every instruction that a path comes to in the protected sections for a call that the compiler "
    "inserted (__fentry__ and mcount, the entry points of KASAN, KCSAN, KMSAN, KCOV, gcov and -finstrument-functions) "
    "and for an ftrace site named by __mcount_loc. An annotated range does not allow it: the range is about what the "
    "function calls, not about what it is made of.",
    why=NOINSTR_INSTRUMENTED.why,
    example="""\
__section(".noinstr.text") void exc_example(struct pt_regs *regs)    /* violated: notrace is missing */
{                                                                     /* the compiler calls __fentry__ here */
	handle(regs);
}

noinstr void exc_mended(struct pt_regs *regs)
{
	handle(regs);
}
""",
    remedy=NOINSTR_INSTRUMENTED.remedy,
    scope=SCOPE,
    marks=(),
    classify=classify,
    places=places,
)
