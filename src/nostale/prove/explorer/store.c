/*
 * The store: every state once, packed, at an index; a table that finds the index of a state.
 *
 * A table entry is 32 bits: the index plus one in as many low bits as the table needs, and a tag from the hash in the
 * rest, so that nearly every other state is told apart without being fetched. Threads insert by compare-and-swap. A
 * table that fills up is given back before its larger successor is made, and filled again from the states themselves.
 */
#define BLOCK 128                             /* indices that a thread takes at a time */
#define HUGE_BYTES (2ull << 20)

struct segment { uint32_t first, n; };
struct segments { struct segment *at; uint64_t n, room; };

static struct state *states;
static uint32_t *parent;
static uint32_t *table, table_mask;
static uint64_t capacity;                     /* states there is address space for */
static uint64_t claimed;                      /* indices taken so far, some of them not used yet */
static struct segments all;                   /* where the states are: level by level, in pieces */

static void out_of_memory(void)
{
	fputs("memory\n", stderr);
	exit(4);
}

/* Address space is free until it is touched; large pages keep random access cheap. */
static void *reserve(uint64_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return NULL;
	if (bytes > HUGE_BYTES)
		madvise(at, bytes, MADV_HUGEPAGE);
	return at;
}

static void *must_reserve(uint64_t bytes)
{
	void *at = reserve(bytes);

	if (!at)
		out_of_memory();
	return at;
}

/* Room for what the rules make of so many states. */
static void make_room(struct successors *out, uint32_t together)
{
	out->breaking = must_reserve(SIZES.rules * sizeof *out->breaking);
	out->candidate = must_reserve((uint64_t)together * SIZES.rules * sizeof *out->candidate);
}

static uint64_t table_bytes(void)
{
	return ((uint64_t)table_mask + 1) * sizeof *table;
}

static uint64_t used_bytes(void)
{
	return claimed * (sizeof *states + sizeof *parent) + table_bytes();
}

static void add_segment(struct segments *to, struct segment one)
{
	if (!one.n)
		return;
	if (to->n == to->room) {
		to->room = to->room ? 2 * to->room : 64;
		to->at = realloc(to->at, to->room * sizeof *to->at);
		if (!to->at)
			out_of_memory();
	}
	to->at[to->n++] = one;
}

static INLINE uint64_t fold(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static INLINE uint64_t hash(const struct state *s)
{
	uint64_t h = 0x9e3779b97f4a7c15ull;

	for (int i = 0; i + 1 < WORDS; i += 2)
		h = fold(s->w[i] ^ h, s->w[i + 1] ^ 0xe7037ed1a0b428dbull);
	if (WORDS & 1)
		h = fold(s->w[WORDS - 1] ^ h, 0xd6e8feb86659fd93ull);
	return h;
}

static INLINE int equal(const struct state *a, const struct state *b)
{
	uint64_t different = 0;

	for (int i = 0; i < WORDS; i++)
		different |= a->w[i] ^ b->w[i];
	return !different;
}

static INLINE uint32_t tag_of(uint64_t h)
{
	return (uint32_t)(h >> 32) & ~table_mask;
}

/* Return the index of a stored state, or -1. */
static int64_t find(const struct state *s, uint64_t h)
{
	for (uint32_t at = h & table_mask, entry; (entry = table[at]); at = (at + 1) & table_mask)
		if ((entry & ~table_mask) == tag_of(h) && equal(&states[(entry & table_mask) - 1], s))
			return (int64_t)(entry & table_mask) - 1;
	return -1;
}

/* Put a state that is known not to be there into the new table. */
static void replace(uint32_t index, uint64_t h)
{
	uint32_t at = h & table_mask, none = 0;

	while (!__atomic_compare_exchange_n(&table[at], &none, tag_of(h) | (index + 1), 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
		at = (at + 1) & table_mask;
		none = 0;
	}
}

static void replace_segment(struct segment one)
{
	uint64_t hashes[BLOCK];

	for (uint32_t i = 0; i < one.n; i++) {
		hashes[i] = hash(&states[one.first + i]);
		__builtin_prefetch(&table[hashes[i] & table_mask], 1);
	}
	for (uint32_t i = 0; i < one.n; i++)
		replace(one.first + i, hashes[i]);
}

static int table_is_full(void)
{
	return claimed * 8 > ((uint64_t)table_mask + 1) * 5 && table_mask != UINT32_MAX;
}

/* The old table goes first: what it held is in `all`. */
static void new_table(void)
{
	uint64_t size = (uint64_t)table_mask + 1;

	munmap(table, table_bytes());
	size *= size < 1 << 20 ? 4 : 2;
	table_mask = (uint32_t)(size - 1);
	table = must_reserve(table_bytes());
}

/* Reserve room for `most` states, or for as many as there is address space for. */
static void open_store(uint64_t most, uint64_t slack)
{
	uint64_t size = 1 << 14;

	if (most > UINT32_MAX - 1 - slack)
		most = UINT32_MAX - 1 - slack;
	for (;; most /= 2) {
		states = reserve((most + slack) * sizeof *states);
		parent = states ? reserve((most + slack) * sizeof *parent) : NULL;
		if (parent || most < 1024)
			break;
		if (states)
			munmap(states, (most + slack) * sizeof *states);
	}
	if (!parent)
		out_of_memory();
	capacity = most;
	while (size * 3 / 8 < slack)
		size *= 2;
	table_mask = (uint32_t)(size - 1);
	table = must_reserve(table_bytes());
}
