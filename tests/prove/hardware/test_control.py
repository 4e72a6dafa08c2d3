"""Interrupts, NMIs, calls by IPI, tasks and lazy mm: what can happen, and what prevents it."""

from enum import IntEnum

import pytest

from nostale.prove import (
    Means,
    Model,
    ablate,
    array,
    atomic,
    choose,
    flag,
    never,
    param,
    process,
    rule,
    sometimes,
    upto,
    variant,
    wait,
)
from nostale.prove.hardware import TSO
from nostale.prove.hardware.fetch import InstructionBytes
from nostale.prove.hardware.interrupts import Context, Interrupts
from nostale.prove.hardware.ipi import Call, CallQueue
from nostale.prove.hardware.tasks import NO_MM, Tasks, only_where
from tests.prove.hardware.common import broken, states, stuck


class Handlers(Model):
    """A task updates two words that an interrupt's handler and an NMI's handler read."""

    fred = param(False, "whether handlers return by ERETS")
    irqs_on = variant("the task does not disable interrupts around the update")

    def build(self) -> None:
        self.cpus = 1
        self.irq = Interrupts(1, nmis=2)
        self.one, self.two = flag(), flag()
        self.torn_in_irq, self.torn_in_nmi = flag(), flag()

    @process(lane="task")
    def update(self) -> None:
        if not self.irqs_on:
            with atomic("disables interrupts"):
                wait(self.irq.running(0) == Context.TASK)
                self.irq.disable(0)
        with atomic("writes the first word"):
            wait(self.irq.running(0) == Context.TASK)
            self.one = True
        with atomic("writes the second word"):
            wait(self.irq.running(0) == Context.TASK)
            self.two = True
        if not self.irqs_on:
            with atomic("enables interrupts"):
                wait(self.irq.running(0) == Context.TASK)
                self.irq.enable(0)

    @rule(lane="CPU 0")
    def take_irq(self) -> None:
        """Takes an interrupt; its handler reads both words."""
        self.irq.enter_irq(0)
        self.torn_in_irq = self.torn_in_irq or self.one != self.two

    @rule(lane="CPU 0")
    def take_nmi(self) -> None:
        """Takes an NMI; its handler reads both words."""
        self.irq.enter_nmi(0)
        self.torn_in_nmi = self.torn_in_nmi or self.one != self.two

    @rule(lane="CPU 0")
    def take_fault(self) -> None:
        """An NMI's handler takes a fault."""
        wait(self.irq.running(0) == Context.NMI)
        self.irq.enter_exception(0)

    @rule(lane="CPU 0")
    def leave(self) -> None:
        """Returns from a handler."""
        wait(self.irq.running(0) != Context.TASK)
        if self.fred:
            self.irq.erets(0)
        else:
            self.irq.iret(0)

    @never("torn-in-irq", "no interrupt's handler sees half an update")
    def irq_sees_half(self) -> bool:
        return self.torn_in_irq

    @never("irqs-on-in-handler", "interrupts are off in every handler")
    def on_in_handler(self) -> bool:
        return self.irq.on[0] and self.irq.running(0) != Context.TASK

    @never("nmi-over-nmi", "no two NMIs are on one stack")
    def twice(self) -> bool:
        return any(
            self.irq.context[0][low] == Context.NMI and self.irq.context[0][high] == Context.NMI
            for low, high in ((1, 2), (1, 3), (2, 3))
        )

    @sometimes("torn-in-nmi", "an NMI's handler sees half an update, whatever is disabled")
    def nmi_sees_half(self) -> bool:
        return self.torn_in_nmi

    @sometimes("three-deep", "a fault inside an NMI inside an interrupt")
    def deep(self) -> bool:
        return self.irq.level[0] == 3


def test_disabled_interrupts_keep_interrupts_out_and_nmis_not():
    assert broken(Handlers, fred="yes") == set()
    assert broken(Handlers, "irqs-on", fred="yes") == {"torn-in-irq"}


