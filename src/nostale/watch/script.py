"""A trace written by hand, a line an event, for tests and documents; it goes through real ring-buffer pages.

    CPU TIME_NS PID EVENT FIELD=VALUE...      0 100 7 csd_queue_cpu cpu=1 func=do_sync_core csd=1
    CPU TIME_NS PID kernel_stack FRAME...     0 101 7 kernel_stack smp_call_function_many_cond do_syscall_64
    CPU TIME_NS lost [COUNT]                  events of this CPU were lost before the next one

A value is a number, or for a pointer a function's name (each gets an address), or for characters a word. Fields not
given are 0. `#` begins a comment.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from struct import pack
from typing import Final

from nostale.contract import BadInput
from nostale.watch.build import build
from nostale.watch.format import EventFormat, Formats, parse_format
from nostale.watch.ring import TIME_EXTEND
from nostale.watch.symbols import Symbols
from nostale.watch.trace import Origin, Trace

PAGE_BYTES: Final = 4096
HEADER_PAGE: Final = (
    "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
    "\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"
    "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
    "\tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;\n"
)
_FIRST: Final = 0xFFFFFFFF81000000
_COMMON: Final = (
    "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
    "\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"
    "\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n"
    "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n"
)
# Event to its fields: p a pointer, i an int, l a long, c 16 characters, a six longs, m a mask of CPUs, s a word whose
# place a __data_loc tells. Other events have none.
FIELDS: Final = {
    "csd_queue_cpu": "i:cpu p:callsite p:func p:csd",
    "csd_function_entry": "p:func p:csd",
    "csd_function_exit": "p:func p:csd",
    "ipi_send_cpu": "i:cpu p:callsite p:callback",
    "ipi_send_cpumask": "m:cpumask p:callsite p:callback",
    "tick_stop": "i:success i:dependency",
    "sched_switch": "c:prev_comm i:prev_pid i:prev_prio l:prev_state c:next_comm i:next_pid i:next_prio",
    "sched_migrate_task": "c:comm i:pid i:prio i:orig_cpu i:dest_cpu",
    "sched_waking": "c:comm i:pid i:prio i:target_cpu",
    "sched_wakeup": "c:comm i:pid i:prio i:target_cpu",
    "sys_enter": "l:id a:args",
    "sys_exit": "l:id l:ret",
    "page_fault_user": "p:address p:ip l:error_code",
    "hrtimer_start": "p:hrtimer p:function l:expires",
    "hrtimer_expire_entry": "p:hrtimer l:now p:function",
    "hrtimer_expire_exit": "p:hrtimer",
    "workqueue_queue_work": "p:work p:function",
    "workqueue_execute_start": "p:work p:function",
    "workqueue_execute_end": "p:work p:function",
    "task_newtask": "i:pid c:comm l:clone_flags",
    "irq_handler_entry": "i:irq c:name",
    "softirq_entry": "i:vec",
    "softirq_exit": "i:vec",
    "softirq_raise": "i:vec",
    "dma_map_phys": "s:device l:phys_addr l:dma_addr l:size",
    "dma_map_page": "s:device l:phys_addr l:dma_addr l:size",
    "dma_unmap_phys": "s:device l:addr l:size",
    "dma_unmap_page": "s:device l:addr l:size",
    "dma_map_sg": "s:device",
    "map": "l:iova l:paddr l:size",
    "unmap": "l:iova l:size l:unmapped_size",
    "qi_submit": "l:qw0 l:qw1 l:qw2 l:qw3",
    "nmi_handler": "p:handler l:delta_ns i:handled",
}
_KINDS: Final = {
    "p": ("void *", 8, 0),
    "i": ("int", 4, 1),
    "l": ("long", 8, 1),
    "c": ("char", 16, 0),
    "a": ("unsigned long", 48, 0),
    "m": ("__data_loc cpumask_t", 4, 0),
    "s": ("__data_loc char[]", 4, 0),
}
_ARRAYS: Final = {"c": "[16]", "a": "[6]"}


def parse(text: str, *, comms: dict[int, str] | None = None, machine: str = "x86_64") -> Trace:
    r"""Return the trace that `text` describes.

    Raises:
        BadInput: a line that is not of the forms above.

    >>> trace = parse("0 100 7 sys_enter id=10\n1 150 8 local_timer_entry")
    >>> len(trace), trace.cpus, trace.ts.tolist()
    (2, (0, 1), [100, 150])
    """
    script = _Script()
    lines = [line.partition("#")[0].split() for line in text.splitlines()]
    for words in lines:
        if words:
            script.line(words)
    kallsyms = "".join(f"{address:016x} t {name}\n" for name, address in script.symbols.items())
    origin = Origin("script", "mono", machine, HEADER_PAGE, Symbols(kallsyms.encode()), comms or {})
    return build(origin, Formats.of(script.formats.values()), script.streams(), PAGE_BYTES)


@dataclass(slots=True)
class _Script:
    formats: dict[str, EventFormat] = field(default_factory=dict)
    symbols: dict[str, int] = field(default_factory=dict)
    pages: dict[int, list[_Page]] = field(default_factory=lambda: defaultdict(list))
    lost: dict[int, int] = field(default_factory=dict)

    def line(self, words: list[str]) -> None:
        try:
            cpu, ts = int(words[0]), int(words[1])
            if words[2] == "lost":
                self.lost[cpu] = int(words[3]) if len(words) > 3 else -1
                return
            if self.pages[cpu] and ts < self.pages[cpu][-1].last_ns:
                raise ValueError(f"goes back in time on CPU {cpu}")
            data = self.event(int(words[2]), words[3], words[4:])
        except (ValueError, IndexError, KeyError) as problem:
            raise BadInput("script", f"cannot read the line {' '.join(words)!r}: {problem}") from problem
        pages = self.pages[cpu]
        if not pages or cpu in self.lost or not pages[-1].takes(data):
            pages.append(_Page(ts, ts, self.lost.pop(cpu, 0)))
        pages[-1].add(ts, data)

    def event(self, pid: int, name: str, values: list[str]) -> bytes:
        known = self.formats.get(name)
        if known is None:
            known = self.formats[name] = parse_format(format_text(name, len(self.formats) + 1), "script", "script")
        head = pack("<HBBi", known.id, 0, 0, pid)
        if name == "kernel_stack":
            frames = [self.pointer(value) for value in values]
            return head + pack(f"<ii{len(frames)}Q", len(frames), 0, *frames)
        data = bytearray(max((f.offset + f.size for f in known.fields.values()), default=8))
        data[:8] = head
        for value in values:
            key, _, word = value.partition("=")
            name, _, index = key.partition("[")
            one = known.fields[name]
            if one.type == "char":
                data[one.offset : one.offset + one.size] = word.encode()[:15].ljust(16, b"\0")
            elif "__data_loc" in one.type:
                where = pack("<HH", len(data), 8 if "cpumask" in one.type else len(word.encode()) + 1)
                data[one.offset : one.offset + 4] = where
                data += int(word, 0).to_bytes(8, "little") if "cpumask" in one.type else word.encode() + b"\0"
            elif index:
                at = one.offset + 8 * int(index.rstrip("]"))
                data[at : at + 8] = (int(word, 0) % (1 << 64)).to_bytes(8, "little")
            else:
                number = self.pointer(word) if one.is_pointer else int(word, 0)
                data[one.offset : one.offset + one.size] = (number % (1 << 8 * one.size)).to_bytes(one.size, "little")
        return bytes(data)

    def pointer(self, word: str) -> int:
        if word[0].isdecimal():
            return int(word, 0)
        return self.symbols.setdefault(word, _FIRST + 0x100 * len(self.symbols))

    def streams(self) -> dict[int, list[bytes]]:
        return {cpu: [page.encoded() for page in pages] for cpu, pages in self.pages.items()}


def format_text(name: str, number: int, fields: str | None = None) -> str:
    """Return a description of an event as the kernel would write it; `fields` as in `FIELDS`, which None asks."""
    lines, offset = [], 8
    for spec in (FIELDS.get(name, "") if fields is None else fields).split():
        kind, _, key = spec.partition(":")
        type_, size, signed = _KINDS[kind]
        offset += -offset % min(size, 8)
        array = _ARRAYS.get(kind, "")
        lines.append(f"\tfield:{type_} {key}{array};\toffset:{offset};\tsize:{size};\tsigned:{signed};\n")
        offset += size
    if name == "kernel_stack":
        lines = ["\tfield:int size;\toffset:8;\tsize:4;\tsigned:1;\n"]
        lines.append("\tfield:unsigned long caller[8];\toffset:16;\tsize:64;\tsigned:0;\n")
    return f'name: {name}\nID: {number}\nformat:\n{_COMMON}{"".join(lines)}\nprint fmt: ""\n'


@dataclass(slots=True)
class _Page:
    """One ring-buffer page being filled."""

    first_ns: int
    last_ns: int
    lost: int
    data: bytearray = field(default_factory=bytearray)

    def takes(self, event: bytes) -> bool:
        return len(self.data) + len(event) + 24 <= PAGE_BYTES - 16 - 8

    def add(self, ts: int, event: bytes) -> None:
        delta = ts - self.last_ns
        if delta >= 1 << 27:
            self.data += pack("<II", TIME_EXTEND | (delta & ((1 << 27) - 1)) << 5, delta >> 27)
            delta = 0
        self.last_ns = ts
        event = event.ljust((len(event) + 3) // 4 * 4, b"\0")
        if len(event) <= 112:
            self.data += pack("<I", len(event) // 4 | delta << 5) + event
        else:
            self.data += pack("<II", delta << 5, len(event) + 4) + event

    def encoded(self) -> bytes:
        commit = len(self.data) | (1 << 31 if self.lost else 0) | (1 << 30 if self.lost > 0 else 0)
        tail = pack("<Q", self.lost) if self.lost > 0 else b""
        return (pack("<QQ", self.first_ns, commit) + self.data + tail).ljust(PAGE_BYTES, b"\0")
