"""The annotated ranges of arm64: told by the functions that entry code is made of, by DWARF where they are inlined."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from nostale.lint import lint, load_image
from nostale.systems.entry.image import NOINSTR_ESCAPE_RULE, RULES

CC, LD = "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-ld"

PRELUDE = """
#define noinstr __attribute__((noinline, section(".noinstr.text")))
#define traced __attribute__((noinline))
#define __always_inline inline __attribute__((always_inline))
#define JUMP_ENTRY ".long 1b - ., %l[on] - .; .quad %c0 - .;"
#define KEEP asm volatile("" ::: "memory")
struct pt_regs;
long context_tracking_key;

noinstr void ct_nmi_enter(void) { KEEP; }
noinstr void ct_nmi_exit(void) { KEEP; }
traced void trace_note(void) { KEEP; }
traced void handle(struct pt_regs *regs) { KEEP; }

#ifndef UNTRACKED
#define TRACKING tracking()
noinstr void __ct_user_exit(int state) { KEEP; }
noinstr void __ct_user_enter(int state) { KEEP; }
#else
#define TRACKING 0
#define __ct_user_exit(state) KEEP
#define __ct_user_enter(state) KEEP
#endif
static __always_inline _Bool tracking(void)
{
	asm goto("1: nop; .pushsection __jump_table, \\"aw\\"; .balign 8;" JUMP_ENTRY ".popsection"
		:: "i"(&context_tracking_key) :: on);
	return 0;
on:
	return 1;
}
static __always_inline void user_exit_irqoff(void) { if (TRACKING) __ct_user_exit(2); }
static __always_inline void user_enter_irqoff(void) { if (TRACKING) __ct_user_enter(2); }
static __always_inline void enter_from_user_mode(void) { user_exit_irqoff(); trace_note(); }
static __always_inline void exit_to_user_mode(void) { trace_note(); user_enter_irqoff(); }
"""


# What the linker script of a kernel says of the parts that are looked at here, arch/arm64/kernel/vmlinux.lds.S.
SCRIPT = """
SECTIONS {
  . = 0xffff800080000000;
  .text : { *(.text) __noinstr_text_start = .; *(.noinstr.text) __noinstr_text_end = .; }
  .data : {
    *(.data)
    __start___jump_table = .; *(__jump_table) __stop___jump_table = .;
    __start_kprobe_blacklist = .; *(_kprobe_blacklist) __stop_kprobe_blacklist = .;
  }
  .bss : { *(.bss) }
}
"""


@pytest.fixture(params=["object", "linked"])
def image(request, tmp_path):
    """Compile a source for arm64, and link it as a kernel is."""
    if shutil.which(CC) is None:
        pytest.skip(f"no {CC}: apt-get install gcc-aarch64-linux-gnu")

    def run(source, *flags, debug="-g"):
        path, output, script, whole = (tmp_path / name for name in ("source.c", "object.o", "script", "vmlinux"))
        path.write_text(PRELUDE + source)
        subprocess.run([CC, "-c", "-O2", "-fno-pic", debug, *flags, "-o", output, path], check=True)
        if request.param == "object":
            return load_image(output)
        script.write_text(SCRIPT)
        subprocess.run([LD, "-T", script, "-o", whole, output], check=True)
        return load_image(whole)

    return run


@pytest.fixture
def found(image):
    """Return (verdict, place's function, callee, why unknown) of each escape from what a source is compiled to."""

    def run(source, *flags, debug="-g"):
        verdicts = [one.verdict for one in lint(image(source, *flags, debug=debug), [NOINSTR_ESCAPE_RULE]).results]
        if [one.word for one in verdicts] == ["holds"]:
            return []
        lasts = [one.path[-1] for one in verdicts]
        return [
            (one.word, last.place.split("+")[0], last.callee, getattr(one, "why", ""))
            for one, last in zip(verdicts, lasts)
        ]

    return run


USER = """
noinstr void el0t_64_sync_handler(struct pt_regs *regs)
{
	%s
	enter_from_user_mode();
	handle(regs);
	exit_to_user_mode();
	%s
}
"""


def test_code_between_the_inlined_copies_may_be_traced(found):
    assert found(USER % ("", "")) == []


@pytest.mark.parametrize("where", [("handle(regs);", ""), ("", "handle(regs);")])
def test_code_outside_of_them_may_not(found, where):
    assert {one[:3] for one in found(USER % where)} == {("violated", "el0t_64_sync_handler", "handle")}


def test_both_arms_of_the_inlined_copies_count(image):
    paths = [one.verdict.path for one in lint(image(USER % ("", "handle(regs);")), [NOINSTR_ESCAPE_RULE]).results]
    told = [[step.what for step in path] for path in paths]
    # Whether user mode is tracked or not: the copy is where the range ends.
    assert all("user_enter_irqoff(), inlined: the context is being taken down" in steps for steps in told)
    assert any("user_exit_irqoff(), inlined: the context is established" in steps for steps in told)


def test_without_debugging_information_it_cannot_be_told(found):
    told = found(USER % ("", ""), debug="-g0")
    assert {one[0] for one in told} == {"unknown"}
    where = "where enter_from_user_mode() is inlined into el0t_64_sync_handler"
    assert {one[3] for one in told} == {f"the image has no debugging information to tell {where}"}


def test_a_kernel_without_context_tracking_watches_in_user_mode(found):
    assert found(USER % ("", ""), "-DUNTRACKED") == []
    assert [one[:3] for one in found(USER % ("handle(regs);", ""), "-DUNTRACKED")] == [
        ("violated", "el0t_64_sync_handler", "handle")
    ]


KERNEL = """
noinstr void arm64_enter_nmi(struct pt_regs *regs) { ct_nmi_enter(); trace_note(); }
noinstr void arm64_exit_nmi(struct pt_regs *regs) { trace_note(); ct_nmi_exit(); }
noinstr void el1h_64_error_handler(struct pt_regs *regs)
{
	%s
	arm64_enter_nmi(regs);
	handle(regs);
	arm64_exit_nmi(regs);
	KEEP;
}
"""


def test_code_between_the_pair_of_calls_may_be_traced(found):
    assert found(KERNEL % "") == []


def test_code_before_the_pair_of_calls_may_not(found):
    # As el1h_64_error_handler() has it in v6.12: local_daif_restore() traces before arm64_enter_nmi().
    assert [one[:3] for one in found(KERNEL % "trace_note();")] == [("violated", "el1h_64_error_handler", "trace_note")]


def test_a_pair_inside_of_another_gives_back_what_was_known(found):
    nested = """
noinstr void el0t_64_error_handler(struct pt_regs *regs)
{
	enter_from_user_mode();
	arm64_enter_nmi(regs);
	handle(regs);
	arm64_exit_nmi(regs);
	handle(regs);
	exit_to_user_mode();
}
"""
    assert found(KERNEL % "" + nested) == []


def test_exit_code_is_entered_while_the_context_is_known_and_not_after_it_took_that_down(found):
    late = (KERNEL % "").replace("ct_nmi_exit(); }", "ct_nmi_exit(); handle(regs); KEEP; }")
    assert [one[:3] for one in found(late)] == [("violated", "arm64_exit_nmi", "handle")]


def test_an_entry_function_that_escapes_before_it_makes_rcu_watch_is_unknown(found):
    early = (KERNEL % "").replace("{ ct_nmi_enter();", "{ trace_note(); ct_nmi_enter();")
    told = found(early)
    assert [one[:3] for one in told] == [("unknown", "arm64_enter_nmi", "trace_note")]
    assert told[0][3].startswith("nothing on this path makes RCU watch")


def test_a_function_that_no_exception_comes_to_is_unknown(found):
    told = found("noinstr void patcher(struct pt_regs *regs) { handle(regs); KEEP; }")
    assert [one[:3] for one in told] == [("unknown", "patcher", "handle")]
    assert told[0][3].startswith("nothing in this image shows that patcher is reached from an exception vector")


@pytest.mark.parametrize("image", ["object"], indirect=True)
def test_a_callee_of_another_object_is_unknown(found):
    told = found(KERNEL % "extern void elsewhere(void); elsewhere();")
    assert [one[:3] for one in told] == [("unknown", "el1h_64_error_handler", "elsewhere")]
    assert told[0][3] == "elsewhere is not defined in this image: whether it is noinstr cannot be told"


# 024f4b2e1f87 ("arm64: entry: avoid kprobe recursion") (in v6.1): the handler of a debug exception calls a helper
# that was meant to be inlined. It is inside of the range, but a probe in it raises the same exception again.
DEBUG = """
static %s _Bool erratum_debug_handler(struct pt_regs *regs)
{
	KEEP;
	return regs != 0;
}
traced void do_debug_exception(struct pt_regs *regs) { KEEP; }
asm(".pushsection _kprobe_blacklist, \\"aw\\"; .quad do_debug_exception; .popsection");

noinstr void arm64_enter_el1_dbg(struct pt_regs *regs) { ct_nmi_enter(); trace_note(); KEEP; }
noinstr void arm64_exit_el1_dbg(struct pt_regs *regs) { trace_note(); ct_nmi_exit(); KEEP; }

static noinstr void el1_dbg(struct pt_regs *regs)
{
	arm64_enter_el1_dbg(regs);
	if (!erratum_debug_handler(regs))
		do_debug_exception(regs);
	arm64_exit_el1_dbg(regs);
	KEEP;
}
noinstr void el1h_64_sync_handler(struct pt_regs *regs) { el1_dbg(regs); KEEP; }
"""


def test_b20_a_debug_exceptions_helper_that_was_not_inlined_may_be_probed(found):
    told = found(DEBUG % "__attribute__((noinline))")
    assert len(told) == 1
    verdict, function, callee, _ = told[0]
    assert (verdict, function) == ("violated", "el1_dbg")
    assert callee.startswith("erratum_debug_handler")


def test_b20_its_fix_is_clean(found):
    assert found(DEBUG % "__always_inline") == []


def test_b20_a_callee_that_is_not_blacklisted_is_found_too(found):
    bad = (DEBUG % "__always_inline").replace(".quad do_debug_exception", ".quad handle")
    assert [one[:3] for one in found(bad)] == [("violated", "el1_dbg", "do_debug_exception")]


PAGE = Path(__file__).resolve().parents[2] / "docs/guide/lint-arm64.md"


def argued():
    """Return what the page says is left on arm64_partial.o, by group."""
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", PAGE.read_text(), re.MULTILINE)
    return {where.strip("`"): int(count) for count, where in rows}


def group(place, callee):
    function = place.split("+")[0].split(".")[0]
    if function in ("cpu_idle_poll", "default_idle_call"):
        return "idle loops"
    if function in ("arch_stack_walk", "arch_bpf_stack_walk"):
        return "stack walking"
    if function == "patch_alternative" or function.startswith("aarch64_insn_"):
        return "text patching"
    if callee in ("preempt_schedule", "preempt_schedule_notrace"):
        return "ct_state()" if callee == "preempt_schedule" else "this_cpu_read()"
    return "debug exceptions" if function in ("el1_breakpt", "el1_watchpt", "el1_softstp") else f"{function}()"


@pytest.mark.shared
def test_the_plain_rule_of_x86_would_flood_it(shared):
    plain = replace(NOINSTR_ESCAPE_RULE, regions=lambda flow: None)
    answer = lint(load_image(shared / "data/lint/arm64_partial.o.xz"), [plain])
    violated = sum(one.verdict.word == "violated" for one in answer.results)
    assert f"violation: {violated} of them" in PAGE.read_text()


@pytest.mark.shared
def test_every_finding_on_the_arm64_object_is_argued(shared):
    answer = lint(load_image(shared / "data/lint/arm64_partial.o.xz"), RULES)
    lasts = [(one.id, one.verdict, one.verdict.path[-1]) for one in answer.results if one.verdict.word != "holds"]
    assert {verdict.word for _, verdict, _ in lasts} == {"unknown"}
    escapes = [group(last.place, last.callee) for id_, _, last in lasts if "escape" in id_]
    assert Counter(escapes) == argued()
    pointers = sorted(last.place.split("+")[0] for id_, _, last in lasts if "indirect" in id_)
    assert pointers == ["arch_bpf_stack_walk", "arch_stack_walk", "el0_breakpt", "el0_ia", "el0_pc", "el0_softstp"]
    assert {one.id for one in answer.results if one.verdict.word == "holds"} == {
        "entry.noinstr-instrumented",
        "entry.noinstr-unbalanced",
        "entry.order",
        "entry.pairing",
    }