def test_a_faults_iret_inside_an_nmi_lets_the_next_nmi_in_and_an_erets_does_not():
    assert broken(Handlers) == {"nmi-over-nmi"}
    assert broken(Handlers, fred="yes") == set()


def test_budgets_bound_what_enters(compiler):
    assert states(Handlers(), compiler) > 50


class Place(IntEnum):
    FLAG = 0


class Calls(Model):
    """Two CPUs ask a third to look at what each has written before."""

    fence_late = variant("the store buffer is not drained before the call is queued")

    def build(self) -> None:
        self.senders = 2
        self.memory = TSO(3, 2, lambda: upto(1), depth=1)
        self.irqs = Interrupts(3)
        self.call = CallQueue(3, self.may_interrupt, self.look)
        self.missed = flag()
        self.looked = array(2, flag)

    def may_interrupt(self, cpu: int) -> bool:
        return self.irqs.on[cpu]

    def look(self, cpu: int, sender: int) -> None:
        if sender < 2:
            seen = self.memory.load(cpu, sender)
            self.missed = self.missed or seen == 0
            self.looked[sender] = True

    @process(per="senders", lane="CPU {}")
    def ask(self, cpu: int) -> None:
        with atomic("writes"):
            self.memory.store(cpu, cpu, 1)
        with atomic("csd_lock()"):
            self.call.lock(cpu, 2)
        with atomic("llist_add()"):
            if not self.fence_late:
                self.memory.locked(cpu)
            self.call.queue(cpu, 2)
        with atomic("sends the interrupt, if the list was empty"):
            self.call.send(cpu, 2)
        with atomic("waits for the answer"):
            wait(self.call.answered(cpu, 2))

    @never("missed", "the called function sees what was written before the call")
    def misses(self) -> bool:
        return self.missed

    @sometimes("one-interrupt", "two calls wait on the list with one interrupt between them")
    def shared(self) -> bool:
        return (
            self.call.call[2][0] == Call.QUEUED
            and self.call.call[2][1] == Call.QUEUED
            and not (self.call.owes[2][0] and self.call.owes[2][1])
        )

    @sometimes("both", "both functions run")
    def both(self) -> bool:
        return all(self.looked)


def test_the_locked_add_orders_the_senders_stores_not_the_interrupt():
    assert broken(Calls) == set() and broken(Calls, "fence-late") == {"missed"}


def test_no_call_is_left_on_the_list():
    assert not stuck(Calls)


def never_empty(self, target: int) -> bool:
    return False


def test_a_sender_that_never_sends_leaves_everybody_waiting(monkeypatch):
    monkeypatch.setattr(CallQueue, "list_is_empty", never_empty)
    assert stuck(Calls)


class Byte(IntEnum):
    OLD = 0
    NEW = 1


USER, KTHREAD, OTHER = 0, 1, 2


class LazyReturn(Model):
    """CPU 0 rewrites user code and asks every CPU that runs the mm to synchronise; CPU 1 is in a kernel thread then.

    Scenario B of membarrier.c: user, kernel thread, user again, with no CR3 write on the way.
    """

    between = param("kthread", "what CPU 1 runs meanwhile", choices=("kthread", "other"))
    no_hook = variant("finish_task_switch() does not synchronise after a kernel thread")

    def build(self) -> None:
        self.text = InstructionBytes((Byte.OLD,), 1, 2, "line")
        self.tasks = Tasks(2, (1, NO_MM, 2), (USER, USER), self.cr3)
        self.done, self.stale, self.fresh, self.wrote_cr3 = flag(), flag(), flag(), flag()

    def cr3(self, cpu: int, mm: int) -> None:
        self.text.sync(cpu)
        self.wrote_cr3 = True

    @process(lane="CPU 0")
    def jit(self) -> None:
        with atomic("rewrites the code"):
            self.text.change(0, Byte.NEW)
        with atomic("membarrier: CPUs that run the mm synchronise, by IPI"):
            if self.tasks.in_user_of(1, 1):
                self.text.sync(1)
        self.done = True

    @process(lane="CPU 1")
    def run(self) -> None:
        with atomic("switches away"):
            if self.between == "kthread":
                self.tasks.switch(1, KTHREAD)
            else:
                self.tasks.switch(1, OTHER)
        with atomic("switches back"):
            self.tasks.switch(1, USER)
            if not self.no_hook and self.between == "kthread":
                self.text.sync(1)
        with atomic("executes the code"):
            version = choose(self.text.versions)
            self.text.may_fetch(1, version)
            self.stale = self.done and version == 0
            self.fresh = version == 1

    @never("stale", "after membarrier nobody executes the old code")
    def is_stale(self) -> bool:
        return self.stale

    @sometimes("new", "the new code is executed")
    def is_fresh(self) -> bool:
        return self.fresh

    @sometimes("lazy", "membarrier finds CPU 1 on a borrowed mm and leaves it alone")
    def lazy(self) -> bool:
        return self.done and self.tasks.borrowed(1)


