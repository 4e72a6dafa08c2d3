"""New instructions: which events and which maintenance make a CPU fetch them."""

from enum import IntEnum

import pytest

from nostale.contract import BadInput
from nostale.prove import Model, atomic, choose, flag, never, param, process, sometimes, variant, wait
from nostale.prove.hardware.fetch import InstructionBytes
from nostale.prove.hardware.maintenance import Arm64Instruction, RiscvInstruction
from nostale.prove.hardware.serialising import EVENTS, RETURNS, serialises, stated
from tests.prove.hardware.common import broken, states


class Byte(IntEnum):
    OLD = 0
    NEW = 1


class Returns(Model):
    """A CPU learns in a handler that code has changed, and returns to it by an instruction of the table."""

    kind = param("IRET", "how the handler returns")
    irqs = param(False, "whether interrupt delivery is assumed to serialise")

    def build(self) -> None:
        assumed = {"interrupt delivery": self.irqs}
        self.syncs = serialises(self.kind, assumed)
        self.enters = serialises("interrupt delivery", assumed)
        self.text = InstructionBytes((Byte.OLD,), 1, 1, "line")
        self.told, self.stale, self.fresh = flag(), flag(), flag()

    @process(lane="writer")
    def write(self) -> None:
        with atomic("changes the code, then sends an interrupt"):
            self.text.change(0, Byte.NEW)
        self.told = True

    @process(lane="CPU")
    def run(self) -> None:
        with atomic("takes the interrupt"):
            wait(self.told)
            if self.enters:
                self.text.sync(0)
        with atomic("returns"):
            if self.syncs:
                self.text.sync(0)
        with atomic("executes"):
            version = choose(self.text.versions)
            self.text.may_fetch(0, version)
            self.stale = self.text.byte[0][version] == Byte.OLD
            self.fresh = not self.stale

    @never("stale", "no CPU executes the old code after it was told")
    def is_stale(self) -> bool:
        return self.stale

    @sometimes("new", "the new code is executed")
    def is_fresh(self) -> bool:
        return self.fresh


@pytest.mark.parametrize("kind", RETURNS)
def test_of_the_returns_only_iret_brings_new_instructions(kind):
    assert broken(Returns, kind=kind) == (set() if kind == "IRET" else {"stale"})


@pytest.mark.parametrize(
    ("kind", "holds"),
    [("SERIALIZE", True), ("CPUID", True), ("MOV CR3", True), ("LFENCE", False), ("MFENCE", False), ("INVPCID", False)],
)
def test_the_sdms_list_is_kept_to(kind, holds):
    assert broken(Returns, kind=kind) == (set() if holds else {"stale"})


def test_on_the_assumption_that_delivery_serialises_any_return_will_do():
    assert broken(Returns, kind="ERETS", irqs="yes") == set()


def test_an_assumption_is_stated_and_only_open_events_take_one():
    assert "interrupt delivery serialises" in stated({"interrupt delivery": True})
    assert "VM exit does not serialise" in stated() and "ERET serialises" in stated(arch="arm64")
    with pytest.raises(BadInput, match="'LFENCE': is no parameter"):
        serialises("IRET", {"LFENCE": True})
    with pytest.raises(BadInput, match="x86 event 'SERIALISE': is not in the table of core events; such as SERIALIZE"):
        serialises("SERIALISE")


def test_every_event_is_in_the_table_once():
    assert len({(event.arch, event.name) for event in EVENTS}) == len(EVENTS)


