/*
 * Breadth-first search of a generated system, exact: every reachable state once, in discovery order.
 *
 * The generated part before this text gives WORDS, RULES, PROPERTIES, struct state, INITIAL and
 *   successors(s, out)  the enabled rules' effects, in rule order; out->error is set when a value left its range
 *   look(s)             the mask of predicates that are true in s
 *   ended(s)            whether having nothing left to do is no deadlock
 *
 * A state's index is its place in discovery order; `parent` gives the way back, the rule in between is found by
 * running the parent's rules again. The table holds (tag, index) pairs at a load of at most one half.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static struct state *states;
static uint32_t *parent;
static uint64_t *table, table_mask;
static uint64_t count, limit;

static uint64_t found;                        /* mask of properties met so far */
static uint32_t met_at[PROPERTIES];           /* index of the state in which, or from which, it was met */
static int64_t met_by[PROPERTIES];            /* the rule that broke it on the way out, or -1 for the state itself */

static void *reserve(uint64_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED) {
		fputs("memory\n", stderr);
		exit(4);
	}
	return at;
}

static inline uint64_t hash(const struct state *s)
{
	uint64_t h = 0x9e3779b97f4a7c15ull;

	for (int i = 0; i < WORDS; i++) {
		h = (h ^ s->w[i]) * 0xff51afd7ed558ccdull;
		h ^= h >> 32;
	}
	return h;
}

static void grow(void)
{
	uint64_t old_size = table_mask + 1, *old = table;

	table_mask = old_size * 2 - 1;
	table = reserve((table_mask + 1) * sizeof *table);
	for (uint64_t i = 0; i < old_size; i++) {
		if (!old[i])
			continue;
		uint64_t at = hash(&states[(uint32_t)old[i] - 1]) & table_mask;

		while (table[at])
			at = (at + 1) & table_mask;
		table[at] = old[i];
	}
	munmap(old, old_size * sizeof *table);
}

/* Return 1 if the state is new, 0 if it was known, -1 if there is no room for it. */
static int insert(const struct state *s, uint64_t h, uint32_t from)
{
	uint64_t tag = h & 0xffffffff00000000ull, at = h & table_mask;

	for (; table[at]; at = (at + 1) & table_mask)
		if ((table[at] & 0xffffffff00000000ull) == tag && !memcmp(&states[(uint32_t)table[at] - 1], s, sizeof *s))
			return 0;
	if (count >= limit)
		return -1;
	states[count] = *s;
	parent[count] = from;
	table[at] = tag | ++count;
	if (count * 2 > table_mask)
		grow();
	return 1;
}

static void meet(uint64_t properties, uint64_t at, int64_t rule)
{
	for (uint64_t fresh = properties & ~found; fresh; fresh &= fresh - 1) {
		int number = __builtin_ctzll(fresh);

		met_at[number] = at;
		met_by[number] = rule;
	}
	found |= properties;
}

static void print_way(uint32_t at)
{
	static struct successors out;

	if (!at)
		return;
	print_way(parent[at]);
	out.n = 0;
	successors(&states[parent[at]], &out);
	for (uint32_t i = 0; i < out.n; i++)
		if (!memcmp(&out.state[i], &states[at], sizeof states[at])) {
			printf(" %u", out.rule[i]);
			return;
		}
}

int main(int argc, char **argv)
{
	static struct successors out;
	uint64_t transitions = 0, depth = 0, level_end = 1, here;
	int complete = 1;

	limit = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
	states = reserve(limit * sizeof *states);
	parent = reserve(limit * sizeof *parent);
	table_mask = (1 << 16) - 1;
	table = reserve((table_mask + 1) * sizeof *table);
	insert(&INITIAL, hash(&INITIAL), 0);
	meet(look(&INITIAL), 0, -1);
	for (here = 0; here < count && complete; here++) {
		if (here == level_end) {
			depth++;
			level_end = count;
		}
		out.n = 0;
		successors(&states[here], &out);
		if (out.error) {
			printf("error");
			print_way(here);
			printf(" %u\n", out.error - 1);
			return 0;
		}
		transitions += out.n;
		if (!out.n && !ended(&states[here]))
			meet(1ull << (PROPERTIES - 1), here, -1);
		uint64_t hashes[RULES];

		for (uint32_t i = 0; i < out.n; i++) {
			hashes[i] = hash(&out.state[i]);
			__builtin_prefetch(&table[hashes[i] & table_mask]);
		}
		for (uint32_t i = 0; i < out.n; i++) {
			if (out.broken[i] & ~found)
				meet(out.broken[i], here, out.rule[i]);
			int fresh = insert(&out.state[i], hashes[i], here);

			if (fresh > 0)
				meet(look(&states[count - 1]), count - 1, -1);
			else if (fresh < 0)
				complete = 0;
		}
		if (!(here & 0x3ffff))
			fprintf(stderr, "tick %llu %llu\n", (unsigned long long)count, (unsigned long long)(count - here));
	}
	printf("counts %llu %llu %llu %d\n", (unsigned long long)count, (unsigned long long)transitions,
	       (unsigned long long)(depth + (here < count)), complete);
	for (int number = 0; number < PROPERTIES; number++) {
		if (!(found >> number & 1))
			continue;
		printf("found %d", number);
		print_way(met_at[number]);
		if (met_by[number] >= 0)
			printf(" %lld", (long long)met_by[number]);
		printf("\n");
	}
	return 0;
}
