"""Row by row, what the monitors ask of whole columns: their oracles."""

from __future__ import annotations

from random import Random

from nostale.contract import Step
from nostale.systems.codegen.trace import _Look
from nostale.watch import Occurrence
from nostale.watch.script import parse

EVENTS = (
    "sys_enter id=324 args[0]=32",
    "sys_enter id=1",
    "sys_exit id=324",
    "sys_exit id=324 ret=-1",
    "sched_switch next_pid=PID",
    "csd_queue_cpu cpu=CPU func=ipi_sync_core",
    "csd_queue_cpu cpu=CPU func=do_sync_core",
    "csd_function_entry func=ipi_sync_core",
    "csd_function_entry func=do_sync_core",
    "local_timer_entry",
)


def made(seed, length=80):
    """Return a trace of what the monitors look at, by four threads on three CPUs, and of a recorder, thread 9."""
    random = Random(seed)
    lines = ["0 1 5 csd_queue_cpu cpu=0", "0 2 5 csd_function_entry", "0 3 5 sched_switch", "0 4 5 sys_exit"]
    has = {0: 5, 1: 6, 2: 7}
    for time in range(10, 10 + length):
        cpu, target, other = random.randrange(3), random.randrange(4), random.randint(5, 9)
        thread = has[cpu] if random.random() < 0.8 else random.randint(5, 8)
        event = "sched_switch next_pid=PID" if thread == 9 else random.choice(EVENTS)
        if "switch" in event:
            has[cpu] = other
        lines.append(f"{cpu} {time} {thread} " + event.replace("PID", str(other)).replace("CPU", str(target)))
    return parse("\n".join(lines))


def one_by_one(sight):
    """Return what was seen as occurrences, each with the values of its keys."""
    seen = sight.occurrences
    values = {key: {number: value for value, number in numbers.items()} for key, numbers in seen.numbers.items()}
    named = {key: seen.keys[key].tolist() for key in values}
    return [
        Occurrence(event, {key: values[key][named[key][at]] for key in values if named[key][at] >= 0}, seen.step(at))
        for at, event in enumerate(seen.events())
    ]


def kind(trace, row):
    return trace.formats.by_id[int(trace.type[row])].name


def runs_function(trace, row, event, function):
    known = kind(trace, row) == event
    return known and trace.origin.symbols.name(trace.number(row, event, "func") & ((1 << 64) - 1)) == function


def slow_calls(trace):
    """Return (row of the entry, of the exit, ((CPU, thread that had it throughout), ...)) of each membarrier call."""
    found = []
    for enter in range(len(trace)):
        if kind(trace, enter) != "sys_enter" or trace.number(enter, "sys_enter", "id") != 324:
            continue
        after = range(enter + 1, len(trace))
        mine = [row for row in after if kind(trace, row) == "sys_exit" and trace.pid[row] == trace.pid[enter]]
        if mine and trace.number(mine[0], "sys_exit", "ret") == 0:
            throughout = [(cpu, slow_throughout(trace, cpu, enter, mine[0])) for cpu in trace.cpus]
            found.append((enter, mine[0], tuple((cpu, thread) for cpu, thread in throughout if thread)))
    return found


def slow_throughout(trace, cpu, enter, leave):
    """Return the thread that had `cpu` throughout and did something on it afterwards, 0 for none."""
    there = [row for row in range(len(trace)) if trace.cpu[row] == cpu]
    switches = [row for row in there if kind(trace, row) == "sched_switch" and row < leave]
    following = [row for row in there if row >= leave]
    if trace.cpu[enter] == cpu or not switches or switches[-1] > enter or not following:
        return 0
    thread = trace.number(switches[-1], "sched_switch", "next_pid")
    name = kind(trace, following[0])
    stays = name in ("sys_enter", "page_fault_user") or name.endswith(("_entry", "_exit"))
    return thread if stays and trace.pid[following[0]] == thread else 0