def test_back_from_a_kernel_thread_only_the_hook_synchronises():
    assert broken(LazyReturn) == set() and broken(LazyReturn, "no-hook") == {"stale"}


def test_back_from_another_mm_the_cr3_write_does():
    assert broken(LazyReturn, "no-hook", between="other") == {"lazy"}


class LazyFlush(Model):
    """CPU 0 changes mappings while CPU 1 is lazy, and CPU 1 comes back."""

    unnoticed = variant("tlb_gen is not moved on")

    def build(self) -> None:
        self.tasks = Tasks(2, (1, NO_MM), (USER, USER), self.cr3)
        self.written, self.lazy_change, self.stale = flag(), flag(), flag()

    def cr3(self, cpu: int, mm: int) -> None:
        self.written = True

    @process(lane="CPU 0")
    def change(self) -> None:
        with atomic("unmaps, and skips lazy CPUs"):
            wait(self.tasks.borrows(1, 1))
            if not self.unnoticed:
                self.tasks.changed(1)
            self.lazy_change = True

    @process(lane="CPU 1")
    def run(self) -> None:
        with atomic("switches to a kernel thread"):
            self.tasks.switch(1, KTHREAD)
        with atomic("switches back"):
            self.tasks.switch(1, USER)
            self.stale = self.lazy_change and not self.written

    @never("stale", "a CPU that was skipped while lazy flushes before it is back in user mode")
    def is_stale(self) -> bool:
        return self.stale

    @sometimes("flushed", "CR3 is written on the way back")
    def flushed(self) -> bool:
        return self.written


def test_a_lazy_cpu_that_was_skipped_writes_cr3_on_its_way_back():
    assert broken(LazyFlush) == set() and broken(LazyFlush, "unnoticed") == {"stale", "flushed"}


def test_both_explorers_agree_on_these(compiler):
    for model in (Handlers({"fred": "yes"}), Calls(), Calls({}, "fence-late"), LazyReturn(), LazyFlush()):
        assert states(model, compiler) > 3


@pytest.mark.parametrize("variant", ["", "irqs-on"])
def test_in_every_handler_interrupts_are_off(variant):
    assert "irqs-on-in-handler" not in broken(Handlers, variant)


class Turns(Model):
    """One after the other, by what the machine allows and by what the protocol waits for."""

    def build(self) -> None:
        self.turn, self.ready = flag(), flag()
        self.early = flag()

    @process(lane="first")
    def first(self) -> None:
        with atomic("first"):
            self.turn = True
            self.ready = True

    @process(lane="second")
    def second(self) -> None:
        with atomic("by its turn"):
            only_where(self.turn)
            self.early = self.early or not self.turn
        with atomic("by the protocol"):
            wait(self.ready)
            self.early = self.early or not self.ready

    @never("early", "nobody goes early")
    def goes_early(self) -> bool:
        return self.early


def test_where_code_can_run_at_all_is_a_guard_and_is_not_ablated():
    assert broken(Turns) == set()
    told = ablate(Turns(), "turns", Means(None, None)).coverage
    # The wait was for the same step as the turn, and so is not needed; but it was tried, and nothing else.
    assert told["removable calls"] == 1 and told["not needed by themselves"][0].startswith("wait(self.ready)")
