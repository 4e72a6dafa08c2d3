/*
 * Breadth-first search, level by level: what is counted, met and shown does not depend on the number of threads.
 *
 * A crew of workers expands the segments of one level; what they find is the next. They meet at a barrier when the
 * level is done, when the table has to grow, and when a limit is reached. Between two meetings one worker decides.
 */
#define NEVER UINT32_MAX

enum reason { NONE, BY_STATES, BY_MEMORY, BY_TIME };
enum phase { GO_ON, REBUILD, MORE_HANDS, OVER };

struct worker {
	struct segments found;                /* closed pieces of the next level */
	struct segment todo, open;            /* what is left to expand; the piece being filled */
	uint32_t end;                         /* of the block that `open` is in */
	uint64_t transitions, met, stuck, beats, asymmetric;
	struct successors out;
};

static struct { uint64_t alone, max_states, memory_bytes; double seconds; uint32_t threads; } given;
static struct worker **crew;
static uint32_t crew_size;
static pthread_barrier_t meeting;

static uint64_t *level_first;                 /* of each level, its first segment in `all`; one more than levels */
static uint64_t *level_states;                /* of each level, how many states it and those before it have */
static uint64_t *level_transitions;           /* out of the levels before it */
static uint32_t level, level_room;
static uint64_t next_segment, next_rebuilt;
static int pause_asked;
static enum reason stop;
static enum phase phase;
static uint64_t asymmetric = UINT64_MAX;      /* a move and a rule that contradict the declared symmetry */
static uint64_t found;                        /* mask of the properties met */
static uint32_t length[OUT_OF_RANGE + 1];       /* in how many steps, each */
static uint64_t found_before;                 /* what was met when the level began, with its lengths */
static uint32_t length_before[OUT_OF_RANGE + 1];
static double started, last_tick;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void meet(void)
{
	if (crew_size > 1)
		pthread_barrier_wait(&meeting);
}

static void ask(int *flag)
{
	__atomic_store_n(flag, 1, __ATOMIC_RELAXED);
}

static void stop_for(enum reason why)
{
	__atomic_store_n(&stop, why, __ATOMIC_RELAXED);
}

/* States that are surely there, going by the blocks taken. */
static uint64_t at_least(void)
{
	uint64_t slack = (uint64_t)crew_size * BLOCK;

	return claimed > slack ? claimed - slack : 0;
}

static void close_segment(struct worker *me)
{
	add_segment(&me->found, me->open);
	me->open.first += me->open.n;
	me->open.n = 0;
}

static void next_block(struct worker *me)
{
	uint64_t first = __atomic_fetch_add(&claimed, BLOCK, __ATOMIC_RELAXED);

	close_segment(me);
	me->open = (struct segment){(uint32_t)first, 0};
	me->end = (uint32_t)first + BLOCK;
	if (table_is_full())
		ask(&pause_asked);
	if (used_bytes() > given.memory_bytes || claimed > capacity)
		stop_for(BY_MEMORY);
	if (at_least() > given.max_states)
		stop_for(BY_STATES);
}

static INLINE void insert(struct worker *me, const struct candidate *c)
{
	uint32_t mask = table_mask, tag = tag_of(c->hash);

	for (uint32_t at = c->hash & mask;; at = (at + 1) & mask) {
		uint32_t entry = __atomic_load_n(&table[at], __ATOMIC_ACQUIRE);

		if (!entry) {
			if (me->open.first + me->open.n == me->end)
				next_block(me);
			uint32_t place = me->open.first + me->open.n;

			/* Whoever sees the entry sees the state: the swap pairs with the load above. */
			states[place] = c->state;
			if (__atomic_compare_exchange_n(&table[at], &entry, tag | (place + 1), 0, __ATOMIC_ACQ_REL,
							__ATOMIC_ACQUIRE)) {
				parent[place] = c->from;
				me->open.n++;
				me->met |= look(&c->state);
				return;
			}
		}
		if ((entry & ~mask) == tag && equal(&states[(entry & mask) - 1], &c->state))
			return;
	}
}

