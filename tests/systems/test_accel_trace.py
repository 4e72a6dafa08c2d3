"""DMA mappings and IOTLB flushes over traces made by hand, as kernels of both spellings describe them."""

from dataclasses import replace
from pathlib import Path

import pytest
from slow_looks import made_for_devices, one_by_one, slow_mappings, slow_translations

from nostale.contract import Role
from nostale.systems.accel.trace import MONITORS
from nostale.watch import Occurrences, TraceMonitor, analyse, read_trace, run_monitor
from nostale.watch.needs import MEMORY
from nostale.watch.script import parse

DMA, IOTLB = MONITORS
SPELLINGS = [("dma_map_phys", "dma_unmap_phys"), ("dma_map_page", "dma_unmap_page")]


def words(monitor, text):
    return [result.verdict.word for result in run_monitor(monitor, parse(text))]


def mapped(text, spelling):
    return text.replace("MAP", spelling[0]).replace("UNDO", spelling[1])


BALANCED = """
0 90 7 map iova=0x1000 size=4096
0 100 7 MAP device=nvme0 dma_addr=0x1200 size=512
0 110 7 MAP device=eth0 dma_addr=0x1200 size=512
0 120 7 UNDO device=nvme0 addr=0x1200 size=512
0 130 7 UNDO device=eth0 addr=0x1200 size=512
0 140 7 MAP device=nvme0 dma_addr=0x1200 size=512
"""
AGAIN = BALANCED.replace("0 130", "0 125 7 UNDO device=nvme0 addr=0x1200\n0 130")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_balanced_trace_holds_and_a_second_unmapping_is_found(spelling):
    assert words(DMA, mapped(BALANCED, spelling)) == ["holds"]
    (result,) = run_monitor(DMA, parse(mapped(AGAIN, spelling)))
    assert result.verdict.word == "violated"
    assert result.verdict.path[-1].time_ns == 125
    assert "eth0: 1 mapped, 1 unmapped; nvme0: 2 mapped, 2 unmapped" in " ".join(result.verdict.assumptions)


def test_a_direct_mapping_may_be_many_and_is_counted_only():
    (result,) = run_monitor(
        DMA, parse(mapped(AGAIN.replace("0 90 7 map iova=0x1000", "0 90 7 map iova=0x9000"), SPELLINGS[0]))
    )
    assert result.verdict.word == "unknown"
    assert "6 events of addresses that no iommu:map event shows to be handed out" in result.verdict.missing
    assert "nvme0: 2 mapped, 2 unmapped" in " ".join(result.verdict.assumptions)


def test_what_was_mapped_before_the_trace_may_be_unmapped():
    first = "0 80 7 MAP device=b dma_addr=2\n0 90 7 map iova=1 size=1\n0 100 7 UNDO device=a addr=1\n"
    assert words(DMA, mapped(first, SPELLINGS[0])) == ["holds"]
    assert words(DMA, mapped(first + "0 101 7 UNDO device=a addr=1", SPELLINGS[0])) == ["violated"]


def test_scattered_mappings_are_said_not_to_be_looked_at():
    (result,) = run_monitor(DMA, parse(mapped(BALANCED, SPELLINGS[0]) + "0 150 7 dma_map_sg device=a"))
    assert result.verdict.word == "unknown"
    assert "1 events of scattered mappings (dma_map_sg and its kin)" in result.verdict.missing


REUSED = """
0 100 7 map iova=0x1000 size=4096
0 110 7 unmap iova=0x1000 size=4096
0 120 7 qi_submit qw0={kind}
0 130 7 map iova=0x1000 size=4096
"""


def test_an_address_used_again_before_a_flush_is_found():
    assert "violated" not in words(IOTLB, REUSED.format(kind=0x12))
    (violated, *_) = run_monitor(IOTLB, parse(REUSED.format(kind=0x5)))  # a wait descriptor flushes nothing
    assert (violated.verdict.word, violated.verdict.of) == ("violated", Role.RELY)
    assert [step.place for step in violated.verdict.path] == ["unmap", "map"]


def test_another_address_needs_no_flush():
    other = REUSED.format(kind=0x5).replace("0 130 7 map iova=0x1000", "0 130 7 map iova=0x2000")
    assert "violated" not in words(IOTLB, other)


def test_a_flush_of_the_newer_kind_counts():
    assert "violated" not in words(IOTLB, REUSED.format(kind=5).replace("0 130", "0 125 7 cache_tag_flush_all\n0 130"))


