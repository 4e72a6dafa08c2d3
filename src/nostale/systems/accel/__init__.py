"""accel: devices that work on a process's memory by addresses they were given earlier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nostale.systems.accel.contract import CONTRACTS
from nostale.systems.system import System

if TYPE_CHECKING:
    from nostale.watch import TraceMonitor


def _monitors() -> tuple[TraceMonitor, ...]:
    from nostale.systems.accel.trace import MONITORS

    return MONITORS


SYSTEM = System(
    name="accel",
    title="accelerators shared between processes",
    view="a device's addresses and queue, for a process's memory",
    change="unmap, fork with COW, truncate, exit",
    sync="stop the queue, drain, clear the IOMMU, flush the IOTLB",
    use="DMA, doorbell",
    rely="put_pages, PASID reused",
    contracts=CONTRACTS,
    monitors=_monitors,
    watched=CONTRACTS,
)