class SlowLook(_Look):
    """Sees every row of the trace, one after the other."""

    def occurrences(self):
        trace = self.trace
        for row in range(len(trace)):
            pid, cpu, ts = int(trace.pid[row]), int(trace.cpu[row]), int(trace.ts[row])
            if runs_function(trace, row, "csd_queue_cpu", "do_sync_core"):
                target = trace.number(row, "csd_queue_cpu", "cpu")
                if target in trace.cpus:
                    yield from self._ask(pid, target, cpu, ts, row)
                else:
                    self.unrecorded.add(target)
            elif kind(trace, row) == "sys_exit":
                yield from self._done(pid, cpu, ts, "sys_exit", row)
            elif runs_function(trace, row, "csd_function_entry", "do_sync_core"):
                for batch in self.open.values():
                    batch.owing.discard(cpu)
                step = Step(f"CPU {cpu}", "csd_function_entry", "runs do_sync_core", time_ns=ts)
                yield Occurrence("sync", {"cpu": cpu}, step)

    def _may_hide(self, cpu, low, high):
        trace = self.trace
        there = [row for row in range(high) if trace.cpu[row] == cpu]
        switches = [row for row in there if kind(trace, row) == "sched_switch"]
        running = {trace.number(row, "sched_switch", "next_pid") for row in switches if row >= low}
        before = [row for row in switches if row < low]
        if before:
            running.add(trace.number(before[-1], "sched_switch", "next_pid"))
        elif there and there[0] < low:
            running.add(int(trace.pid[max(row for row in there if row < low)]))
        else:
            return True
        heard = {int(trace.pid[row]) for row in range(len(trace)) if kind(trace, row) != "sched_switch"}
        known = {trace.number(row, "sched_switch", "next_pid") for row in trace.rows("sched_switch").tolist()}
        return bool((running & known) - heard)


ACCEL = (
    "map iova=ADDRESS size=8",
    "unmap iova=ADDRESS size=8",
    "qi_submit qw0=KIND",
    "cache_tag_flush_all",
    "dma_map_phys device=DEVICE dma_addr=ADDRESS",
    "dma_map_page device=DEVICE dma_addr=ADDRESS",
    "dma_unmap_phys device=DEVICE addr=ADDRESS",
)


def made_for_devices(seed, length=40):
    """Return a trace of mappings of a few addresses, the highest and the sign bit among them."""
    random = Random(seed)
    lines = ["0 1 5 map iova=0x1000", "0 2 5 unmap iova=0xfffffffffffff000", "0 3 5 dma_map_phys device=a dma_addr=1"]
    for time in range(10, 10 + length):
        address = random.choice((0x1000, 0x1200, 0x2000, 0x8000000000000000, 0xFFFFFFFFFFFFF123))
        event = random.choice(ACCEL).replace("ADDRESS", str(address)).replace("KIND", str(random.randint(0, 31)))
        lines.append(f"0 {time} {random.randint(5, 7)} {event.replace('DEVICE', random.choice('ab'))}")
    return parse("\n".join(lines))


def slow_mappings(trace):
    """Return of each dma event its occurrence, and whether an IOMMU mapped its page."""
    pages = {trace.number(row, "map", "iova") >> 12 << 12 for row in trace.rows("map").tolist()}
    found = []
    for row in range(len(trace)):
        name = kind(trace, row)
        if name.startswith("dma_") and not name.endswith(("_sg", "_sgt")):
            field = "addr" if "unmap" in name else "dma_addr"
            address, device = trace.number(row, name, field) & ((1 << 64) - 1), trace.text(row, name, "device")
            what = f"{name} {address:#x} by thread {int(trace.pid[row])}"
            step = Step(device, name, what, time_ns=int(trace.ts[row]))
            own = address >> 12 << 12 in {page & ((1 << 64) - 1) for page in pages}
            event = "unmap" if "unmap" in name else "map"
            found.append((Occurrence(event, {"device": device, "address": address}, step), own))
    return found


def slow_translations(trace):
    """Return of each event of an IOMMU its occurrence."""
    found = []
    flushes = [name for name in trace.formats.by_name if name == "qi_submit" or name.startswith("cache_tag_flush")]
    for row in trace.rows("map", "unmap", *flushes).tolist():
        name, by = kind(trace, row), f"by thread {int(trace.pid[row])}"
        if name in ("map", "unmap"):
            address, size = (trace.number(row, name, field) & ((1 << 64) - 1) for field in ("iova", "size"))
            step = Step("IOMMU", name, f"{name} {address:#x}, {size:#x} bytes {by}", time_ns=int(trace.ts[row]))
            found.append(Occurrence(name, {"address": address}, step))
        elif name.startswith("cache_tag_flush") or (
            name == "qi_submit" and trace.number(row, name, "qw0") & 15 in (2, 6)
        ):
            step = Step("IOMMU", name, f"{name} {by}", time_ns=int(trace.ts[row]))
            found.append(Occurrence("flush", {}, step))
    return found