static void settle(struct worker *me)
{
	for (uint32_t i = 0; i < me->out.n; i++)
		insert(me, &me->out.candidate[i]);
	me->out.n = 0;
}

static void expand(struct worker *me, uint32_t here)
{
	struct successors *out = &me->out;
	uint32_t before = out->n;

	successors(&states[here], out);
	for (uint32_t i = 0; i < out->n_breaking; i++)
		me->met |= out->breaking[i].properties;
	out->n_breaking = 0;
	me->transitions += out->n - before;
	if (out->n == before && !ended(&states[here]))
		me->stuck = 1;
	for (struct candidate *c = &out->candidate[before], *end = &out->candidate[out->n]; c < end; c++) {
		canonical(&c->state);
		c->hash = hash(&c->state);
		c->from = here;
		__builtin_prefetch(&table[c->hash & table_mask]);
	}
}

/* About how many states are still to be expanded. */
static uint64_t waiting(void)
{
	uint64_t taken = next_segment, end = level_first[level + 1], known = at_least();

	return (taken < end ? (end - taken) * BLOCK : 0) + (known > level_states[level] ? known - level_states[level] : 0);
}

static void beat(struct worker *me)
{
	if (me != crew[0] || ++me->beats % 64)
		return;
	double t = now();

	if (given.seconds > 0 && t - started > given.seconds)
		stop_for(BY_TIME);
	if (t - last_tick < 0.2)
		return;
	last_tick = t;
	fprintf(stderr, "tick %llu %llu %llu\n", (unsigned long long)at_least(), (unsigned long long)waiting(),
		(unsigned long long)used_bytes());
}

static int take(struct worker *me)
{
	uint64_t mine;

	if (me->todo.n)
		return 1;
	if (__atomic_load_n(&next_segment, __ATOMIC_RELAXED) >= level_first[level + 1])
		return 0;
	mine = __atomic_fetch_add(&next_segment, 1, __ATOMIC_RELAXED);
	if (mine >= level_first[level + 1])
		return 0;
	me->todo = all.at[mine];
	return 1;
}

static void work_on_level(struct worker *me)
{
	while (!__atomic_load_n(&pause_asked, __ATOMIC_RELAXED) && !__atomic_load_n(&stop, __ATOMIC_RELAXED) && take(me)) {
		uint32_t n = me->todo.n < TOGETHER ? me->todo.n : TOGETHER;

		for (uint32_t i = 0; i < n; i++) {
			expand(me, me->todo.first + i);
			uint64_t odd = contradiction(&states[me->todo.first + i]);

			if (odd < me->asymmetric)
				me->asymmetric = odd;
		}
		settle(me);
		me->todo.first += n;
		me->todo.n -= n;
		beat(me);
	}
	close_segment(me);
}

static void met_in(uint64_t properties, uint32_t steps)
{
	for (uint64_t fresh = properties; fresh; fresh &= fresh - 1) {
		int number = __builtin_ctzll(fresh);

		if (!(found >> number & 1) || steps < length[number])
			length[number] = steps;
	}
	found |= properties;
}

static void *must_grow(void *at, uint64_t bytes)
{
	at = realloc(at, bytes);
	if (!at)
		out_of_memory();
	return at;
}

static void open_level(void)
{
	if (level + 3 > level_room) {
		level_room = 2 * level_room + 64;
		level_first = must_grow(level_first, level_room * sizeof *level_first);
		level_states = must_grow(level_states, level_room * sizeof *level_states);
		level_transitions = must_grow(level_transitions, level_room * sizeof *level_transitions);
	}
	level_first[level + 1] = all.n;
}

