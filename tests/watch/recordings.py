"""Small recordings of every format, made of one script: what tests read, cut and damage."""

import zlib
from struct import pack

import zstandard

from nostale.outside import zstd
from nostale.watch import save
from nostale.watch.file import TRACING
from nostale.watch.perfscan import S_CALLCHAIN, S_CPU, S_IDENTIFIER, S_PERIOD, S_RAW, S_TID, S_TIME
from nostale.watch.script import parse

SMALL = """
0 100 7 sys_enter id=10
0 110 7 csd_queue_cpu cpu=1 func=flush_tlb_func csd=0x10
0 111 7 kernel_stack smp_call_function_many_cond do_mprotect_pkey
1 120 8 call_function_single_entry
1 125 8 csd_function_entry func=flush_tlb_func csd=0x10
1 140 8 call_function_single_exit
0 150 7 sys_exit id=10
"""
# A while of this, so that there are pages.
LONG = "\n".join(
    line.replace(line.split()[1], str(int(line.split()[1]) + 1000 * turn), 1)
    for turn in range(200)
    for line in SMALL.strip().splitlines()
)
LOST_ID = 5


def dat7(path, script=SMALL, *, how="zstd", monkeypatch=None):
    """Write trace.dat version 7; zlib as a trace-cmd that has it would."""
    before = zstd.compress
    try:
        if how == "zlib":
            zstd.compress = zlib.compress
        save(parse(script), path)
    finally:
        zstd.compress = before
    if how == "zlib":
        path.write_bytes(path.read_bytes().replace(b"zstd\x001.5\0", b"zlib\x001.2\0", 1))
    return path


def tracing_data(trace, *, version):
    """Everything that stands in front of the events, in trace.dat version 6 and in perf.data."""
    sized = lambda text: pack("<Q", len(text)) + text  # noqa: E731
    out = TRACING + version + b"\0" + pack("<BBI", 0, 8, 4096)
    out += b"header_page\0" + sized(trace.origin.header_page.encode()) + b"header_event\0" + sized(b"\n")
    texts = [one.text.encode() for one in trace.formats.by_id.values()]
    out += pack("<I", 0) + pack("<I", 1) + b"script\0" + pack("<I", len(texts)) + b"".join(map(sized, texts))
    kallsyms = trace.origin.symbols.text
    return out + pack("<I", len(kallsyms)) + kallsyms + pack("<I", 0) + sized(b"7 sender\n8 victim\n")


def dat6(path, script=SMALL):
    """Write trace.dat version 6."""
    trace = parse(script)
    out = bytearray(tracing_data(trace, version=b"6") + pack("<I", len(trace.cpus)))
    out += (
        b"options  \0" + pack("<HI", 4, 6) + b"[mono]" + pack("<HI", 5, 6) + b"x86_64" + pack("<H", 0) + b"flyrecord\0"
    )
    place = len(out)
    out += bytes(16 * len(trace.cpus))
    for number, cpu in enumerate(trace.cpus):
        out += bytes(-len(out) % 4096)
        pages = b"".join(trace.pages[cpu])
        out[place + 16 * number : place + 16 * number + 16] = pack("<QQ", len(out), len(pages))
        out += pages
    path.write_bytes(out)
    return path


