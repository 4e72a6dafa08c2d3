"""What the instructions of an X86_64 litmus test do, as operations on memory.

Modelled: MOV between registers, constants and memory; XCHG with memory, which locks without a prefix; MFENCE, and
LFENCE and SFENCE, which order nothing more for write-back memory (SDM vol. 3, "Memory Ordering in P6 and More Recent
Processor Families"). Anything else makes the test undecided, as do accesses of different sizes to one place and values
beyond 31 bits: they would need a meaning that is not given here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from nostale.contract import BadInput
from nostale.prove.litmus.parse import Line, Test
from nostale.prove.litmus.program import Operation, Program, Wanted


class Undecided(Exception):
    """The library does not decide this test; the argument says what it would need."""


_PLAIN = ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp")
_REGISTERS = {f"r{name}": (f"r{name}", "q") for name in _PLAIN} | {f"e{name}": (f"r{name}", "l") for name in _PLAIN}
_REGISTERS |= {f"r{n}": (f"r{n}", "q") for n in range(8, 16)} | {f"r{n}d": (f"r{n}", "l") for n in range(8, 16)}
_FENCES = ("mfence", "lfence", "sfence")
_ENTRY = re.compile(
    r"(?:(?P<type>u?int(?:32|64)?(?:_t)?)\s+)?(?:(?P<thread>\d+):)?(?P<bracket>\[?)(?P<name>[A-Za-z_]\w*)\]?"
    r"(?:\s*=\s*(?P<value>\S+))?$"
)
_NUMBER = re.compile(r"\$?(0x[0-9a-fA-F]+|\d+)$")
_OPERAND = re.compile(r"\$(?P<number>-?\w+)$|%(?P<register>\w+)$|\((?P<base>%?\w+)\)$|(?P<bare>[A-Za-z_]\w*)$")
_LARGEST = (1 << 31) - 1


@dataclass(slots=True)
class _Names:
    """Numbers for the places, registers and values of a test, in the order they are met."""

    test: Test
    places: dict[str, int] = field(default_factory=dict)
    registers: list[dict[str, int]] = field(default_factory=list)
    values: dict[int, int] = field(default_factory=lambda: {0: 0})
    sizes: dict[int, str] = field(default_factory=dict)
    pointers: dict[tuple[int, str], str] = field(default_factory=dict)

    def place(self, name: str) -> int:
        return self.places.setdefault(name, len(self.places))

    def register(self, thread: int, name: str) -> int:
        if (thread, name) in self.pointers:
            raise Undecided(f"a meaning for addresses as values: {thread}:{name} holds one")
        return self.registers[thread].setdefault(name, len(self.registers[thread]))

    def value(self, text: str, where: str) -> int:
        """Return the number of a value; the test's own sign of a value it cannot have is an `Undecided`."""
        if not _NUMBER.match(text):
            if re.match(r"-\d+$", text):
                raise Undecided(f"values below 0, such as {text} at {where}")
            raise BadInput(where, f"{text!r} is not a number", remedy="such as 1 or 0x10")
        value = int(text.lstrip("$"), 0)
        if value > _LARGEST:
            raise Undecided(f"values beyond 31 bits, such as {text} at {where}")
        return self.values.setdefault(value, len(self.values))


@dataclass(frozen=True, slots=True)
class Translated:
    """A program, and the names of its places, registers and values for telling it."""

    program: Program
    places: tuple[str, ...]
    registers: tuple[tuple[str, ...], ...]
    values: tuple[int, ...]


def translate(test: Test) -> Translated:
    """Return what the test's threads do and what it asks.

    Raises:
        BadInput: an instruction, entry or condition is malformed.
        Undecided: it has something that is not modelled.
    """
    if test.filter:
        raise Undecided(f"filters: {test.filter}")
    if test.handlers:
        raise Undecided("fault handlers")
    if not test.quantifier:
        raise Undecided("a condition: the test asks nothing")
    names = _Names(test, registers=[{} for _ in test.threads])
    memory, first = _initial(test, names)
    threads = tuple(
        tuple(_operation(line, thread, names) for line in lines) for thread, lines in enumerate(test.threads)
    )
    wanted = tuple(
        tuple(_wanted(atom.place, atom.value, names, equal=atom.equal) for atom in clause) for clause in test.clauses()
    )
    registers = tuple(tuple(first.get((thread, name), 0) for name in row) for thread, row in enumerate(names.registers))
    held = tuple(memory.get(place, 0) for place in names.places) or (0,)
    program = Program(threads, registers, held, len(names.values), wanted)
    return Translated(program, tuple(names.places), tuple(map(tuple, names.registers)), tuple(names.values))


