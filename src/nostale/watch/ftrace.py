"""Reads ftrace's text: the files `trace` and `trace_pipe`, and what `trace-cmd report` prints.

Text is for people, and tells less: times to the microsecond, neither the clock nor the machine, addresses as names or
hashed. What follows from that is noted. A line of an event whose fields cannot be read counts as a lost event, never as
no event.

Source:
    kernel/trace/trace_output.c (trace_print_context()), kernel/trace/trace.c (print_trace_header(),
    test_cpu_buff_start(), print_trace_line()), v6.12.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from struct import pack
from typing import Final

import numpy as np

from nostale.contract import BadInput
from nostale.watch.format import EventFormat, Formats, parse_format
from nostale.watch.ring import Lost
from nostale.watch.scanner import check_room
from nostale.watch.script import FIELDS, format_text
from nostale.watch.spans import VECTORS
from nostale.watch.symbols import Symbols
from nostale.watch.trace import WORD, Origin, Table, Trace, Wanted

_LINE: Final = re.compile(
    r"(?:\S+: )?\s*(?P<comm>.+)-(?P<pid>\d{1,9})\s+(?:\(\s*[-\d]+\)\s+)?\[(?P<cpu>\d{1,5})\]\s+"
    r"(?:[^\s:]{4,8}\s+)?(?P<s>\d{1,10})\.(?P<part>\d{6}(?:\d{3})?):\s+(?P<event>\w+|<stack trace>):?\s*(?P<rest>.*)$"
)
_LOST: Final = re.compile(r"^CPU:(?P<cpu>\d{1,5}) \[(?:LOST )?(?P<count>\d{1,18})? ?EVENTS(?: DROPPED)?\]$")
_STARTED: Final = re.compile(r"^#{2,} CPU (?P<cpu>\d{1,5}) buffer started #{2,}$")
_WRITTEN: Final = re.compile(r"^# entries-in-buffer/entries-written: (?P<kept>\d{1,18})/(?P<written>\d{1,18})\s")
_FRAME: Final = re.compile(r"^\s*=> (?P<name>[^\s(+]+)")
_VALUES: Final = re.compile(r"(\w+)=([^\s,]+)")
_TASK: Final = r"(?P<{0}comm>.*?):(?P<{0}pid>\d+) \[\d+\]"
_WOKEN: Final = (re.compile(r"comm=(?P<comm>.*) pid=(?P<pid>\d+) "), re.compile(_TASK.format("")))
_WORK: Final = re.compile(r"work(?: struct )?=?(?P<work>[^\s:]+):? function[ =](?P<function>\S+)")
# Lines that do not consist of NAME=VALUE; of two for one event the second is trace-cmd's own. What trace-cmd report -R
# prints is the fields as they are.
_PATTERNS: Final = {
    "sched_switch": (
        re.compile(
            r"prev_comm=(?P<prev_comm>.*) prev_pid=(?P<prev_pid>\d+) prev_prio=\d+ prev_state=(?P<prev_state>\S+) "
            r"(?:==> )?next_comm=(?P<next_comm>.*) next_pid=(?P<next_pid>\d+) next_prio=\d+"
        ),
        re.compile(_TASK.format("prev_") + r" (?P<prev_state>\S+) ==> " + _TASK.format("next_") + "$"),
    ),
    "sched_waking": _WOKEN,
    "sched_wakeup": _WOKEN,
    "sys_enter": (re.compile(r"(?:NR |id=)(?P<id>-?\d+)"),),
    "sys_exit": (re.compile(r"(?:NR |id=)(?P<id>-?\d+) (?:= |ret=)(?P<ret>-?\d+)"),),
    "workqueue_queue_work": (re.compile(r"work(?: struct)?=(?P<work>\S+) function=(?P<function>\S+)"),),
    "workqueue_execute_start": (_WORK,),
    "workqueue_execute_end": (_WORK,),
    "nmi_handler": (re.compile(r"(?P<handler>\S+?)\(\) delta_ns: (?P<delta_ns>\d+) handled: (?P<handled>\d+)"),),
}
# include/trace/events/sched.h: TASK_REPORT, and + for a preemption (TASK_REPORT_MAX); trace-cmd has x and W for P and I
_STATES: Final = {"R": 0, "S": 1, "D": 2, "T": 4, "t": 8, "X": 16, "Z": 32, "P": 64, "x": 64, "I": 128, "W": 128}
_PREEMPTED: Final = 256
# include/trace/events/timer.h, TICK_DEP_NAMES
_TICK_NEEDS: Final = ("POSIX_TIMER", "PERF_EVENTS", "SCHED", "CLOCK_UNSTABLE", "RCU", "RCU_EXP")
_HEX: Final = re.compile(r"^(?:0x([0-9a-f]{1,16})|([0-9a-f]{16}))$")
_NULL: Final = frozenset({"(nil)", "(null)", "0", "NULL"})
_LONGEST: Final = 1 << 14
_EVER: Final = 1 << 62
# Names get addresses that no kernel has, so that no address in the text is taken for one of them.
_FIRST: Final = 0xF000000000000000


def looks_like_text(start: bytes) -> bool:
    """Whether a file that begins so is ftrace's text."""
    if b"\0" in start:
        return False
    lines = start.decode("utf-8", "replace").splitlines()
    return any(line.startswith(("# tracer:", "cpus=")) or _LINE.match(line) for line in lines[:8])


