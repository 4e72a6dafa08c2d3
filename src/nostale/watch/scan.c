/*
 * The steps of reading a trace that are worth compiling: finding the events of ring-buffer pages, merging the CPUs, and
 * counting system calls in which nothing happened instead of keeping them. scanner.py calls them; ring.py and build.py
 * say the same of the first two in numpy.
 *
 * Source: kernel/trace/ring_buffer.c, include/linux/ring_buffer.h (enum ring_buffer_type), v6.12.
 */
#include <stdint.h>
#include <string.h>

enum { PADDING = 29, TIME_EXTEND = 30, TIME_STAMP = 31 };
enum { DROP, KEEP, ENTER, EXIT, FAULT };           /* what a kind of event is to us */
enum { FOLDS = 1, GAP = 2, STAYS = 4 };            /* marks of a row */
enum { BAD_CLAIM = 1, BAD_OVERRUN = 2, BAD_SHORT = 3, BAD_TIME = 4 };
#define MISSED (1u << 31)
#define STORED (1u << 30)
#define COMMIT ((1u << 20) - 1)
#define STAMP_TOP (0x1Full << 59)

/* The system calls that are kept whatever happens in them: by number, which a sys_enter has at `number_at`. */
struct staying {
	int64_t number_at, n;
	const uint8_t *stays;
};

struct layout {
	int64_t page_bytes, commit_at, data_at, type_at, pid_at;
	const uint8_t *fate;                       /* 65536 of DROP..FAULT */
	struct staying calls;
};

/* Rows of one CPU, in the order written; `event` is where a row's bytes are. */
struct rows {
	int64_t *ts;
	const uint8_t **event;
	int32_t *pid, *size;
	uint16_t *type;
	uint8_t *mark;
	int64_t used;
};

/* What was met on one CPU so far; lost[] holds triples of last time before, first time after, count or -1. */
struct state {
	int64_t events, first_ns, last_ns, backwards, n_lost, bad, bad_page, bad_at;
	int64_t *counts;                           /* 65536 */
	int64_t *lost;
};

static uint32_t word(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, 4);
	return value;
}

static uint64_t words(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, 8);
	return value;
}

/* Whether the call that is entered is kept: one of those, or one of which is not known which it is. */
static int stays(const struct staying *calls, const uint8_t *event, int64_t size)
{
	uint64_t number;

	if (size < calls->number_at + 8)
		return 1;
	number = words(event + calls->number_at);
	return number < (uint64_t)calls->n && calls->stays[number];
}

static int bad(struct state *state, int64_t what, int64_t page, int64_t at)
{
	state->bad = what;
	state->bad_page = page;
	state->bad_at = at;
	return 1;
}

/* Find every event of the pages at `raw`: 0, or 1 with state->bad set. */
static int scan(const struct layout *layout, const uint8_t *raw, int64_t n_pages, struct rows *rows,
		struct state *state)
{
	int64_t room = layout->page_bytes - layout->data_at;

	for (int64_t page = 0; page < n_pages; page++) {
		const uint8_t *start = raw + page * layout->page_bytes;
		const uint8_t *at = start + layout->data_at;
		uint64_t ts = words(start), commit = words(start + layout->commit_at);
		int64_t used = commit & COMMIT;
		const uint8_t *end = at + used;
		int gap = 0;
		int64_t *lost = 0;

		if (used > room || used % 4)
			return bad(state, BAD_CLAIM, page, used);
		if (commit & MISSED) {
			uint64_t count = 0;

			lost = state->lost + 3 * state->n_lost++;
			if (commit & STORED && used + 8 <= room) {
				count = words(end) & ((1ull << 62) - 1);
				count = count ? count : 1;
			}
			lost[0] = state->events ? state->last_ns : INT64_MIN / 2;
			lost[1] = (int64_t)ts;
			lost[2] = count ? (int64_t)count : -1;
			gap = GAP;
		}
		while (at < end) {
			uint32_t head = word(at), kind = head & 31;
			uint64_t delta = head >> 5, extra = at + 8 <= end ? word(at + 4) : 0;
			int64_t left = end - at, length, size = 4 * kind;
			const uint8_t *event = at + 4;

			if (kind == 0) {
				length = extra >= 4 ? 4 + (int64_t)((extra + 3) / 4 * 4) : left + 1;
				event = at + 8;
				size = (int64_t)extra - 4;
			} else if (kind < PADDING) {
				length = 4 + size;
			} else if (kind == PADDING) {
				/* Without a delta it fills the page, with one it is a discarded event. */
				length = delta ? 4 + (int64_t)((extra + 3) / 4 * 4) : left;
			} else {
				length = 8;
			}
			if (kind == TIME_STAMP) {
				uint64_t stamp = delta | extra << 27 | (ts & STAMP_TOP);

				ts = stamp < ts ? stamp + (1ull << 59) : stamp;
			} else {
				ts += kind == TIME_EXTEND ? delta | extra << 27 : delta;
			}
			if (length > left)
				return bad(state, BAD_OVERRUN, page, at - start);
			at += length;
			if (kind >= PADDING)
				continue;
			if (size < layout->type_at + 2 || size < layout->pid_at + 4)
				return bad(state, BAD_SHORT, page, size);
			if (ts >> 62)
				return bad(state, BAD_TIME, page, 0);
			uint16_t type = (uint16_t)(event[layout->type_at] | event[layout->type_at + 1] << 8);

			if (lost)
				lost[1] = (int64_t)ts;
			lost = 0;
			if (!state->events++)
				state->first_ns = (int64_t)ts;
			else if ((int64_t)ts < state->last_ns)
				state->backwards = 1;
			state->last_ns = (int64_t)ts;
			state->counts[type]++;
			if (layout->fate[type] == DROP)
				continue;
			int64_t row = rows->used++;

			rows->ts[row] = (int64_t)ts;
			rows->pid[row] = (int32_t)word(event + layout->pid_at);
			rows->type[row] = type;
			rows->size[row] = (int32_t)size;
			rows->event[row] = event;
			rows->mark[row] = (uint8_t)gap;
			if (layout->fate[type] == ENTER && stays(&layout->calls, event, size))
				rows->mark[row] |= STAYS;
			gap = 0;
		}
	}
	return 0;
}