def _initial(test: Test, names: _Names) -> tuple[dict[str, int], dict[tuple[int, str], int]]:
    memory: dict[str, int] = {}
    registers: dict[tuple[int, str], int] = {}
    for line in test.initial:
        where = f"{test.path}:{line.number}"
        found = _ENTRY.match(line.text)
        if not found:
            raise BadInput(where, f"{line.text!r} is no entry of an initial state", remedy="such as x=1; or 0:rax=1;")
        value = found["value"]
        if found["thread"] is None:
            place = names.place(found["name"])
            if found["type"] and "64" in found["type"]:
                names.sizes[place] = "q"  # without a type a place is an int
            if value:
                memory[found["name"]] = names.value(value, where)
            continue
        key = (int(found["thread"]), _register(found["name"], where)[0])
        if key[0] >= len(test.threads):
            raise BadInput(where, f"there is no thread {key[0]}", remedy=f"the table has {len(test.threads)}")
        if value and re.match(r"&?[A-Za-z_]\w*$", value):
            names.pointers[key] = value.lstrip("&")
        elif value:
            registers[key] = names.value(value, where)
    return memory, registers


def _register(name: str, where: str) -> tuple[str, str]:
    if name.lower() not in _REGISTERS:
        if re.match(r"[a-d][lh]$|[a-d]x$|r\d+[bw]$|[sd]i$", name.lower()):
            raise Undecided(f"registers narrower than 32 bits, such as {name} at {where}")
        raise BadInput(where, f"no register {name!r}", remedy="such as eax, rbx or r8d")
    return _REGISTERS[name.lower()]


@dataclass(frozen=True, slots=True)
class _Operand:
    kind: str  # number, register or place
    index: int
    size: str = ""


def _operand(text: str, thread: int, where: str, names: _Names) -> _Operand:
    found = _OPERAND.match(text)
    if not found:
        raise BadInput(where, f"the operand {text!r} cannot be read", remedy="such as $1, %eax or (x)")
    if found["number"]:
        return _Operand("number", names.value(found["number"], where))
    if found["register"]:
        name, size = _register(found["register"], where)
        return _Operand("register", names.register(thread, name), size)
    base = found["base"] or found["bare"]
    if base.startswith("%"):
        name, _ = _register(base[1:], where)
        if (thread, name) not in names.pointers:
            raise Undecided(f"addresses that the test computes: {text} at {where}")
        base = names.pointers[thread, name]
    return _Operand("place", names.place(base))


def _operation(line: Line, thread: int, names: _Names) -> Operation:
    where = f"{names.test.path}:{line.number}"
    mnemonic, _, rest = line.text.partition(" ")
    word = mnemonic.lower()
    if word in _FENCES:
        return Operation("fence" if word == "mfence" else "load_fence" if word == "lfence" else "store_fence")
    if word == "lock" and rest.split()[0].lower() in ("xchg", "xchgl", "xchgq"):
        word, _, rest = rest.strip().lower().partition(" ")
    if word not in ("mov", "movl", "movq", "xchg", "xchgl", "xchgq"):
        raise Undecided(f"the instruction {line.text!r} at {where}; modelled are mov, xchg, mfence, lfence, sfence")
    operands = [_operand(part.strip(), thread, where, names) for part in rest.split(",")]
    if len(operands) != 2:
        raise BadInput(where, f"{line.text!r} has {len(operands)} operands", remedy="write a source and a target")
    source, target = operands
    size = word[-1] if word[-1] in "lq" else (source.size or target.size)
    if any(one.size and one.size != size for one in operands) or not size:
        raise Undecided(f"operands of different or unknown sizes: {line.text!r} at {where}")
    for one in operands:
        if one.kind == "place" and names.sizes.get(one.index, "l") != size:
            raise Undecided(f"an access that is not of its place's size: {line.text!r} at {where}")
    return _exchange(line, where, source, target) if word.startswith("xchg") else _move(line, where, source, target)


def _exchange(line: Line, where: str, source: _Operand, target: _Operand) -> Operation:
    kinds = {source.kind: source, target.kind: target}
    if set(kinds) != {"register", "place"}:
        raise Undecided(f"an exchange that is not of a register with memory: {line.text!r} at {where}")
    register = kinds["register"].index
    return Operation("exchange", kinds["place"].index, register, source=register)


def _move(line: Line, where: str, source: _Operand, target: _Operand) -> Operation:
    from_register = source.index if source.kind == "register" else -1
    match source.kind, target.kind:
        case "place", "register":
            return Operation("load", source.index, target.index)
        case "number" | "register", "register":
            return Operation("move", register=target.index, source=from_register, value=source.index)
        case "number" | "register", "place":
            return Operation("store", target.index, source=from_register, value=source.index)
    raise BadInput(where, f"{line.text!r} cannot be", remedy="a MOV has a register on one side, or a constant left")


def _wanted(place: str, value: str, names: _Names, *, equal: bool) -> Wanted:
    where = f"{names.test.path}:{names.test.condition.number}"
    number = names.value(value, where)
    thread, colon, name = place.partition(":")
    if not colon:
        return Wanted(-1, names.place(place), number, equal)
    if int(thread) >= len(names.registers):
        raise BadInput(where, f"there is no thread {thread}", remedy=f"the table has {len(names.registers)}")
    return Wanted(int(thread), names.register(int(thread), _register(name, where)[0]), number, equal)
