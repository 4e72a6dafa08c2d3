"""Devices: a page is freed while a device may still reach it, unless the queue was stopped and the caches flushed."""

import pytest

from nostale.prove import Model, array, atomic, flag, never, param, process, rule, sometimes, variant, wait
from nostale.prove.hardware.device import Doorbell, Iommu
from tests.prove.hardware.common import broken, states

GO, STOP = 0, 1


class StopQueue(Model):
    """A driver rings a device, stops it, and frees the buffer."""

    no_read_back = variant("the driver does not read back after it wrote the stop command")

    def build(self) -> None:
        self.bell = Doorbell(2, 2, self.rung)
        self.working, self.freed, self.bad, self.good = flag(), flag(), flag(), flag()

    def rung(self, command: int) -> None:
        self.working = command == GO

    @process(lane="driver")
    def drive(self) -> None:
        with atomic("rings the doorbell"):
            self.bell.write(GO)
        with atomic("writes the stop command"):
            self.bell.write(STOP)
        if not self.no_read_back:
            with atomic("reads the register back"):
                self.bell.read_back()
        self.freed = True

    @rule(lane="device")
    def dma(self) -> None:
        """Reads the buffer."""
        wait(self.working)
        self.bad = self.freed
        self.good = not self.freed

    @never("dma-after-free", "no DMA to a buffer that was freed")
    def after(self) -> bool:
        return self.bad

    @sometimes("dma", "the device reads the buffer")
    def before(self) -> bool:
        return self.good


def test_a_posted_stop_is_no_stop_until_it_was_read_back():
    assert broken(StopQueue) == set() and broken(StopQueue, "no-read-back") == {"dma-after-free"}


class UnmapDma(Model):
    """A driver maps a buffer, unmaps it, lets go of its page, and maps another page at the address."""

    ats = param(False, "whether the device keeps translations itself")
    deferred = param(False, "lazy mode")
    no_flush = variant("the IOTLB is not flushed")
    no_atc_flush = variant("the device's own cache is not flushed")
    atc_first = variant("the device's own cache is flushed before the IOTLB")

    def build(self) -> None:
        self.iommu = Iommu(1, 1, 2, ats=self.ats, deferred=self.deferred)
        self.freed, self.remapped = flag(), flag()
        self.reached = array(3, flag)
        self.bad, self.wrong = flag(), flag()

    @process(lane="driver")
    def drive(self) -> None:
        with atomic("maps page 1"):
            self.iommu.map(0, 0, 1)
        with atomic("unmaps it"):
            self.iommu.unmap(0, 0)
        if not self.deferred:
            self.flush()
        with atomic("lets go of the page"):
            wait(self.iommu.unmapped(0, 0))
            self.freed = True
        with atomic("maps page 2 at the same address"):
            self.iommu.map(0, 0, 2)
            self.remapped = True

    def flush(self) -> None:
        if self.ats and self.atc_first:
            with atomic("invalidates the device's cache"):
                self.iommu.flush_atc(0, 0, 0)
        if not self.no_flush:
            with atomic("invalidates the IOTLB"):
                self.iommu.flush_iotlb(0, 0)
        if self.ats and not self.no_atc_flush and not self.atc_first:
            with atomic("invalidates the device's cache"):
                self.iommu.flush_atc(0, 0, 0)
        with atomic("the flush is done"):
            self.iommu.flushed(0, 0)

    @rule(lane="device")
    def dma(self) -> None:
        """Does DMA to the address."""
        frame = self.iommu.dma(0, 0, 0)
        self.reached[frame] = True
        self.bad = self.bad or (self.freed and frame == 1)
        self.wrong = self.wrong or (self.remapped and frame == 1)

    @rule(lane="device")
    def fault(self) -> None:
        """Does DMA to the address, and it is not mapped."""
        self.iommu.fault(0, 0, 0)

    @never("dma-after-free", "no DMA reaches a page that was let go of")
    def after(self) -> bool:
        return self.bad

    @never("dma-to-the-old", "no DMA reaches the old page once the address was given out again")
    def old(self) -> bool:
        return self.wrong

    @sometimes("both", "both pages are reached")
    def both(self) -> bool:
        return self.reached[1] and self.reached[2]

    @sometimes("aborted", "a DMA to what is not mapped is aborted")
    def aborted(self) -> bool:
        return self.iommu.aborted[0]


