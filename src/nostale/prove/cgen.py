"""Write a system as C: packed states, and a function that gives every successor of one. The search is explorer.c."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

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
    Slot,
    Store,
    StoreAt,
    System,
    Temp,
    Unary,
    Violate,
    interval,
    writes,
)


@dataclass(frozen=True, slots=True)
class Field:
    """Where a slot stands in the packed state: word, shift and width in bits."""

    word: int
    shift: int
    bits: int


def layout(slots: tuple[Slot, ...]) -> tuple[list[Field], int]:
    """Pack the slots, each inside one word of 64 bits; return their places and the number of words."""
    fields: list[Field] = []
    word = used = 0
    for slot in slots:
        if used + slot.bits > 64:
            word, used = word + 1, 0
        fields.append(Field(word, used, slot.bits))
        used += slot.bits
    return fields, word + 1


def generate(system: System) -> str:
    """Return the whole C program that explores the system."""
    fields, words = layout(system.slots)
    writer = _Writer(system, fields)
    lines = [
        "#include <stdint.h>",
        f"#define WORDS {words}",
        f"#define RULES {len(system.rules)}",
        f"#define PROPERTIES {system.n_properties}",
        "struct state { uint64_t w[WORDS]; };",
        "struct successors { uint32_t n, error; struct state state[RULES]; uint32_t rule[RULES];"
        " uint64_t broken[RULES]; };",
        f"static const struct state INITIAL = {{{{{', '.join(_initial(system, fields, words))}}}}};",
        "static inline void successors(const struct state *restrict s, struct successors *restrict out)",
        "{",
        *writer.unpacked(),
    ]
    for number, rule in enumerate(system.rules):
        lines += writer.rule(number, rule)
    lines += ["}", "static inline uint64_t look(const struct state *s)", "{", *writer.unpacked(), "uint64_t m = 0;"]
    lines += [f"if ({writer.expr(p.condition)}) m |= 1ull << {p.number};" for p in system.predicates]
    lines += ["return m;", "}", "static inline int ended(const struct state *s)", "{", *writer.unpacked()]
    lines += [f"return {writer.expr(system.ended)};", "}", ""]
    return "\n".join(lines) + files("nostale.prove").joinpath("explorer.c").read_text()


def _initial(system: System, fields: list[Field], words: int) -> Iterator[str]:
    packed = [0] * words
    for slot, field in zip(system.slots, fields):
        packed[field.word] |= (slot.first - slot.low) << field.shift
    return (f"{word:#x}ull" for word in packed)


@dataclass(slots=True)
class _Writer:
    system: System
    fields: list[Field]
    number: int = 0
    local: frozenset[int] = frozenset()

    def unpacked(self) -> list[str]:
        """Read every slot into a variable; the compiler drops those that a function does not use."""
        lines = ["(void)s;"]
        for index, (slot, field) in enumerate(zip(self.system.slots, self.fields)):
            mask = (1 << field.bits) - 1
            low = f" + {slot.low}" if slot.low else ""
            lines.append(
                f"const int32_t v{index} = (int32_t)(s->w[{field.word}] >> {field.shift} & {mask:#x}){low};"
                f" (void)v{index};"
            )
        return lines

    def rule(self, number: int, rule: Rule) -> list[str]:
        self.number = number
        guards = 0
        while guards < len(rule.body) and isinstance(rule.body[guards], Assume):
            guards += 1
        lines = [f"do {{ /* {rule.name.replace('*/', '')} */"]
        lines += [line for op in rule.body[:guards] for line in self.op(op)]
        self.local = frozenset(writes(rule.body))
        lines += [f"int32_t n{slot} = v{slot};" for slot in sorted(self.local)]
        lines += ["uint64_t broken = 0;"]
        lines += [f"int32_t t{temp} = 0;" for temp in sorted(set(_temps(rule.body)))]
        lines += [line for op in rule.body[guards:] for line in self.op(op)]
        lines.append("struct state *t = &out->state[out->n]; *t = *s;")
        lines += [self.packed(slot) for slot in sorted(self.local)]
        lines += [f"out->rule[out->n] = {number}; out->broken[out->n++] = broken;", "} while (0);"]
        self.local = frozenset()
        return lines

    def packed(self, slot: int) -> str:
        field, held = self.fields[slot], self.system.slots[slot]
        mask = ((1 << field.bits) - 1) << field.shift
        return (
            f"t->w[{field.word}] = (t->w[{field.word}] & ~{mask:#x}ull)"
            f" | (uint64_t)(n{slot} - ({held.low})) << {field.shift};"
        )

    def op(self, op: Op) -> list[str]:
        match op:
            case Assume(condition):
                return [*self.indices(condition), f"if (!({self.expr(condition)})) break;"]
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
        return f"{{ out->error = {self.number + 1}; return; }}"

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
                return self.chain(base, size, self.expr(index))
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

    def chain(self, base: int, size: int, index: str) -> str:
        """Pick one of a row of variables: rows are short, and the variables live in registers."""
        text = self.slot(base + size - 1)
        for offset in reversed(range(size - 1)):
            text = f"({index} == {offset} ? {self.slot(base + offset)} : {text})"
        return text

    def slot(self, slot: int) -> str:
        return f"n{slot}" if slot in self.local else f"v{slot}"


_C = {"and": "&&", "or": "||"}


def _temps(body: tuple[Op, ...]) -> Iterator[int]:
    for op in body:
        if isinstance(op, Let):
            yield op.number
        elif isinstance(op, If):
            yield from _temps(op.then)
            yield from _temps(op.other)
