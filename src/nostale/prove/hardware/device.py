"""Devices that work by themselves: a doorbell, and DMA through an IOMMU with its caches.

Source: PCI Express base specification, "Transaction Ordering" (posted writes; a read's completion pushes them) and
"Address Translation Services" (ATC, page requests); Intel VT-d specification, "Caching Translation Information";
drivers/iommu/dma-iommu.c (flush queues: strict or lazy mode), drivers/iommu/iommu-sva.c (PASIDs), v6.12.
Not modelled: ordering between several functions of a device, relaxed ordering, interrupts from the device, large
pages, page-group responses, devices that ignore an invalidation.
"""

from __future__ import annotations

from collections.abc import Callable

from nostale.prove.language import Component, array, choose, flag, rule, upto, wait


class Doorbell(Component):
    """One register of a device, written by posted writes.

    Args:
        depth: how many writes may be under way; a further one waits for room.
        commands: what is written: numbers below this.
        rung: called with (command,) when a write reaches the device: the model's own helper.
    """

    def __init__(self, depth: int, commands: int, rung: Callable[[int], None]) -> None:
        self.depth, self.rung = depth, rung
        self.under_way = upto(depth)
        self.command = array(depth, lambda: upto(commands - 1, shown=False))

    def write(self, command: int) -> None:
        """writel(): the CPU goes on at once, the device learns of it later and then sees what was written before.

        writel_relaxed() promises the last part for no memory write: combine with `memory` where that matters.
        """
        wait(self.under_way < self.depth)
        self.command[self.under_way] = command
        self.under_way += 1

    def read_back(self) -> None:
        """readl(): the answer comes after every write before it has arrived."""
        wait(self.under_way == 0)

    @rule(lane="bus")
    def arrive(self) -> None:
        """The oldest posted write reaches the device."""
        wait(self.under_way > 0)
        self.rung(self.command[0])
        for slot in range(self.depth - 1):
            self.command[slot] = self.command[slot + 1]
        self.command[self.depth - 1] = 0
        self.under_way -= 1


class Iommu(Component):
    """Translation for devices: a table per PASID, the IOMMU's IOTLB, and with ATS a cache in each device.

    Args:
        devices: how many.
        pages: I/O virtual pages, numbered from 0.
        frames: physical pages, numbered from 1; 0 is "not present".
        pasids: tables; one without PASIDs.
        ats: whether devices ask for translations and keep them (ATC), so that a DMA does not ask the IOMMU.
        deferred: unmaps are flushed later, all in one (lazy mode); else the unmapper waits for its flush (strict).
        retry: a DMA to what is not mapped waits for the mapping (PRI); else it is aborted.
    """

    def __init__(
        self,
        devices: int,
        pages: int,
        frames: int,
        pasids: int = 1,
        *,
        ats: bool = False,
        deferred: bool = False,
        retry: bool = False,
    ) -> None:
        self.devices, self.pages, self.frames, self.pasids = devices, pages, frames, pasids
        self.ats, self.deferred, self.retry = ats, deferred, retry
        self.entry = [array(pages, lambda: upto(frames)) for _ in range(pasids)]
        self.iotlb = [[array(frames, flag) for _ in range(pages)] for _ in range(pasids)]
        self.atc = [[[array(frames, flag) for _ in range(pages)] for _ in range(pasids)] for _ in range(devices)]
        self.unflushed = [array(pages, flag) for _ in range(pasids)]
        self.aborted = array(devices, flag)

    def map(self, pasid: int, page: int, frame: int) -> None:
        """Write a table entry; not before an earlier unmap of that page was flushed: the address was not free."""
        wait(not self.unflushed[pasid][page])
        self.entry[pasid][page] = frame

    def unmap(self, pasid: int, page: int) -> None:
        """Clear a table entry: nothing is flushed by this, in lazy mode the flush is queued."""
        self.entry[pasid][page] = 0
        self.unflushed[pasid][page] = True

    def unmapped(self, pasid: int, page: int) -> bool:
        """Whether the unmapper may go on: in strict mode when its flush is done, in lazy mode at once."""
        return self.deferred or not self.unflushed[pasid][page]

    def flush_iotlb(self, pasid: int, page: int) -> None:
        """Invalidate a page in the IOTLB, and wait for it.

        With ATS the devices' caches must come after it: one flushed before may be filled again from the IOTLB.
        """
        for frame in range(self.frames):
            self.iotlb[pasid][page][frame] = False

    def flush_atc(self, device: int, pasid: int, page: int) -> None:
        """Invalidate a page in a device's cache, and wait for the device to say so: it then uses it no more."""
        for frame in range(self.frames):
            self.atc[device][pasid][page][frame] = False

    def flushed(self, pasid: int, page: int) -> None:
        """The unmapper says that the caches it had to flush are flushed: the address is free."""
        self.unflushed[pasid][page] = False

    @rule(lane="flush queue")
    def flush_deferred(self) -> None:
        """The flush queue's timer: flushes every cache, then frees the addresses that waited for it."""
        wait(self.deferred)
        wait(any(any(self.unflushed[pasid]) for pasid in range(self.pasids)))
        for pasid in range(self.pasids):
            self.flush_pasid(pasid)

    def flush_pasid(self, pasid: int) -> None:
        """Invalidate all of a PASID, in every cache: what must come before its number is used again."""
        for page in range(self.pages):
            self.flush_iotlb(pasid, page)
            for device in range(self.devices):
                self.flush_atc(device, pasid, page)
            self.flushed(pasid, page)

    @rule(per=("pasids", "pages"), lane="IOMMU")
    def fill_iotlb(self, pasid: int, page: int) -> None:
        """Keeps the translation of page {page}, asked for or prefetched."""
        frame = self.entry[pasid][page]
        wait(frame != 0)
        wait(not self.iotlb[pasid][page][frame - 1])
        self.iotlb[pasid][page][frame - 1] = True

    @rule(per=("devices", "pasids", "pages", "frames"), lane="device {}")
    def fill_atc(self, device: int, pasid: int, page: int, frame: int) -> None:
        """Asks for the translation of page {page} and keeps it; the IOMMU answers from its IOTLB or the table."""
        wait(self.ats)
        wait(not self.atc[device][pasid][page][frame])
        wait(self.iotlb[pasid][page][frame] or self.entry[pasid][page] == frame + 1)
        self.atc[device][pasid][page][frame] = True

    def dma(self, device: int, pasid: int, page: int) -> int:
        """Return any frame that a DMA of `device` to `page` may reach; it goes on only if there is one."""
        frame = choose(range(1, self.frames + 1))
        wait(self.reaches(device, pasid, page, frame))
        return frame

    def reaches(self, device: int, pasid: int, page: int, frame: int) -> bool:
        """Whether a DMA may reach `frame`: by the device's own cache, the IOTLB or the table."""
        return (
            self.entry[pasid][page] == frame
            or self.iotlb[pasid][page][frame - 1]
            or self.atc[device][pasid][page][frame - 1]
        )

    def fault(self, device: int, pasid: int, page: int) -> None:
        """A DMA to what is not mapped is aborted and noted; with page requests it waits for the mapping instead."""
        wait(not self.retry)
        wait(not any(self.reaches(device, pasid, page, frame) for frame in range(1, self.frames + 1)))
        self.aborted[device] = True