/* Find every event of `n` pieces of whole pages: 0, or 1 with state->bad set. There is room for a row every 8 bytes. */
int nostale_scan(const struct layout *layout, const uint8_t *const *raw, const int64_t *n_pages, int64_t n,
		 struct rows *rows, struct state *state)
{
	int64_t before = 0;

	for (int64_t i = 0; i < n; i++) {
		if (scan(layout, raw[i], n_pages[i], rows, state)) {
			state->bad_page += before;
			return 1;
		}
		before += n_pages[i];
	}
	return 0;
}

static int is_call(const struct rows *rows, const uint8_t *fate, int64_t at)
{
	return at + 1 < rows->used && fate[rows->type[at]] == ENTER && fate[rows->type[at + 1]] == EXIT &&
	       rows->pid[at] == rows->pid[at + 1] && !(rows->mark[at] & STAYS) && !(rows->mark[at + 1] & GAP);
}

/*
 * Mark system calls from row `at` on that nothing else happened in, and faults, that are followed by another such: no
 * join can end in one, and the way out of it led to no switch.
 */
void nostale_mark(struct rows *rows, const uint8_t *fate, int64_t at)
{
	while (at < rows->used) {
		int call = is_call(rows, fate, at);
		int64_t next = at + 1 + call;

		if ((call || fate[rows->type[at]] == FAULT) && next < rows->used && !(rows->mark[next] & GAP) &&
		    (fate[rows->type[next]] == FAULT || is_call(rows, fate, next))) {
			rows->mark[at] |= FOLDS;
			rows->mark[next - 1] |= FOLDS;
		}
		at = next;
	}
}

struct table {
	int64_t *ts;
	uint32_t *word;                            /* where a row's bytes begin in the heap, by four */
	int32_t *pid, *size;
	uint16_t *type, *cpu;
	int64_t used;
	uint8_t *heap;                             /* the bytes of all rows */
	int64_t heap_used;
	uint8_t *open;                             /* a bit a thread: it is in a call that stands in the table */
	int64_t n_open;
	int64_t *folded_key, *folded_count;        /* by CPU << 32 | thread, open addressing, 0 is free */
	int64_t n_folded, folded_used;
	const int32_t *from, *until;               /* 65536 each: which of an event's bytes are kept, by four */
};

static int count_folded(struct table *table, uint16_t cpu, int32_t pid)
{
	int64_t key = (int64_t)cpu << 32 | (uint32_t)pid, mask = table->n_folded - 1;
	int64_t at = (int64_t)(((uint64_t)key * 0x9E3779B97F4A7C15ull) >> 40) & mask;

	while (table->folded_key[at] && table->folded_key[at] != key)
		at = (at + 1) & mask;
	if (!table->folded_key[at]) {
		if (table->folded_used * 4 >= table->n_folded * 3)
			return 0;
		table->folded_used++;
		table->folded_key[at] = key;
	}
	table->folded_count[at]++;
	return 1;
}

/* Whether a call in which nothing happened, and that is followed by another, is counted instead of kept. */
static int folds(struct table *table, int32_t pid, uint16_t cpu)
{
	/* A call before it whose end was not seen must be seen to have ended. */
	if (pid <= 0 || pid >= table->n_open || table->open[pid >> 3] >> (pid & 7) & 1)
		return 0;
	return count_folded(table, cpu, pid);
}

/* Note that a thread enters or leaves a call that stands in the table. */
static void in_call(struct table *table, uint8_t what, int32_t pid)
{
	if ((what != ENTER && what != EXIT) || pid <= 0 || pid >= table->n_open)
		return;
	if (what == ENTER)
		table->open[pid >> 3] |= (uint8_t)(1 << (pid & 7));
	else
		table->open[pid >> 3] &= (uint8_t)~(1 << (pid & 7));
}

