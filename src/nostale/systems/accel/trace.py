"""accel.unmapped-once and accel.iotlb-before-reuse as trace events show them, on kernels that have the events.

Since Linux v6.12 there are dma events; since v6.18 dma_map_phys and dma_unmap_phys stand for dma_map_page and
dma_unmap_page. The iommu events are older. What flushes an IOTLB is traced for Intel's IOMMU only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nostale.contract import Binding, Bound, Grade, Step
from nostale.systems.accel.contract import IOTLB_BEFORE_REUSE, UNMAPPED_ONCE
from nostale.watch import Distinct, Occurrences, Part, Sight, Trace, TraceMonitor, numbers, texts

_MAPS: Final = ("dma_map_phys", "dma_map_page", "dma_alloc", "dma_alloc_pages")
_UNMAPS: Final = ("dma_unmap_phys", "dma_unmap_page", "dma_free", "dma_free_pages")
_SCATTERED: Final = ("dma_map_sg", "dma_unmap_sg", "dma_alloc_sgt", "dma_free_sgt")
_FLUSHES: Final = ("qi_submit", "cache_tag_flush_range", "cache_tag_flush_range_np", "cache_tag_flush_all")
_QI_IOTLB: Final = 0x2  # type of an invalidation descriptor, VT-d specification 6.5.2; likewise PASID-based: 0x6
_PAGE: Final = np.uint64(0xFFF)
_QI_KINDS: Final = (_QI_IOTLB, 0x6)

DMA: Final = Binding(
    contract=UNMAPPED_ONCE,
    engine="watch",
    bound={
        "map": Bound("dma_map_phys, dma_map_page, dma_alloc", Grade.EXACT),
        "unmap": Bound("dma_unmap_phys, dma_unmap_page, dma_free", Grade.EXACT),
    },
    start="unknown",
    start_why="whether an address was mapped before the first event is not told",
    assumptions=("the events of one device and address are recorded in the order in which they happened",),
)
IOTLB: Final = Binding(
    contract=IOTLB_BEFORE_REUSE,
    engine="watch",
    bound={
        "unmap": Bound("iommu:unmap", Grade.EXACT),
        "flush": Bound(
            "intel_iommu:qi_submit of an IOTLB descriptor, cache_tag_flush_*",
            Grade.MAY,
            "a flush of another domain or of other addresses counts as one of all",
        ),
        "map": Bound("iommu:map", Grade.EXACT),
    },
    start="fresh",
    start_why="what was unmapped before the first event is not looked at",
    assumptions=("an address stands for one domain: no event tells which domain it is of",),
)


def look_at_mappings(trace: Trace) -> Sight | None:
    """Return the mappings and unmappings of every device, None where the trace has no such events.

    Only addresses that an IOMMU hands out are one mapping's at a time; of a direct mapping there can be many at once,
    and how many there were before the first event is not told. Those are counted and not judged.
    """
    events = [event for event in (*_MAPS, *_UNMAPS) if trace.has(event)]
    if not events:
        return None
    found = [_mappings(trace, event) for event in events if trace.rows(event).size]
    balance: dict[str, list[int]] = {}
    for one in found:
        for device, count in zip(one.device.values, np.bincount(one.device.which).tolist(), strict=True):
            balance.setdefault(device, [0, 0])[one.event in _UNMAPS] += count
    told = sorted(balance.items())
    seen = "; ".join(f"{device}: {maps} mapped, {unmaps} unmapped" for device, (maps, unmaps) in told)
    pages = _pages(trace)
    judged = Occurrences.of_parts(
        [one.part(np.isin(one.address & ~_PAGE, pages)) for one in found], partial(_told_mapping, trace)
    )
    missing = [] if any(trace.has(event) for event in _MAPS) else ["no events of mappings"]
    missing += [] if any(trace.has(event) for event in _UNMAPS) else ["no events of unmappings"]
    apart = sum(one.rows.size for one in found) - len(judged)
    if apart:
        missing.append(f"{apart} events of addresses that no iommu:map event shows to be handed out")
    scattered = sum(len(trace.rows(event)) for event in _SCATTERED)
    missing += [f"{scattered} events of scattered mappings (dma_map_sg and its kin)"] if scattered else []
    return Sight(judged, {}, seen or "no mapping", tuple(missing))


@dataclass(frozen=True, slots=True)
class _Mappings:
    """One kind of event that maps or unmaps: `(n,)` rows, the device and the address of each."""

    event: str
    rows: NDArray[np.int64]
    device: Distinct[str]
    address: NDArray[np.uint64]

    def part(self, chosen: NDArray[np.bool_]) -> Part:
        """Return the chosen ones as an event of the contract."""
        device = Distinct(self.device.values, self.device.which[chosen])
        what = "map" if self.event in _MAPS else "unmap"
        return Part(what, self.rows[chosen], {"device": device, "address": numbers(self.address[chosen])})


def _mappings(trace: Trace, event: str) -> _Mappings:
    rows = trace.rows(event)
    address = trace.field(rows, event, _address_field(trace, event)).astype(np.uint64)
    return _Mappings(event, rows, texts(trace, rows, event, "device"), address)


def _address_field(trace: Trace, event: str) -> str:
    return "dma_addr" if "dma_addr" in trace.formats.by_name[event].fields else "addr"


def _pages(trace: Trace) -> NDArray[np.uint64]:
    """Return the pages that an IOMMU mapped; a mapping that lies in one need not begin with it."""
    rows = trace.rows("map")
    return trace.field(rows, "map", "iova").astype(np.uint64) & ~_PAGE if rows.size else np.zeros(0, np.uint64)


def _told_mapping(trace: Trace, row: int, _: str) -> Step:
    event = trace.formats.by_id[int(trace.type[row])].name
    address = _number(trace, row, event, _address_field(trace, event))
    return _step(trace, row, trace.text(row, event, "device"), f"{event} {address:#x}")


def look_at_iotlb(trace: Trace) -> Sight | None:
    """Return what the IOMMU was told, None where the trace has no such events."""
    if not (trace.has("map") and trace.has("unmap")):
        return None
    flushes = [event for event in _FLUSHES if trace.has(event)]
    parts = [_translations(trace, event) for event in ("map", "unmap") if trace.rows(event).size]
    parts += [Part("flush", _flushing(trace, event), {}) for event in flushes]
    found = Occurrences.of_parts(parts, partial(_told_iotlb, trace))
    seen = ", ".join(f"{found.count(name)} times {name}" for name in ("map", "unmap", "flush"))
    if not flushes:  # then no flush can be seen, and none is missed
        missing = "no events of IOTLB flushes: they are traced for Intel's IOMMU only"
        return Sight(Occurrences.of(()), {}, seen, (missing,))
    return Sight(found, {}, seen)


def _translations(trace: Trace, event: str) -> Part:
    rows = trace.rows(event)
    return Part(event, rows, {"address": numbers(trace.field(rows, event, "iova").astype(np.uint64))})


def _flushing(trace: Trace, event: str) -> NDArray[np.int64]:
    rows = trace.rows(event)
    if event != "qi_submit" or not rows.size:
        return rows
    kinds = trace.field(rows, event, "qw0") & 0xF
    return rows[np.isin(kinds, _QI_KINDS)]


def _told_iotlb(trace: Trace, row: int, what: str) -> Step:
    event = trace.formats.by_id[int(trace.type[row])].name
    if what == "flush":
        return _step(trace, row, "IOMMU", event)
    address, size = (_number(trace, row, event, name) for name in ("iova", "size"))
    return _step(trace, row, "IOMMU", f"{event} {address:#x}, {size:#x} bytes")


def _number(trace: Trace, row: int, event: str, name: str) -> int:
    return trace.number(row, event, name) & ((1 << 64) - 1)


def _step(trace: Trace, row: int, observer: str, what: str) -> Step:
    event = trace.formats.by_id[int(trace.type[row])].name
    return Step(observer, event, f"{what} by thread {int(trace.pid[row])}", time_ns=int(trace.ts[row]))


MONITORS: Final = (
    TraceMonitor(DMA, look_at_mappings, ("map", *_MAPS, *_UNMAPS, *_SCATTERED)),
    TraceMonitor(IOTLB, look_at_iotlb, ("map", "unmap", *_FLUSHES)),
)