def perf(path, script=SMALL, *, compressed=False):
    """Write perf.data; of a kernel_stack the frames become the call chain of the event before."""
    trace = parse(script)
    layout = S_IDENTIFIER | S_TID | S_TIME | S_CPU | S_PERIOD | S_RAW
    ids = pack("<QQ", LOST_ID, LOST_ID + 1)
    kinds = ((layout, 1), (layout | S_CALLCHAIN, 2))
    head, each = 104, 112 + 16
    attrs = b"".join(
        (pack("<IIQQQQQ", 2, 112, 0, 1, kind, 0, 1 << 25 | 1 << 18) + bytes(44) + pack("<i", 1)).ljust(112, b"\0")
        + pack("<QQ", head + 2 * each + 8 * number, 8)
        for number, (kind, _) in enumerate(kinds)
    )
    data = bytearray(_record(3, pack("<II", 8, 8) + b"victim\0\0" + _trailer(0, 1)))
    stack = trace.formats.by_name["kernel_stack"].id if trace.has("kernel_stack") else -1
    for row in range(len(trace)):
        if int(trace.type[row]) == stack:
            continue
        ts, cpu, pid = int(trace.ts[row]), int(trace.cpu[row]), int(trace.pid[row])
        start, size = trace.place(row), int(trace.size[row])
        raw = trace.raw[start : start + size].tobytes()
        frames = ()
        if row + 1 < len(trace) and int(trace.type[row + 1]) == stack:
            names = dict(zip(map(trace.origin.symbols.name, _addresses(trace)), _addresses(trace)))
            frames = ((1 << 64) - 128, *(names[one] for one in trace.stack(row + 1)))
        body = pack("<QIIQIIQ", LOST_ID + bool(frames), pid, pid, ts, cpu, 0, 1)
        body += pack(f"<Q{len(frames)}Q", len(frames), *frames) if frames else b""
        data += _record(9, body + (pack("<I", len(raw)) + raw).ljust((len(raw) + 11) // 8 * 8, b"\0"))
    if compressed:
        packer = zstandard.ZstdCompressor().compressobj()
        pieces = [data[at : at + 777] for at in range(0, len(data), 777)]
        flushed = [packer.compress(bytes(one)) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) for one in pieces]
        data = bytearray(b"".join(_record(81, one) for one in flushed))
    tracing = tracing_data(trace, version=b"0.6")
    arch = pack("<I", 8) + b"x86_64\0\0"
    features_at = head + len(attrs) + 16 + len(data)
    sections = pack("<QQQQ", features_at + 32, len(tracing), features_at + 32 + len(tracing), len(arch))
    header = b"PERFILE2" + pack("<QQQQQQQQ", head, each, head, len(attrs), head + len(attrs) + 16, len(data), 0, 0)
    header += pack("<4Q", 1 << 1 | 1 << 6, 0, 0, 0)
    path.write_bytes(header + attrs + ids + bytes(data) + sections + tracing + arch)
    return path


def _addresses(trace):
    return [int(line.split()[0], 16) for line in trace.origin.symbols.text.splitlines()]


def _record(kind, body):
    return pack("<IHH", kind, 0, 8 + len(body)) + body


def _trailer(ts, cpu):
    return pack("<IIQIIQ", 8, 8, ts, cpu, 0, LOST_ID)


TEXT = """\
# tracer: nop
#
# entries-in-buffer/entries-written: 9/9   #P:2
#
    sender-7 [000] d..1.   100.000100: sys_enter: NR 10 (7f0000000000, 1000, 1, 0, 0, 0)
    sender-7 [000] d..1.   100.000110: csd_queue_cpu: cpu=1 callsite=f+0x20 func=flush_tlb_func csd=00000000e914f098
    sender-7 [000] d..1.   100.000110: <stack trace>
 => smp_call_function_many_cond
 => do_mprotect_pkey
    victim-8 [001] d.h1.   100.000120: call_function_single_entry: vector=251
    victim-8 [001] d.h1.   100.000125: csd_function_entry: func=flush_tlb_func, csd=00000000e914f098
    victim-8 [001] d.h1.   100.000140: call_function_single_exit: vector=251
CPU:1 [LOST 12 EVENTS]
    victim-8 [001] d..2.   100.000150: sched_switch: prev_comm=victim prev_pid=8 prev_prio=1 prev_state=R+ ==> next_comm=b next_pid=9 next_prio=1
    sender-7 [000] d..1.   100.000160: sys_exit: NR 10 = 0
"""  # noqa: E501


def text(path):
    path.write_text(TEXT)
    return path
