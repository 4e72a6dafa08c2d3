"""Budgets of interruptions, and what changed between two recordings."""

import math

import pytest

from nostale.contract import BadInput, Holds, Unknown, Violated, Work
from nostale.watch import analyse, diff, judge_budgets, read_budget
from nostale.watch.budgets import _SHOW
from nostale.watch.diff import by_chance
from nostale.watch.script import parse

DESCRIBED = "\n".join(f"0 {at} 0 {event}" for at, event in enumerate(sorted(_SHOW)))


def ticks(count, start=1000, step=1000):
    return "\n".join(
        f"1 {at} 8 local_timer_entry\n1 {at} 8 hrtimer_expire_entry function=tick_nohz_handler\n"
        f"1 {at + 9} 8 local_timer_exit"
        for at in range(start, start + count * step, step)
    )


def verdict(text, budget):
    answer = analyse(parse(text), [1])
    (result,) = judge_budgets(answer, [read_budget(budget)])
    return result.verdict


def test_a_budget_is_kept_up_to_its_number_and_exceeded_past_it():
    text = DESCRIBED + "\n" + ticks(3)
    assert isinstance(verdict(text, "tick=3"), Holds)
    exceeded = verdict(text, "tick=2")
    assert isinstance(exceeded, Violated)
    assert exceeded.path[-1].time_ns == 3000
    assert isinstance(verdict(text, "any=2"), Violated)
    assert isinstance(verdict(text, "signal=0"), Holds)


def test_what_was_not_seen_or_not_explained_may_exceed_a_budget():
    assert isinstance(verdict(ticks(3), "signal=0"), Unknown)
    lost = verdict(DESCRIBED + "\n" + ticks(1) + "\n1 5000 lost 3\n" + ticks(1, 6000), "tick=2")
    assert isinstance(lost, Unknown)
    assert lost.missing == ("3 events were lost",)
    unexplained = DESCRIBED + "\n1 1000 8 reschedule_entry\n1 1010 8 reschedule_exit"
    assert verdict(unexplained, "signal=0").missing == ("the causes of 1 interruptions",)
    assert isinstance(verdict(unexplained, "signal=1"), Holds)
    assert isinstance(verdict(unexplained, "unknown=0"), Violated)


@pytest.mark.parametrize("text", ["tick", "tick=", "tick=-1", "tock=1", "tick=1.5"])
def test_a_budget_of_another_form_is_refused(text):
    with pytest.raises(BadInput):
        read_budget(text)


def answer_of(count, step):
    return analyse(parse(ticks(count, step=step)), [1])


def test_rates_are_compared_and_not_counts():
    same = diff(answer_of(50, 1000), answer_of(100, 1000))
    assert [(one.cause, one.sure) for one in same.changes] == [(Work.TICK, False)]
    assert same.verdict == "holds"
    more = diff(answer_of(50, 4000), answer_of(100, 1000))
    assert (more.changes[0].sure, more.verdict) == (True, "violated")
    less = diff(answer_of(100, 1000), answer_of(50, 4000))
    assert (less.changes[0].sure, less.verdict) == (True, "holds")


def test_a_cause_that_one_recording_lacks_is_compared_with_none():
    signals = "\n".join(
        f"0 {at} 7 ipi_send_cpu cpu=1 callsite=__send_signal_locked\n1 {at + 5} 8 reschedule_entry\n"
        f"1 {at + 8} 8 reschedule_exit"
        for at in range(1000, 50_000, 1000)
    )
    told = diff(answer_of(50, 1000), analyse(parse(signals), [1])).changes
    assert {one.cause: (one.old.count, one.new.count) for one in told} == {Work.TICK: (50, 0), Work.SIGNAL: (0, 49)}


def test_a_recording_without_length_has_no_rates():
    with pytest.raises(BadInput, match="rates"):
        diff(analyse(parse("1 5 8 page_fault_user"), [1]), answer_of(3, 1000))


@pytest.mark.parametrize(("old", "new", "old_s", "new_s"), [(3, 9, 1.0, 2.0), (12, 5, 2.0, 1.5), (0, 4, 1.0, 1.0)])
def test_chance_is_that_of_all_splits_at_most_as_likely(old, new, old_s, new_s):
    total, share = old + new, new_s / (old_s + new_s)
    odds = [math.comb(total, n) * share**n * (1 - share) ** (total - n) for n in range(total + 1)]
    assert by_chance(old, new, old_s, new_s) == pytest.approx(sum(one for one in odds if one <= odds[new] * (1 + 1e-9)))


def test_many_arrivals_by_the_normal_distribution_agree_with_the_exact_test():
    exact, near = by_chance(960, 1040, 1.0, 1.0), by_chance(961, 1041, 1.0, 1.0)
    assert near == pytest.approx(exact, rel=0.05)