BOTH = {"dma-after-free", "dma-to-the-old"}


@pytest.mark.parametrize(
    ("variant", "ats", "what"),
    [
        ("", "no", set()),
        ("", "yes", set()),
        ("no-flush", "no", BOTH),
        ("no-flush", "yes", BOTH),
        ("no-atc-flush", "no", set()),
        ("no-atc-flush", "yes", BOTH),
        ("atc-first", "no", set()),
        ("atc-first", "yes", BOTH),
    ],
)
def test_strict_mode_needs_the_iotlb_flushed_and_then_the_devices_own_cache(variant, ats, what):
    assert broken(UnmapDma, variant, ats=ats) == what


@pytest.mark.parametrize("ats", ["no", "yes"])
def test_in_lazy_mode_the_page_is_reachable_after_it_was_let_go_of_but_the_address_is_not_reused(ats):
    assert broken(UnmapDma, deferred="yes", ats=ats) == {"dma-after-free"}


class Pasids(Model):
    """A PASID is given to another process; the device works for whoever has it."""

    retry = param(False, "page requests: a DMA waits for its mapping")
    no_flush = variant("the PASID is not flushed before it is given away")

    def build(self) -> None:
        self.iommu = Iommu(1, 1, 2, pasids=2, ats=True, retry=self.retry)
        self.second, self.bad, self.good = flag(), flag(), flag()

    @process(lane="kernel")
    def give(self) -> None:
        with atomic("the first process maps its page"):
            self.iommu.map(1, 0, 1)
        with atomic("it exits"):
            self.iommu.unmap(1, 0)
        with atomic("flushes the PASID"):
            if self.no_flush:
                self.iommu.flushed(1, 0)
            else:
                self.iommu.flush_pasid(1)
        self.second = True
        with atomic("the second process maps its page"):
            self.iommu.map(1, 0, 2)

    @rule(lane="device")
    def dma(self) -> None:
        """Does DMA for the PASID's owner."""
        frame = self.iommu.dma(0, 1, 0)
        self.bad = self.bad or (self.second and frame == 1)
        self.good = self.good or (self.second and frame == 2)

    @rule(lane="device")
    def fault(self) -> None:
        """Does DMA to what is not mapped."""
        self.iommu.fault(0, 1, 0)

    @never("others-page", "no DMA for the second process reaches the first one's page")
    def others(self) -> bool:
        return self.bad

    @sometimes("own-page", "a DMA for the second process reaches its page")
    def own(self) -> bool:
        return self.good

    @sometimes("aborted", "a DMA is aborted")
    def aborted(self) -> bool:
        return self.iommu.aborted[0]


def test_a_pasid_is_flushed_before_it_is_used_again():
    assert broken(Pasids) == set() and broken(Pasids, "no-flush") == {"others-page"}


def test_with_page_requests_no_dma_is_aborted():
    assert broken(Pasids, retry="yes") == {"aborted"}


def test_both_explorers_agree_on_these(compiler):
    models = (StopQueue(), UnmapDma({"ats": "yes"}), UnmapDma({"deferred": "yes"}), Pasids({}, "no-flush"))
    assert all(states(model, compiler) > 5 for model in models)


def keeps_it(self, pasid: int, page: int) -> None:
    pass


def test_a_flush_that_forgets_nothing_is_noticed(monkeypatch):
    monkeypatch.setattr(Iommu, "flush_iotlb", keeps_it)
    assert broken(UnmapDma) == BOTH
