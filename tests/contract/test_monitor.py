import pytest

from nostale.contract import FRESH, STALE, Broken, Monitor
from tests.contract.test_judge import CONTRACT


def monitor() -> Monitor:
    return Monitor(CONTRACT, {"cpu": (0, 1)}, FRESH)


def test_a_change_reaches_every_cpu_and_a_sync_only_its_own():
    m = monitor()
    m.see("patch", address="a")
    m.see("sync", cpu=0)
    assert (m.state(cpu=0, address="a"), m.state(cpu=1, address="a")) == (FRESH, STALE)


def test_a_sync_is_for_every_address_of_the_cpu():
    m = monitor()
    m.see("patch", address="a")
    m.see("patch", address="b")
    m.see("sync", cpu=1)
    assert m.see("run", cpu=1, address="b") == () == m.see("run", cpu=1, address="a")


def test_a_rely_asks_every_cpu():
    m = monitor()
    m.see("patch", address="a")
    m.see("sync", cpu=0)
    assert m.see("done", address="a") == (Broken("done", (1, "a"), STALE),)


def test_a_use_elsewhere_is_not_the_changed_addresss_business():
    m = monitor()
    m.see("patch", address="a")
    assert m.see("run", cpu=0, address="b") == ()


def test_an_occurrence_without_its_keys_is_refused():
    with pytest.raises(KeyError):
        monitor().see("run", cpu=0)