/* Keep what is needed of an event's bytes. The row's word is where the first would be, were all of them kept. */
static void keep_bytes(struct table *table, uint16_t type, const uint8_t *event, int32_t size)
{
	int32_t from = table->from[type], until = size < table->until[type] ? size : table->until[type];

	table->word[table->used - 1] = (uint32_t)((table->heap_used - from) / 4);
	if (until <= from)
		return;
	memcpy(table->heap + table->heap_used, event + from, (size_t)(until - from));
	table->heap_used += (until - from + 3) & ~3;
}

/* Move rows with a time below `limit` into the table, in time order, then by CPU. rows[i].used are there, from[i] done. */
void nostale_merge(struct rows *rows, int64_t *from, const uint16_t *cpus, int64_t n_cpus, int64_t limit,
		   const uint8_t *fate, struct table *table)
{
	for (;;) {
		int64_t best = -1, best_ts = limit, second_ts = limit, second = n_cpus;

		for (int64_t i = 0; i < n_cpus; i++) {
			int64_t ts = from[i] < rows[i].used ? rows[i].ts[from[i]] : INT64_MAX;

			if (ts < best_ts) {
				second_ts = best_ts;
				second = best < 0 ? n_cpus : best;
				best_ts = ts;
				best = i;
			} else if (ts < second_ts) {
				second_ts = ts;
				second = i;
			}
		}
		if (best < 0)
			return;
		struct rows *one = rows + best;
		int64_t at = from[best];

		do {
			uint8_t what = fate[one->type[at]];
			int32_t pid = one->pid[at];

			if (what == ENTER && one->mark[at] & FOLDS && folds(table, pid, cpus[best])) {
				at += 2;
				continue;
			}
			if (what == FAULT && one->mark[at] & FOLDS && pid > 0 && count_folded(table, cpus[best], pid)) {
				at++;
				continue;
			}
			in_call(table, what, pid);
			int64_t row = table->used++;

			table->ts[row] = one->ts[at];
			table->cpu[row] = cpus[best];
			table->pid[row] = pid;
			table->type[row] = one->type[at];
			table->size[row] = one->size[at];
			keep_bytes(table, one->type[at], one->event[at], one->size[at]);
			at++;
		} while (at < one->used &&
			 (one->ts[at] < second_ts || (one->ts[at] == second_ts && second_ts < limit && best < second)));
		from[best] = at;
	}
}

/* The rows of a table in time order, as they are folded: the place in `order` of the next row of the same CPU, or -1. */
struct folding {
	const int64_t *order;
	int64_t n;
	const uint16_t *type, *cpu;
	const int32_t *pid, *size;
	const uint32_t *word;
	const uint8_t *heap, *fate;
	int64_t *next, *last;                      /* n of them, and 65536 of -1 */
	uint8_t *left;                             /* n zeros: the end of a call that is left out */
	int64_t *kept;                             /* the rows that are left, n at most */
	struct staying calls;
};

static int calls(const struct folding *it, int64_t at)
{
	int64_t next = it->next[at], row = it->order[at];

	return next >= 0 && it->fate[it->type[row]] == ENTER && it->fate[it->type[it->order[next]]] == EXIT &&
	       it->pid[row] == it->pid[it->order[next]] &&
	       !stays(&it->calls, it->heap + 4ll * it->word[row], it->size[row]);
}

/* What nostale_mark and nostale_merge do, of rows that are in order already and of which none was lost. */
void nostale_fold(const struct folding *it, struct table *table, int64_t *n_kept)
{
	for (int64_t at = it->n - 1; at >= 0; at--) {
		int64_t *last = it->last + it->cpu[it->order[at]];

		it->next[at] = *last;
		*last = at;
	}
	for (int64_t at = 0; at < it->n; at++) {
		int64_t row = it->order[at], next;
		uint8_t what = it->fate[it->type[row]];
		int32_t pid = it->pid[row];
		int call = calls(it, at);

		if (it->left[at])
			continue;
		next = call ? it->next[it->next[at]] : it->next[at];
		if ((call || what == FAULT) && next >= 0 &&
		    (it->fate[it->type[it->order[next]]] == FAULT || calls(it, next))) {
			if (call && folds(table, pid, it->cpu[row])) {
				it->left[it->next[at]] = 1;
				continue;
			}
			if (!call && pid > 0 && count_folded(table, it->cpu[row], pid))
				continue;
		}
		in_call(table, what, pid);
		it->kept[(*n_kept)++] = row;
	}
}

/*
 * Order rows by type, in each as they come: a counting sort. `end` has a zero for each type and one more, and then where
 * in the order the rows of each type end.
 */
void nostale_by_type(const uint16_t *type, int64_t n, int64_t n_types, int64_t *end, int32_t *order)
{
	for (int64_t row = 0; row < n; row++)
		end[type[row] + 1]++;
	for (int64_t kind = 0; kind < n_types; kind++)
		end[kind + 1] += end[kind];
	/* What is now where each begins moves to where it ends. */
	for (int64_t row = 0; row < n; row++)
		order[end[type[row]]++] = (int32_t)row;
}
