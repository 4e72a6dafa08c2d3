"""membarrier(SYNC_CORE) against the scheduler: what holds, on which machine, and what each sync carries."""

import pytest

from nostale.contract import Role, Violated
from nostale.prove import Means, ablate, prove
from nostale.prove.hardware import serialising
from nostale.systems.lazytlb.core_sync import HOOKS, MACHINES, CoreSync, KthreadUseMm
from nostale.systems.pages import pages

CONTRACT = "lazytlb.core-sync"


def answer(compiler, variant="", **settings):
    return prove(CoreSync({k: str(v) for k, v in settings.items()}, variant), "lazytlb", Means(compiler, None))


def broken(found) -> set[str]:
    return {r.id for r in found.results if isinstance(r.verdict, Violated)}


def steps(found) -> str:
    return "\n".join(step.what for r in found.results if r.id == CONTRACT for step in r.verdict.path)


# machine, states, transitions, depth: pinned, so that a change of the model is a decision.
PINS = [
    ("x86", 53818, 184368, 27),
    ("x86-pti", 60492, 204376, 30),
    ("x86-fred", 34824, 119796, 27),
    ("arm64", 70560, 234072, 30),
    ("riscv", 57180, 192352, 31),
]


@pytest.mark.parametrize(("machine", "states", "transitions", "depth"), PINS)
def test_mainline_holds_with_so_many_states(compiler, machine, states, transitions, depth):
    found = answer(compiler, machine=machine)
    assert found.verdict == "holds" and found.search.complete
    assert (found.search.states, found.search.transitions, found.search.depth) == (states, transitions, depth)


# What the first call leaves behind (asked, stale masks, promises) is not what makes the second one hold.
@pytest.mark.parametrize(("machine", "states"), [("x86", 121760), ("x86-fred", 75940), ("riscv", 134688)])
def test_a_second_call_holds_as_well_and_fails_as_well(compiler, machine, states):
    found = answer(compiler, machine=machine, calls=2)
    assert found.verdict == "holds" and found.search.states == states
    assert broken(answer(compiler, "skip-in-irq", machine=machine, calls=2)) == {CONTRACT}


def test_every_scene_happens_on_every_machine(compiler):
    for machine in MACHINES:
        scenes = [r for r in answer(compiler, machine=machine).results if "scene" in r.id]
        assert len(scenes) == 6 and all(r.verdict.word == "holds" for r in scenes)


# The hook is what covers lazy mode, and only where neither the return nor switch_mm() synchronises.
@pytest.mark.parametrize("machine", MACHINES)
def test_without_any_hook_it_fails_where_returns_do_not_serialise(compiler, machine):
    needed = machine in ("x86", "x86-fred", "riscv")
    assert broken(answer(compiler, machine=machine, hook="none", use_mm="no")) == ({CONTRACT} if needed else set())


# LT-4: the case that Nicholas Piggin named, per machine, and each cure.
@pytest.mark.parametrize("hook", HOOKS[:3])
@pytest.mark.parametrize("machine", MACHINES)
def test_a_kernel_thread_switched_out_within_use_mm(compiler, machine, hook):
    found = answer(compiler, machine=machine, hook=hook, use_mm="switched")
    fails = machine in ("x86", "x86-fred", "riscv") and hook == "finish_task_switch"
    fails |= machine == "riscv" and hook == "tlb.c"  # which riscv does not have
    assert broken(found) == ({CONTRACT} if fails else set())


def test_that_case_takes_no_mm_switch_and_no_hook(compiler):
    told = steps(answer(compiler, use_mm="switched"))
    order = ["enter_lazy_tlb", "returns to user mode", "kthread_use_mm(): stores", "the sibling is next", "Runs user"]
    places = [told.index(part) for part in order]
    assert places == sorted(places) and "a thread of another" not in told


def test_it_is_a_model_of_its_own_that_says_what_it_expects(compiler):
    found = prove(KthreadUseMm(), "lazytlb.kthread-use-mm", Means(compiler, None))
    assert broken(found) == broken(answer(compiler, use_mm="switched")) == {CONTRACT}
    assert found.verdict == KthreadUseMm.expect and CoreSync.expect == "holds"
    told = {page.id: dict(page.sections) for page in pages()}
    assert told["KthreadUseMm"]["Expected"] == "violated: it shows a hole that is there today"
    assert not told["CoreSync"]["Expected"]


def test_an_interrupted_sibling_is_covered_by_iret_and_not_by_eretu(compiler):
    asked = {"use_mm": "switched", "left_by": "interrupt", "caller_runs": "no"}
    assert broken(answer(compiler, machine="x86", **asked)) == set()
    assert broken(answer(compiler, machine="x86-fred", **asked)) == {CONTRACT}


@pytest.mark.parametrize(
    ("variant", "fails_on"),
    [
        ("skip-self", {"x86", "x86-fred", "riscv"}),
        ("skip-in-irq", {"x86", "x86-fred", "riscv"}),
        ("no-prepare", {"riscv"}),
    ],
)
def test_each_variant_fails_on_exactly_these_machines(compiler, variant, fails_on):
    assert {one for one in MACHINES if broken(answer(compiler, variant, machine=one)) == {CONTRACT}} == fails_on


def test_the_declared_verdict_of_each_variant_is_what_it_gets(compiler):
    for name, declared in CoreSync.variants().items():
        assert answer(compiler, name).verdict == declared.expect


def test_what_is_broken_is_a_use(compiler):
    (verdict,) = [r.verdict for r in answer(compiler, "skip-self").results if r.id == CONTRACT]
    assert verdict.of is Role.USE


def no_sync(self, cpu: int) -> None:
    pass


def no_write(self, cpu: int, *, flush: bool) -> None:
    pass


# Teeth: take away a piece of the hardware or of the protocol that the proof rests on.
@pytest.mark.parametrize(
    ("name", "instead", "machine", "between"),
    [
        ("core_syncs", no_sync, "x86", "all"),
        ("flush_icache_deferred", no_sync, "riscv", "process"),
        ("write_cr3", no_write, "x86", "process"),
    ],
)
def test_without_this_piece_it_is_violated(compiler, monkeypatch, name, instead, machine, between):
    monkeypatch.setattr(CoreSync, name, instead)
    assert broken(answer(compiler, machine=machine, between=between, use_mm="no")) == {CONTRACT}


def test_were_sysret_serialising_no_hook_would_be_needed(compiler, monkeypatch):
    monkeypatch.setattr(
        serialising,
        "EVENTS",
        tuple(
            serialising.CoreEvent(e.arch, e.name, e.serialises or e.name == "SYSRET", e.parameter)
            for e in serialising.EVENTS
        ),
    )
    assert broken(answer(compiler, hook="none", use_mm="switched")) == set()


# How many syncs carry the proof, and how many do not: on x86 that of an IPI in the kernel, whose IRET serialises.
@pytest.mark.parametrize(
    ("machine", "carrying", "spare"),
    [("x86", 3, 1), ("x86-fred", 4, 0), ("riscv", 4, 0), ("x86-pti", 0, 0), ("arm64", 0, 0)],
)
def test_ablation_finds_what_carries_it(compiler, machine, carrying, spare):
    told = ablate(CoreSync({"machine": machine}), "lazytlb", Means(compiler, None)).coverage
    needed, others = told["load-bearing"], told["not needed by themselves"]
    assert [sum("self.sync_core(cpu)" in one for one in some) for some in (needed, others)] == [carrying, spare]
    assert sum("wait(not any(self.asked))" in one for one in needed) == 1
    assert sum("prepare_sync_core_cmd" in one for one in needed) == (machine == "riscv")