def read_text(path: Path, wanted: Wanted | None = None) -> Trace:
    """Read a text.

    Args:
        wanted: the events to keep; None keeps all.

    Raises:
        BadInput: no such file, no event in it, a line that is endless.
    """
    reader = _Reader(str(path), None if wanted is None else frozenset(wanted))
    try:
        with path.open("rb") as file:
            while line := file.readline(_LONGEST):
                if len(line) == _LONGEST:
                    raise BadInput(str(path), f"a line of over {_LONGEST} bytes", cause="another format")
                reader.line(line.decode("utf-8", "replace").rstrip())
    except (OSError, ValueError) as problem:
        raise BadInput(str(path), f"cannot be read: {getattr(problem, 'strerror', None) or problem}") from problem
    return reader.trace()


@dataclass(slots=True)
class _Reader:
    where: str
    wanted: frozenset[str] | None
    formats: dict[str, EventFormat] = field(default_factory=dict)
    symbols: dict[str, int] = field(default_factory=dict)
    comms: dict[int, str] = field(default_factory=dict)
    ts: array[int] = field(default_factory=lambda: array("q"))
    cpu: array[int] = field(default_factory=lambda: array("H"))
    pid: array[int] = field(default_factory=lambda: array("i"))
    kind: array[int] = field(default_factory=lambda: array("H"))
    word: array[int] = field(default_factory=lambda: array("I"))
    size: array[int] = field(default_factory=lambda: array("i"))
    heap: bytearray = field(default_factory=bytearray)
    last_ns: dict[int, int] = field(default_factory=dict)
    first_ns: int = _EVER
    total: int = 0
    pending: dict[int, int | None] = field(default_factory=dict)  # lost on a CPU before its next event
    lost: list[Lost] = field(default_factory=list)
    unread: Counter[str] = field(default_factory=Counter)
    overwritten: int = 0
    coarse: bool = False
    stack: tuple[int, int, int] | None = None
    frames: list[int] = field(default_factory=list)

    def line(self, text: str) -> None:
        if self.stack is not None:
            frame = _FRAME.match(text)
            if frame:
                self.frames.append(self.address(frame["name"]))
                return
            self.end_stack()
        found = _LINE.match(text)
        if found:
            self.event(found)
        elif gone := _LOST.match(text):
            self.pending[int(gone["cpu"])] = int(gone["count"]) if gone["count"] else None
        elif started := _STARTED.match(text):
            self.pending[int(started["cpu"])] = None
        elif (written := _WRITTEN.match(text)) and int(written["written"]) > int(written["kept"]):
            self.overwritten += int(written["written"]) - int(written["kept"])

    def event(self, found: re.Match[str]) -> None:
        cpu, pid, name = int(found["cpu"]), int(found["pid"]), found["event"]
        self.coarse |= len(found["part"]) == 6
        ts = int(found["s"]) * 10**9 + int(found["part"].ljust(9, "0"))
        if cpu not in self.last_ns and self.overwritten:
            self.pending.setdefault(cpu, None)
        if cpu in self.pending:
            self.lost.append(Lost(cpu, self.last_ns.get(cpu, -_EVER), ts, self.pending.pop(cpu)))
        before = self.last_ns.get(cpu, -_EVER)
        self.last_ns[cpu] = max(before, ts)
        self.first_ns = min(self.first_ns, ts)
        self.total += 1
        if found["comm"] not in ("<...>", "<idle>"):
            self.comms[pid] = found["comm"].strip()
        if name in ("<stack trace>", "kernel_stack"):
            self.stack = (ts, cpu, pid)
        elif self.wanted is None or name in self.wanted:
            data = self.encoded(name, pid, found["rest"])
            if data is None:
                self.unread[name] += 1
                self.lost.append(Lost(cpu, before, ts, 1))
            else:
                self.keep(ts, cpu, pid, data)

    def end_stack(self) -> None:
        assert self.stack is not None
        (ts, cpu, pid), frames = self.stack, self.frames
        form = self.format("kernel_stack", "")
        self.keep(ts, cpu, pid, pack(f"<HHiii{len(frames)}Q", form.id, 0, pid, len(frames), 0, *frames))
        self.stack, self.frames = None, []

    def keep(self, ts: int, cpu: int, pid: int, data: bytes) -> None:
        self.ts.append(ts)
        self.cpu.append(cpu)
        self.pid.append(pid)
        self.kind.append(int.from_bytes(data[:2], "little"))
        check_room(len(self.heap), self.where)
        self.word.append(len(self.heap) // WORD)
        self.size.append(len(data))
        self.heap += data.ljust((len(data) + 3) & ~3, b"\0")

    def format(self, name: str, fields: str) -> EventFormat:
        known = self.formats.get(name)
        if known is None:
            if len(self.formats) >= (1 << 16) - 2:
                raise BadInput(self.where, "names over 65,000 kinds of events", cause="another format")
            text = format_text(name, len(self.formats) + 1, fields if name != "kernel_stack" else None)
            known = self.formats[name] = parse_format(text, "text", self.where)
        return known

    def encoded(self, name: str, pid: int, rest: str) -> bytes | None:
        """Return an event's bytes; None where its fields cannot be read, or are not those of the first of its kind."""
        specs = [one for one in FIELDS.get(name, "").split() if one[0] != "a"]
        patterns = _PATTERNS.get(name)
        if patterns:
            found = next((match for match in (one.match(rest) for one in patterns) if match), None)
            values = found.groupdict() if found else {}
        else:
            values = dict(_VALUES.findall(rest))
        present = [one for one in specs if one[2:] in values]
        if specs and not present:
            return None
        form = self.format(name, " ".join(present))
        if len(form.fields) - 4 != len(present):
            return None
        data = bytearray(max((one.offset + one.size for one in form.fields.values()), default=8))
        data[:8] = pack("<HHi", form.id, 0, pid)
        for spec in present:
            key = spec[2:]
            if key not in form.fields or not self.put(data, spec[0], form, key, values[key]):
                return None
        return bytes(data)

    def put(self, data: bytearray, kind: str, form: EventFormat, key: str, word: str) -> bool:
        """Write one value to its place in `data`; say whether it can be one."""
        place = form.fields[key]
        if kind == "c":
            data[place.offset : place.offset + place.size] = word.encode()[: place.size - 1].ljust(place.size, b"\0")
            return True
        if kind == "m":
            mask = _mask(word)
            size = (max(mask.bit_length(), 1) + 63) // 64 * 8
            data[place.offset : place.offset + 4] = pack("<HH", len(data), size)
            data += mask.to_bytes(size, "little")
            return mask > 0
        number = self.address(word) if kind == "p" else _number(key, word)
        if number is None:
            return False
        data[place.offset : place.offset + place.size] = (number % (1 << 8 * place.size)).to_bytes(place.size, "little")
        return True

    def address(self, word: str) -> int:
        """Return an address as it stands there, or one for a function's name."""
        if word in _NULL:
            return 0
        found = _HEX.match(word)
        if found:
            return int(found[1] or found[2], 16)
        name = re.split(r"[+/]", word, maxsplit=1)[0]
        return self.symbols.setdefault(name, _FIRST + 0x100 * len(self.symbols))

    def trace(self) -> Trace:
        if self.stack is not None:
            self.end_stack()
        if not self.total:
            raise BadInput(self.where, "has no event", cause="an empty buffer, or another format")
        table = Table(
            ts=np.array(self.ts),
            cpu=np.array(self.cpu),
            pid=np.array(self.pid),
            type=np.array(self.kind),
            word=np.array(self.word),
            size=np.array(self.size),
            heap=np.frombuffer(bytes(self.heap), np.uint8),
            lost=tuple(self.lost),
            total=self.total,
            first_ns=self.first_ns,
            last_ns=max(self.last_ns.values()),
        ).sorted()
        on_x86 = any(f"{name}_entry" in self.formats for name in VECTORS)
        origin = Origin(
            name=self.where,
            clock="unknown",
            machine="x86_64" if on_x86 else "",
            header_page="",
            symbols=Symbols("".join(f"{at:016x} t {name}\n" for name, at in self.symbols.items()).encode()),
            comms=self.comms,
            notes=tuple(self.notes()),
        )
        return Trace(origin, Formats.of(self.formats.values()), tuple(sorted(self.last_ns)), table, wanted=self.wanted)

    def notes(self) -> list[str]:
        said = ["text does not tell which events were recorded: one that never happened counts as not recorded"]
        if self.coarse:
            said.append("text gives times to the microsecond: what is shorter lasts 0 ns")
        if self.overwritten:
            said.append(f"{self.overwritten} events before the first of this text were overwritten")
        for name, count in sorted(self.unread.items()):
            said.append(f"{count} {name} lines have other fields than are known: they count as lost")
        return said


def _number(key: str, word: str) -> int | None:
    """Return a number, or what one of the words stands for that the kernel prints in a number's place."""
    if key in ("prev_state", "dependency") and word.isdecimal():
        return int(word)
    if key == "prev_state":
        states = word.removesuffix("+").split("|")
        known = all(one in _STATES for one in states)
        return sum(_STATES[one] for one in states) + _PREEMPTED * word.endswith("+") if known else None
    if key == "clone_flags":
        return int(word, 16) if re.fullmatch(r"[0-9a-f]{1,16}", word) else None
    if key == "dependency":
        if word == "NONE":
            return 0
        return 1 << _TICK_NEEDS.index(word) if word in _TICK_NEEDS else None
    found = re.fullmatch(r"-?\d{1,19}|0x[0-9a-f]{1,16}", word)
    return int(word, 16 if "x" in word else 10) if found else None


def _mask(word: str) -> int:
    """Read a list of CPUs such as 0-1,3; 0 where it is none."""
    mask = 0
    for part in word.split(","):
        found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part)
        if found is None or int(found[2] or found[1]) >= 1 << 13:
            return 0
        for cpu in range(int(found[1]), int(found[2] or found[1]) + 1):
            mask |= 1 << cpu
    return mask
