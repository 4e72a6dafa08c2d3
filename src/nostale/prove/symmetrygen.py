"""Write the symmetry of a system as C: sorting and permuting the records of interchangeable members."""

from __future__ import annotations

from nostale.prove.ir import System
from nostale.prove.layout import Layout, Record
from nostale.prove.symmetry import lanes_of_members, moves

_SORT = """static INLINE int above{g}(const uint64_t *a, const uint64_t *b)
{{
for (int i = 0; i < {words}; i++) if (a[i] != b[i]) return a[i] > b[i];
return 0;
}}
static INLINE void sort{g}(uint64_t r[{n}][{words}])
{{
for (int i = 1; i < {n}; i++) for (int j = i; j && above{g}(r[j - 1], r[j]); j--) for (int k = 0; k < {words}; k++) {{
uint64_t other = r[j][k]; r[j][k] = r[j - 1][k]; r[j - 1][k] = other; }}
}}"""


def symmetry_in_c(system: System, packed: Layout, lanes: list[str]) -> list[str]:
    """Return the functions `canonical`, `lane_after` and `moved` of a system that has interchangeable members."""
    lines: list[str] = []
    for g, records in enumerate(packed.records):
        lines += [_SORT.format(g=g, n=len(records), words=records[0].words)]
        lines += [f"static INLINE void load{g}(const struct state *s, uint64_t r[{len(records)}][{records[0].words}])"]
        lines += ["{", *(line for k, record in enumerate(records) for line in _load(k, record)), "}"]
        lines += [f"static INLINE void store{g}(struct state *s, uint64_t r[{len(records)}][{records[0].words}])"]
        lines += ["{", *(line for k, record in enumerate(records) for line in _store(k, record)), "}"]
    rows = [f"uint64_t r{g}[{len(records)}][{records[0].words}];" for g, records in enumerate(packed.records)]
    groups = range(len(packed.records))
    lines += ["void canonical(struct state *s)", "{", *rows]
    lines += [f"load{g}(s, r{g}); sort{g}(r{g}); store{g}(s, r{g});" for g in groups]
    lines += ["}", *_lane_after(system, packed, lanes)]
    for g in groups:
        whose = ", ".join("{" + ", ".join(map(str, move[g])) + "}" for move in moves(system))
        lines += [f"static const uint8_t WHOSE{g}[][{len(packed.records[g])}] = {{{whose}}};"]
    lines += ["void moved(const struct state *s, int move, struct state *to)", "{", "*to = *s;", *rows]
    for g, records in enumerate(packed.records):
        lines += [f"uint64_t p{g}[{len(records)}][{records[0].words}]; load{g}(s, r{g});"]
        lines += [f"for (int i = 0; i < {len(records)}; i++)"]
        lines += [f"__builtin_memcpy(p{g}[i], r{g}[WHOSE{g}[move][i]], sizeof p{g}[i]);"]
        lines += [f"store{g}(to, p{g});"]
    return [*lines, "}"]


def _load(k: int, record: Record) -> list[str]:
    if record.words > 1 or record.bits == 64:
        return [f"r[{k}][{i}] = s->w[{record.word + i}];" for i in range(record.words)]
    return [f"r[{k}][0] = s->w[{record.word}] >> {record.shift} & {(1 << record.bits) - 1:#x}ull;"]


def _store(k: int, record: Record) -> list[str]:
    if record.words > 1 or record.bits == 64:
        return [f"s->w[{record.word + i}] = r[{k}][{i}];" for i in range(record.words)]
    mask = ((1 << record.bits) - 1) << record.shift
    return [f"s->w[{record.word}] = (s->w[{record.word}] & ~{mask:#x}ull) | r[{k}][0] << {record.shift};"]


def _lane_after(system: System, packed: Layout, lanes: list[str]) -> list[str]:
    """A member's own lane goes where its record goes; equal records are alike, so any of their places will do."""
    owners = lanes_of_members(system)
    number = {lane: index for index, lane in enumerate(lanes)}
    at = {place: number[lane] for lane, place in owners.items()}
    lines = ["uint32_t lane_after(uint32_t lane, const struct state *s)", "{", "(void)s;"]
    for g, records in enumerate(packed.records):
        n, words = len(records), records[0].words
        own = [at.get((g, k), -1) for k in range(n)]
        if -1 in own:
            continue
        lines += [f"{{ static const uint32_t own[{n}] = {{{', '.join(map(str, own))}}}; uint64_t r[{n}][{words}];"]
        lines += [f"for (int me = 0; me < {n}; me++) if (own[me] == lane) {{ int rank = 0; load{g}(s, r);"]
        lines += [f"for (int i = 0; i < {n}; i++) rank += above{g}(r[me], r[i]) || (i < me && !above{g}(r[i], r[me]));"]
        lines += ["return own[rank]; } }"]
    return [*lines, "return lane;", "}"]
