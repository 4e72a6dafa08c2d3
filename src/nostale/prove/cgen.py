"""Write a system as C, as explorer/system.h wants it: packed states, and a function that gives each one's successors.

The explorer itself is the same for all systems of a size: it is compiled once and linked to each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nostale.contract import BadInput
from nostale.prove.ir import (
    Assume,
    Binary,
    Choose,
    Const,
    Expr,
    If,
    Let,
    Load,
    LoadAt,
    Note,
    Op,
    Rule,
    Store,
    StoreAt,
    System,
    Temp,
    Unary,
    Violate,
    interval,
    writes,
)
from nostale.prove.layout import Field, Layout, layout
from nostale.prove.symmetry import moves, refuse_bad_shape
from nostale.prove.symmetrygen import symmetry_in_c

# In masks of 64 bits, the last of which stands for a value that left its range.
MOST_PROPERTIES = 63


@dataclass(frozen=True, slots=True)
class Source:
    """A system as C.

    Args:
        text: complete but for the headers' folder.
        sizes: what the explorer that it is linked to must be compiled for: macros and their numbers.
    """

    text: str
    sizes: tuple[tuple[str, int], ...]


def generate(system: System) -> Source:
    """Return the C of a system.

    Raises:
        BadInput: it asks more than the explorer can hold apart.
    """
    if system.n_properties > MOST_PROPERTIES:
        raise BadInput(
            f"model {system.name}",
            f"asks {system.n_properties} properties, the explorer holds {MOST_PROPERTIES} apart",
            remedy="make two models of it",
        )
    refuse_bad_shape(system)
    writer = _Writer(system, layout(system))
    words, lanes = writer.layout.words, max(1, len(_lanes(system)))
    symmetric = bool(writer.layout.records)
    text = [f"#define WORDS {words}", '#include "system.h"', *writer.tables(), *writer.functions()]
    if symmetric:
        text += symmetry_in_c(system, writer.layout, _lanes(system))
    sizes = (("WORDS", words), ("LANE_WORDS", (lanes + 63) // 64), ("SYMMETRIC", int(symmetric)))
    return Source("\n".join(text) + "\n", sizes)


def _lanes(system: System) -> list[str]:
    return list(dict.fromkeys(rule.lane for rule in system.rules))


@dataclass(slots=True)
class _Writer:
    system: System
    layout: Layout
    number: int = 0
    local: frozenset[int] = frozenset()

    @property
    def fields(self) -> tuple[Field, ...]:
        return self.layout.fields

    def tables(self) -> list[str]:
        """How much there is of each kind, the initial state, the lane of each rule, and where each slot stands."""
        words = [0] * self.layout.words
        for slot, field in zip(self.system.slots, self.fields):
            words[field.word] |= (slot.first - slot.low) << field.shift
        lanes = {lane: number for number, lane in enumerate(_lanes(self.system))}
        of_rules = ", ".join(str(lanes[rule.lane]) for rule in self.system.rules)
        of_slots = ", ".join(f"{{{f.word}, {f.shift}, {_mask(f.bits)}}}" for f in self.fields)
        scenes = sum(1 << p.number for p in self.system.predicates if p.kind == "sometimes")
        sizes = {
            "rules": max(1, len(self.system.rules)),
            "properties": self.system.n_properties,
            "lanes": max(1, len(lanes)),
            "slots": len(self.system.slots),
            "moves": len(moves(self.system)),
            "scenes": f"{scenes:#x}ull",
        }
        return [
            f"const struct sizes SIZES = {{{', '.join(f'.{name} = {size}' for name, size in sizes.items())}}};",
            f"const struct state INITIAL = {{{{{', '.join(f'{word:#x}ull' for word in words)}}}}};",
            f"const uint32_t LANE[] = {{{of_rules or 0}}};",
            f"const struct field FIELD[] = {{{of_slots or '{0}'}}};",
        ]

    def functions(self) -> list[str]:
        lines = ["void successors(const struct state *restrict s, struct successors *restrict out)", "{"]
        lines += [*self.unpacked(), "struct candidate *to = &out->candidate[out->n];"]
        for numbers, slot in grouped(self.system.rules):
            lines += self.choice(slot, numbers) if slot is not None else self.rule(numbers.start, set())
        lines += ["out->n = (uint32_t)(to - out->candidate);", "}"]
        lines += ["uint64_t look(const struct state *s)", "{", *self.unpacked(), "uint64_t m = 0;"]
        lines += [f"if ({self.expr(p.condition)}) m |= 1ull << {p.number};" for p in self.system.predicates]
        lines += ["return m;", "}", "int ended(const struct state *s)", "{", *self.unpacked()]
        return [*lines, f"return {self.expr(self.system.ended)};", "}"]

    def unpacked(self) -> list[str]:
        """Read every slot into a variable; the compiler drops those that a function does not use."""
        lines = [f"const uint64_t w{word} = s->w[{word}]; (void)w{word};" for word in range(self.layout.words)]
        for index, (slot, field) in enumerate(zip(self.system.slots, self.fields)):
            low = f" + {slot.low}" if slot.low else ""
            lines.append(
                f"const int32_t v{index} = (int32_t)(w{field.word} >> {field.shift} & {_mask(field.bits)}){low};"
                f" (void)v{index};"
            )
        return lines

    def choice(self, slot: int, numbers: range) -> list[str]:
        """Rules that each want another value of one slot, such as a program counter: only one value's are looked at."""
        by_value: dict[int, list[int]] = {}
        for number in numbers:
            by_value.setdefault(plain_guards(self.system.rules[number])[0][slot], []).append(number)
        lines = [f"switch (v{slot}) {{"]
        for value, those in by_value.items():
            lines += [f"case {value}:", *(line for number in those for line in self.rule(number, {slot})), "break;"]
        return [*lines, "default: break;", "}"]

    def rule(self, number: int, known: set[int]) -> list[str]:
        """One rule; what its guard wants of the slots in `known` is known to be so."""
        self.number = number
        rule = self.system.rules[number]
        plain, others, effects = plain_guards(rule)
        lines = [f"{{ /* {rule.name.replace('*/', '')} */"]
        lines += self.masked({slot: value for slot, value in plain.items() if slot not in known})
        lines += [line for guard in others for line in self.op(Assume(guard))]
        written = sorted(set(writes(rule.body)))
        self.local = frozenset(written)
        lines += [f"int32_t n{slot} = v{slot};" for slot in written]
        lines += [f"int32_t t{temp} = 0;" for temp in sorted(set(_temps(rule.body)))]
        breaks = any(_violates(op) for op in effects)
        lines += ["uint64_t broken = 0;"] if breaks else []
        lines += [line for op in effects for line in self.op(op)]
        lines += self.packed(written)
        lines += [f"to->rule = {number}; to++;"]
        if breaks:
            lines += [f"if (broken) out->breaking[out->n_breaking++] = (struct breaking){{broken, {number}}};"]
        self.local = frozenset()
        return [*lines, "}", f"after{number}:;"]

    def masked(self, wanted: dict[int, int]) -> list[str]:
        """Compare several slots of a word with what they should be in one go."""
        masks: dict[int, tuple[int, int]] = {}
        for slot, value in wanted.items():
            field, (mask, want) = self.fields[slot], masks.get(self.fields[slot].word, (0, 0))
            value -= self.system.slots[slot].low
            masks[field.word] = mask | ((1 << field.bits) - 1) << field.shift, want | value << field.shift
        return [
            f"if ((w{word} & {mask:#x}ull) != {want:#x}ull) goto after{self.number};"
            for word, (mask, want) in masks.items()
        ]

    def packed(self, written: list[int]) -> list[str]:
        """Write the words of the successor, each once."""
        lines = []
        for word in range(self.layout.words):
            parts, kept = [], (1 << 64) - 1
            for slot in written:
                field = self.fields[slot]
                if field.word == word:
                    kept &= ~(((1 << field.bits) - 1) << field.shift)
                    low = self.system.slots[slot].low
                    value = f"(n{slot} - ({low}))" if low else f"n{slot}"
                    parts.append(f"(uint64_t)(uint32_t){value} << {field.shift}")
            rest = f"(w{word} & {kept:#x}ull)" if parts else f"w{word}"
            lines.append(f"to->state.w[{word}] = {' | '.join([rest, *parts])};")
        return lines

    def op(self, op: Op) -> list[str]:
        match op:
            case Assume(condition):
                return [*self.indices(condition), f"if (!({self.expr(condition)})) goto after{self.number};"]
            case Let(number, value):
                return [*self.indices(value), f"t{number} = {self.expr(value)};"]
            case Store(slot, value, _):
                lines = [*self.indices(value), f"{{ int32_t value = {self.expr(value)};"]
                return [*lines, *self.range_check(value, slot), f"n{slot} = value; }}"]
            case StoreAt(base, size, index, value, _):
                # Everything is read before anything is written, and in the interpreter's order.
                lines = [*self.indices(index), *self.index_check(index, size), *self.indices(value)]
                lines.append(f"{{ int32_t value = {self.expr(value)}; switch ({self.expr(index)}) {{")
                for offset, cell in enumerate(range(base, base + size)):
                    lines.append(f"case {offset}:")
                    lines += [*self.range_check(value, cell), f"n{cell} = value; break;"]
                return [*lines, "} }"]
            case If(condition, then, other):
                lines = [*self.indices(condition), f"if ({self.expr(condition)}) {{"]
                lines += [line for inner in then for line in self.op(inner)]
                if other:
                    lines += ["} else {", *(line for inner in other for line in self.op(inner))]
                return [*lines, "}"]
            case Violate(number):
                return [f"broken |= 1ull << {number};"]
            case Note():
                return []

    def range_check(self, expr: Expr, slot: int) -> list[str]:
        """Check the C variable `value`, which holds `expr`, unless its range says that there is no need."""
        held = self.system.slots[slot]
        least, most = interval(expr, self.system.slots)
        if held.low <= least and most <= held.high:
            return []
        return [f"if (value < {held.low} || value > {held.high}) {self.fail()}"]

    def index_check(self, index: Expr, size: int) -> list[str]:
        least, most = interval(index, self.system.slots)
        if least >= 0 and most < size:
            return []
        return [f"{{ int32_t at = {self.expr(index)}; if (at < 0 || at >= {size}) {self.fail()} }}"]

    def fail(self) -> str:
        return (
            f"{{ out->breaking[out->n_breaking++] = (struct breaking){{1ull << OUT_OF_RANGE, {self.number}}};"
            f" goto after{self.number}; }}"
        )

    def indices(self, expr: Expr) -> list[str]:
        """Check the indices inside an expression before it is used, those in conditions that guard others apart."""
        match expr:
            case LoadAt(_, size, index, _):
                return [*self.indices(index), *self.index_check(index, size)]
            case Unary(_, operand):
                return self.indices(operand)
            case Binary("and" | "or" as op, left, right):
                inner = self.indices(right)
                guard = self.expr(left) if op == "and" else f"!({self.expr(left)})"
                return [*self.indices(left), *([f"if ({guard}) {{", *inner, "}"] if inner else [])]
            case Binary(_, left, right):
                return [*self.indices(left), *self.indices(right)]
            case Choose(condition, then, other):
                first, second = self.indices(then), self.indices(other)
                both = [f"if ({self.expr(condition)}) {{", *first, "} else {", *second, "}"] if first or second else []
                return [*self.indices(condition), *both]
            case _:
                return []

    def expr(self, expr: Expr) -> str:
        match expr:
            case Const(value):
                return str(value) if value >= 0 else f"({value})"
            case Load(slot):
                return self.slot(slot)
            case LoadAt(base, size, index, _):
                return self.strided(expr) or self.chain(base, size, self.expr(index))
            case Temp(number):
                return f"t{number}"
            case Unary("not", operand):
                return f"!({self.expr(operand)})"
            case Unary(_, operand):
                return f"-({self.expr(operand)})"
            case Binary(op, left, right):
                return f"({self.expr(left)} {_C.get(op, op)} {self.expr(right)})"
            case Choose(condition, then, other):
                return f"({self.expr(condition)} ? {self.expr(then)} : {self.expr(other)})"

    def strided(self, read: LoadAt) -> str | None:
        """Shift a row's element down, where the row lies evenly in one word and the index cannot leave it."""
        row, held = self.fields[read.base : read.base + read.size], self.system.slots[read.base]
        low, high = interval(read.index, self.system.slots)
        step = row[1].shift - row[0].shift if len(row) > 1 else 0
        even = all(
            f.word == row[0].word and f.bits == row[0].bits and f.shift == row[0].shift + k * step
            for k, f in enumerate(row)
        )
        alike = all(slot.low == held.low for slot in self.system.slots[read.base : read.base + read.size])
        touched = self.local.intersection(range(read.base, read.base + read.size))
        if low < 0 or high >= read.size or not even or not alike or touched:
            return None
        shift = f"({row[0].shift} + ({step}) * ({self.expr(read.index)}))"
        return f"((int32_t)(w{row[0].word} >> {shift} & {_mask(row[0].bits)}) + ({held.low}))"

    def chain(self, base: int, size: int, index: str) -> str:
        """Pick one of a row of variables: rows are short, and the variables live in registers."""
        text = self.slot(base + size - 1)
        for offset in reversed(range(size - 1)):
            text = f"({index} == {offset} ? {self.slot(base + offset)} : {text})"
        return text

    def slot(self, slot: int) -> str:
        return f"n{slot}" if slot in self.local else f"v{slot}"