def test_without_events_of_flushes_nobody_is_accused():
    silent = "\n".join(line for line in REUSED.splitlines() if "qi_submit" not in line)
    (result,) = run_monitor(IOTLB, parse(silent))
    assert result.verdict.word == "unknown"
    assert result.verdict.missing[0].startswith("no events of IOTLB flushes")


def test_a_trace_without_such_events_says_so():
    answer = analyse(parse("0 1 7 sys_enter id=1"), None, MONITORS)
    assert answer.results == ()
    assert answer.coverage["contracts_idle"] == ["accel.unmapped-once", "accel.iotlb-before-reuse"]


def test_what_is_judged_is_recorded_where_memory_is_asked_for():
    assert {event for monitor in MONITORS for event in monitor.events} <= {event for _, event in MEMORY}


def test_what_a_kernel_cannot_tell_of_memory_is_noted_where_it_tells_any():
    notes = analyse(parse(BALANCED.replace("MAP", "dma_map_page").replace("UNDO", "dma_unmap_page"))).notes
    assert [note.split(":")[0] for note in notes if "IOMMU" in note] == [
        "no unmap events",
        "no qi_submit or cache_tag_flush_range or cache_tag_flush_all events",
    ]
    older = parse("0 90 7 map iova=1 size=1\n0 95 7 qi_submit qw0=2\n0 100 7 unmap iova=1 size=1")
    told = [note for note in analyse(older).notes if "dma_" in note]
    assert told == [
        "no dma_map_phys or dma_map_page events: which device was given which addresses is not known",
        "no dma_unmap_phys or dma_unmap_page events: which addresses were taken from a device is not known",
    ]
    assert not [note for note in analyse(parse("0 90 7 sys_enter id=1")).notes if "dma_" in note]


# A disk behind an emulated VT-d, read in Debian guests of two kernels; IOTLBs are flushed late and many at a time.
@pytest.fixture(scope="module", params=["6.12", "7.2"])
def disk(request):
    return read_trace(Path(__file__).parents[1] / "watch" / "kernels" / f"dma-{request.param}.dat")


def judged(monitor, trace, keeps):
    """What a monitor says of a recording without some of what it saw."""
    sight = monitor.look(trace)
    kept = Occurrences.of([one for number, one in enumerate(one_by_one(sight)) if keeps(number, one.event)])
    result, *_ = run_monitor(TraceMonitor(monitor.binding, lambda _: replace(sight, occurrences=kept)), trace)
    return result.verdict


def test_the_mappings_of_a_real_disk_are_balanced_and_a_lost_one_would_be_found(disk):
    verdict = judged(DMA, disk, lambda *_: True)
    assert verdict.word == "holds"
    assert "0000:00:03.0: 96 mapped, 96 unmapped" in " ".join(verdict.assumptions)
    mapped = [(number, one.keys) for number, one in enumerate(one_by_one(DMA.look(disk))) if one.event == "map"]
    again = next(number for at, (number, keys) in enumerate(mapped) if keys in [before for _, before in mapped[:at]])
    assert judged(DMA, disk, lambda number, _: number != again).word == "violated"


def test_addresses_of_a_real_disk_are_reused_after_a_flush_only_and_without_it_that_would_be_found(disk):
    verdict = judged(IOTLB, disk, lambda *_: True)
    assert (verdict.word, verdict.why) == ("unknown", "not everything could be seen")
    assert judged(IOTLB, disk, lambda _, event: event != "flush").word == "violated"


def test_what_a_real_disk_does_is_found_as_row_by_row(disk):
    assert one_by_one(DMA.look(disk)) == [one for one, own in slow_mappings(disk) if own]
    assert one_by_one(IOTLB.look(disk)) == slow_translations(disk)


@pytest.mark.parametrize("seed", range(20))
def test_what_devices_and_iommus_do_is_found_as_row_by_row(seed):
    trace = made_for_devices(seed)
    sight, slow = DMA.look(trace), slow_mappings(trace)
    assert one_by_one(sight) == [one for one, own in slow if own]
    apart = sum(not own for _, own in slow)
    assert sight.not_seen == (f"{apart} events of addresses that no iommu:map event shows to be handed out",)
    kinds = [(one.event, one.keys["device"]) for one, _ in slow]
    counts = [f"{one}: {kinds.count(('map', one))} mapped, {kinds.count(('unmap', one))} unmapped" for one in "ab"]
    assert sight.seen == "; ".join(counts)
    assert one_by_one(IOTLB.look(trace)) == slow_translations(trace)