/* Take what the workers found since they met last. */
static uint64_t collect(void)
{
	uint64_t states_found = 0;

	for (uint32_t i = 0; i < crew_size; i++) {
		struct worker *one = crew[i];

		for (uint64_t j = 0; j < one->found.n; j++) {
			states_found += one->found.at[j].n;
			add_segment(&all, one->found.at[j]);
		}
		one->found.n = 0;
		level_transitions[level + 1] += one->transitions;
		one->transitions = 0;
		met_in(one->met, level + 1);
		if (one->stuck)
			met_in(1ull << (SIZES.properties - 1), level);
		if (one->asymmetric < asymmetric)
			asymmetric = one->asymmetric;
		one->met = one->stuck = 0;
	}
	return states_found;
}

static void finish_level(void)
{
	if (level_states[level + 1] > given.max_states)
		stop = BY_STATES;
	if (stop == BY_STATES) {
		/* What the user's bound leaves to see must not depend on which thread was faster. */
		found = found_before;
		memcpy(length, length_before, sizeof length);
	}
	if (stop || (found & BROKEN_RANGE) || asymmetric != UINT64_MAX || level_states[level + 1] == level_states[level]) {
		level_first[level + 2] = all.n;       /* where the walk back finds what was met on the way out */
		phase = OVER;
		return;
	}
	found_before = found;
	memcpy(length_before, length, sizeof length);
	level++;
	open_level();
	level_states[level + 1] = level_states[level];
	level_transitions[level + 1] = level_transitions[level];
	next_segment = level_first[level];
	phase = crew_size == 1 && given.threads > 1 && level_states[level] > given.alone ? MORE_HANDS : GO_ON;
}

static void decide(void)
{
	level_states[level + 1] += collect();
	if (stop || !pause_asked) {
		finish_level();
	} else {
		new_table();
		next_rebuilt = 0;
		phase = REBUILD;
	}
	pause_asked = 0;
}

static void *search(void *worker)
{
	struct worker *me = worker;

	for (;;) {
		work_on_level(me);
		meet();
		if (me == crew[0])
			decide();
		meet();
		if (phase >= MORE_HANDS)
			return NULL;
		if (phase == REBUILD) {
			for (uint64_t mine; (mine = __atomic_fetch_add(&next_rebuilt, 1, __ATOMIC_RELAXED)) < all.n;)
				replace_segment(all.at[mine]);
			meet();
		}
	}
}

static void enlarge_crew(uint32_t to)
{
	crew = must_grow(crew, to * sizeof *crew);
	for (; crew_size < to; crew_size++) {
		crew[crew_size] = must_reserve(sizeof **crew);
		make_room(&crew[crew_size]->out, TOGETHER);
		crew[crew_size]->asymmetric = UINT64_MAX;
	}
}

/* Let the whole crew do one thing; the calling thread is one of them. */
static void together(void *(*work)(void *))
{
	pthread_t thread[crew_size];
	uint32_t n = 1;

	pthread_barrier_init(&meeting, NULL, crew_size);
	for (; n < crew_size; n++)
		if (pthread_create(&thread[n], NULL, work, crew[n]))
			out_of_memory();
	work(crew[0]);
	while (n-- > 1)
		pthread_join(thread[n], NULL);
	pthread_barrier_destroy(&meeting);
}

static void search_all(void)
{
	struct candidate first = {.state = INITIAL};

	canonical(&first.state);
	first.hash = hash(&first.state);
	insert(crew[0], &first);
	close_segment(crew[0]);
	add_segment(&all, crew[0]->found.at[0]);
	crew[0]->found.n = 0;
	crew[0]->met = 0;
	met_in(look(&INITIAL), 0);
	found_before = found;
	open_level();
	level_first[0] = 0;
	level_states[0] = level_states[1] = 1;
	level_transitions[0] = level_transitions[1] = 0;
	together(search);
	if (phase == MORE_HANDS) {
		enlarge_crew(given.threads);
		together(search);
	}
}
