"""accel: devices that work on a process's memory by addresses they were given earlier."""

from nostale.systems.system import System

SYSTEM = System(
    name="accel",
    title="accelerators shared between processes",
    view="a device's addresses and queue, for a process's memory",
    change="unmap, fork with COW, truncate, exit",
    sync="stop the queue, drain, clear the IOMMU, flush the IOTLB",
    use="DMA, doorbell",
    rely="put_pages, PASID reused",
)