class Arm64(Model):
    """New code by the sequence of the Arm ARM; each variant leaves a part of it away."""

    idc = param(False, "CTR_EL0.IDC")
    dic = param(False, "CTR_EL0.DIC")
    no_clean = variant("no DC CVAU")
    no_dsb_between = variant("no DSB between the clean and the invalidation")
    no_invalidate = variant("no IC IVAU")
    no_dsb_after = variant("no DSB after the invalidation")
    no_isb = variant("no ISB on the executing PE")
    isb_on_the_writer = variant("the ISB is executed by the writer, not where the code runs")

    def build(self) -> None:
        self.text = Arm64Instruction(2, 1, idc=self.idc, dic=self.dic)
        self.ready, self.stale, self.fresh = flag(), flag(), flag()

    @process(lane="CPU 0")
    def write(self) -> None:
        with atomic("stores the instruction"):
            self.text.write()
        if not self.no_clean:
            with atomic("DC CVAU"):
                self.text.dc_cvau(0)
        if not self.no_dsb_between:
            with atomic("DSB ISH"):
                self.text.dsb(0)
        if not self.no_invalidate:
            with atomic("IC IVAU"):
                self.text.ic_ivau(0)
        if not self.no_dsb_after:
            with atomic("DSB ISH"):
                self.text.dsb(0)
        if self.isb_on_the_writer:
            with atomic("ISB"):
                self.text.isb(0)
        self.ready = True

    @process(lane="CPU 1")
    def run(self) -> None:
        wait(self.ready)
        if not self.no_isb and not self.isb_on_the_writer:
            with atomic("ISB"):
                self.text.isb(1)
        with atomic("executes"):
            version = self.text.fetch(1)
            self.stale = version == 0
            self.fresh = version == 1

    @never("stale", "no PE executes the old instruction once the new one is announced")
    def is_stale(self) -> bool:
        return self.stale

    @sometimes("new", "the new instruction is executed")
    def is_fresh(self) -> bool:
        return self.fresh


PARTS = ("no-clean", "no-dsb-between", "no-invalidate", "no-dsb-after", "no-isb", "isb-on-the-writer")
NEEDED = {
    ("no", "no"): PARTS,
    ("yes", "no"): ("no-invalidate", "no-dsb-after", "no-isb", "isb-on-the-writer"),
    ("no", "yes"): ("no-clean", "no-isb", "isb-on-the-writer"),
    ("yes", "yes"): ("no-isb", "isb-on-the-writer"),
}


@pytest.mark.parametrize(("idc", "dic"), NEEDED)
def test_arm64_needs_these_parts_of_the_sequence_and_no_others(idc, dic):
    assert broken(Arm64, idc=idc, dic=dic) == set()
    assert tuple(part for part in PARTS if broken(Arm64, part, idc=idc, dic=dic)) == NEEDED[idc, dic]


class Riscv(Model):
    """A hart changes an instruction that another executes."""

    elsewhere = variant("FENCE.I is executed by the writer's hart only")

    def build(self) -> None:
        self.text = RiscvInstruction(2, 1)
        self.ready, self.stale, self.fresh = flag(), flag(), flag()

    @process(lane="hart 0")
    def write(self) -> None:
        with atomic("stores the instruction"):
            self.text.write()
        with atomic("FENCE.I"):
            self.text.fence_i(0)
        self.ready = True

    @process(lane="hart 1")
    def run(self) -> None:
        wait(self.ready)
        if not self.elsewhere:
            with atomic("FENCE.I"):
                self.text.fence_i(1)
        with atomic("executes"):
            version = self.text.fetch(1)
            self.stale = version == 0
            self.fresh = version == 1

    @never("stale", "no hart executes the old instruction once the new one is announced")
    def is_stale(self) -> bool:
        return self.stale

    @sometimes("new", "the new instruction is executed")
    def is_fresh(self) -> bool:
        return self.fresh


def test_fence_i_acts_on_its_own_hart_only():
    assert broken(Riscv) == set() and broken(Riscv, "elsewhere") == {"stale"}


def test_both_explorers_agree_on_these(compiler):
    models = (Returns(), Arm64(), Arm64({}, "no-clean"), Riscv({}, "elsewhere"))
    assert all(states(model, compiler) > 5 for model in models)


def fetches_what_is_new(self, cpu: int, version: int) -> None:
    wait(version == self.now)


def test_where_nothing_is_ever_stale_every_return_would_do(monkeypatch):
    monkeypatch.setattr(InstructionBytes, "may_fetch", fetches_what_is_new)
    assert broken(Returns, kind="SYSRET") == set()
