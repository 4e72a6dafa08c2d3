"""accel.unmapped-once and accel.iotlb-before-reuse as trace events show them, on kernels that have the events.

Since Linux v6.12 there are dma events; since v6.18 dma_map_phys and dma_unmap_phys stand for dma_map_page and
dma_unmap_page. The iommu events are older. What flushes an IOTLB is traced for Intel's IOMMU only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nostale.contract import Binding, Bound, Grade, Step
from nostale.systems.accel.contract import IOTLB_BEFORE_REUSE, UNMAPPED_ONCE
from nostale.watch import Occurrence, Sight, Trace, TraceMonitor

_MAPS: Final = ("dma_map_phys", "dma_map_page", "dma_alloc", "dma_alloc_pages")
_UNMAPS: Final = ("dma_unmap_phys", "dma_unmap_page", "dma_free", "dma_free_pages")
_SCATTERED: Final = ("dma_map_sg", "dma_unmap_sg", "dma_alloc_sgt", "dma_free_sgt")
_FLUSHES: Final = ("qi_submit", "cache_tag_flush_range", "cache_tag_flush_range_np", "cache_tag_flush_all")
_QI_IOTLB: Final = 0x2  # type of an invalidation descriptor, VT-d specification 6.5.2; likewise PASID-based: 0x6
_PAGE: Final = 0xFFF
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
    found = [_mapping(trace, row) for row in trace.rows(*events).tolist()]
    balance: dict[str, list[int]] = {}
    for one in found:
        balance.setdefault(str(one.keys["device"]), [0, 0])[one.event == "unmap"] += 1
    told = sorted(balance.items())
    seen = "; ".join(f"{device}: {maps} mapped, {unmaps} unmapped" for device, (maps, unmaps) in told)
    own = _handed_out(trace)
    judged = tuple(one for one in found if one.keys["address"] in own)
    missing = [] if any(trace.has(event) for event in _MAPS) else ["no events of mappings"]
    missing += [] if any(trace.has(event) for event in _UNMAPS) else ["no events of unmappings"]
    if len(judged) < len(found):
        missing.append(f"{len(found) - len(judged)} events of addresses that no iommu:map event shows to be handed out")
    scattered = sum(len(trace.rows(event)) for event in _SCATTERED)
    missing += [f"{scattered} events of scattered mappings (dma_map_sg and its kin)"] if scattered else []
    return Sight(judged, {}, seen or "no mapping", tuple(missing))


def _handed_out(trace: Trace) -> set[int]:
    """Return the addresses of mappings that lie in a page that an IOMMU mapped; they need not begin with it."""
    rows = trace.rows("map")
    pages = {iova & ~_PAGE for iova in trace.field(rows, "map", "iova").tolist()} if rows.size else set()
    events = [event for event in (*_MAPS, *_UNMAPS) if trace.has(event)]
    addresses = {_address(trace, row) for row in trace.rows(*events).tolist()}
    return {one for one in addresses if one & ~_PAGE in pages}


def _mapping(trace: Trace, row: int) -> Occurrence:
    event = trace.formats.by_id[int(trace.type[row])].name
    device = trace.text(row, event, "device")
    address = _address(trace, row)
    what = "map" if event in _MAPS else "unmap"
    step = _step(trace, row, device, f"{event} {address:#x}")
    return Occurrence(what, {"device": device, "address": address}, step)


def _address(trace: Trace, row: int) -> int:
    event = trace.formats.by_id[int(trace.type[row])]
    return _number(trace, row, event.name, "dma_addr" if "dma_addr" in event.fields else "addr")


def look_at_iotlb(trace: Trace) -> Sight | None:
    """Return what the IOMMU was told, None where the trace has no such events."""
    if not (trace.has("map") and trace.has("unmap")):
        return None
    flushes = [event for event in _FLUSHES if trace.has(event)]
    rows = trace.rows("map", "unmap", *flushes).tolist()
    found = tuple(one for row in rows for one in _translation(trace, row))
    counts = {name: sum(one.event == name for one in found) for name in ("map", "unmap", "flush")}
    seen = ", ".join(f"{count} times {name}" for name, count in counts.items())
    if not flushes:  # then no flush can be seen, and none is missed
        return Sight((), {}, seen, ("no events of IOTLB flushes: they are traced for Intel's IOMMU only",))
    return Sight(found, {}, seen)


def _translation(trace: Trace, row: int) -> Iterator[Occurrence]:
    event = trace.formats.by_id[int(trace.type[row])].name
    if event not in ("map", "unmap"):
        if event != "qi_submit" or _number(trace, row, event, "qw0") & 0xF in _QI_KINDS:
            yield Occurrence("flush", {}, _step(trace, row, "IOMMU", event))
        return
    address = _number(trace, row, event, "iova")
    step = _step(trace, row, "IOMMU", f"{event} {address:#x}, {_number(trace, row, event, 'size'):#x} bytes")
    yield Occurrence(event, {"address": address}, step)


def _number(trace: Trace, row: int, event: str, name: str) -> int:
    return trace.number(row, event, name) & ((1 << 64) - 1)


def _step(trace: Trace, row: int, observer: str, what: str) -> Step:
    event = trace.formats.by_id[int(trace.type[row])].name
    return Step(observer, event, f"{what} by thread {int(trace.pid[row])}", time_ns=int(trace.ts[row]))


MONITORS: Final = (
    TraceMonitor(DMA, look_at_mappings, ("map", *_MAPS, *_UNMAPS, *_SCATTERED)),
    TraceMonitor(IOTLB, look_at_iotlb, ("map", "unmap", *_FLUSHES)),
)