def plain_guards(rule: Rule) -> tuple[dict[int, int], list[Expr], tuple[Op, ...]]:
    """Split a rule's body: slots that must equal a number, the other guards before any effect, and the rest.

    A guard that may raise an error is not overtaken by one that stands after it.
    """
    plain: dict[int, int] = {}
    others: list[Expr] = []
    body = rule.body
    safe = True
    while body and isinstance(body[0], Assume):
        for part in _parts(body[0].condition):
            match part:
                case Binary("==", Load(slot), Const(value)) if safe and plain.get(slot, value) == value:
                    plain[slot] = value
                case _:
                    others.append(part)
                    safe = safe and not any(True for _ in _indexed(part))
        body = body[1:]
    return plain, others, body


def _parts(condition: Expr) -> Iterator[Expr]:
    if isinstance(condition, Binary) and condition.op == "and":
        yield from _parts(condition.left)
        yield from _parts(condition.right)
    else:
        yield condition


def _indexed(expr: Expr) -> Iterator[LoadAt]:
    match expr:
        case LoadAt():
            yield expr
        case Unary(_, operand):
            yield from _indexed(operand)
        case Binary(_, left, right):
            yield from _indexed(left)
            yield from _indexed(right)
        case Choose(condition, then, other):
            for part in (condition, then, other):
                yield from _indexed(part)


def grouped(rules: tuple[Rule, ...]) -> Iterator[tuple[range, int | None]]:
    """Yield runs of rules that all want a number of the same slot, with that slot; None for a rule on its own."""
    wants = [plain_guards(rule)[0] for rule in rules]
    at = 0
    while at < len(rules):
        best, shared = at + 1, None
        for slot in wants[at]:
            end = at
            while end < len(rules) and slot in wants[end]:
                end += 1
            if end - at > 2 and end > best:
                best, shared = end, slot
        yield range(at, best), shared
        at = best


def _violates(op: Op) -> bool:
    return isinstance(op, Violate) or (isinstance(op, If) and any(map(_violates, (*op.then, *op.other))))


def _mask(bits: int) -> str:
    return f"{(1 << bits) - 1:#x}"


_C = {"and": "&&", "or": "||"}


def _temps(body: tuple[Op, ...]) -> Iterator[int]:
    for op in body:
        if isinstance(op, Let):
            yield op.number
        elif isinstance(op, If):
            yield from _temps(op.then)
            yield from _temps(op.other)
