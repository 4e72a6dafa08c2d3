"""What must hold for a device's addresses: unmapped once, and not used again before the IOTLB forgot them."""

from __future__ import annotations

from typing import Final

from nostale.contract import Automaton, Contract, Event, Role, Source

UNMAPPED_ONCE: Final = Contract(
    id="accel.unmapped-once",
    title="a device's address is unmapped as often as it is mapped, and no more",
    why="the second unmapping takes away the mapping of whoever has got the address since; a mapping that is never "
    "taken away lets the device reach memory that belongs to somebody else",
    remedy="unmap each mapping once, with the size and direction that it was mapped with; CONFIG_DMA_API_DEBUG checks",
    keys=("device", "address"),
    observer="device",
    events=(
        Event("map", Role.OTHER, ("device", "address"), "memory is mapped for the device"),
        Event("unmap", Role.OTHER, ("device", "address"), "the mapping is taken away"),
    ),
    requirements=(),
    sources=(Source("Documentation/core-api/dma-api.rst, v6.12"), Source("include/trace/events/dma.h, v6.12, v6.18")),
    automaton=Automaton.of(
        "dma_mapping",
        [
            ("unknown", "map", "mapped"),
            ("unknown", "unmap", "unmapped"),
            ("mapped", "map", "mapped"),
            ("mapped", "unmap", "unmapped"),
            ("unmapped", "map", "mapped"),
        ],
        initial="unknown",
    ),
)

IOTLB_BEFORE_REUSE: Final = Contract(
    id="accel.iotlb-before-reuse",
    title="an address that was unmapped is mapped anew only after the IOTLB was flushed",
    why="until then the device may go by the translation that it holds, to memory that is no longer its own",
    remedy="flush the IOTLB between iommu_unmap() and freeing the address: iommu_iotlb_sync(), or the flush queue",
    keys=("address",),
    observer="address",
    events=(
        Event("unmap", Role.CHANGE, ("address",), "the IOMMU's page table no longer has the address"),
        Event("flush", Role.SYNC, (), "the IOTLB forgets"),
        Event("map", Role.RELY, ("address",), "the address is given to a new mapping"),
    ),
    requirements=("WD-6",),
    sources=(
        Source("drivers/iommu/iommu.c, iommu_unmap(), v6.12"),
        Source("drivers/iommu/dma-iommu.c, fq_flush_iotlb(), v6.12"),
    ),
)

CONTRACTS: Final = (UNMAPPED_ONCE, IOTLB_BEFORE_REUSE)
