/*
 * The way to show: of all shortest ways to what was met, one with the fewest switches of lane; of those, the one whose
 * rule numbers come first. It depends on the levels alone, not on the order in which threads found the states.
 *
 * Level by level backwards, each state on a shortest way learns in how few switches the rest can be done, and with
 * which lanes as the next (any other lane costs one switch more). Then the way is walked forwards, through real
 * states: where members are interchangeable, names are those of the model, not of the canonical state.
 */
struct hint { uint32_t level, switches; uint64_t lanes[LANE_WORDS]; };  /* level: plus one; 0 for not on the way */

static struct hint *hints[OUT_OF_RANGE + 1];
static uint64_t wanted;
static uint32_t sweep_level;

static INLINE int has_lane(const struct hint *h, uint32_t lane)
{
	return h->lanes[lane / 64] >> lane % 64 & 1;
}

static void offer(struct hint *h, uint32_t switches, uint32_t lane)
{
	if (h->level && switches > h->switches)
		return;
	if (!h->level || switches < h->switches) {
		memset(h, 0, sizeof *h);
		h->level = sweep_level + 1;
		h->switches = switches;
	}
	h->lanes[lane / 64] |= 1ull << lane % 64;
}

static void mark_end(struct hint *h)
{
	memset(h, 0xff, sizeof *h);
	h->level = sweep_level + 1;
	h->switches = 0;
}

static void reach(struct successors *out, const struct state *s)
{
	out->n = out->n_breaking = 0;
	successors(s, out);
}

/* Switches from here on when `rule` led to a state with this hint; the lane is as the canonical state knows it. */
static INLINE uint32_t rest(const struct hint *h, uint32_t lane)
{
	return h->switches + !has_lane(h, lane);
}

static int is_end(const struct state *s, uint32_t number, const struct successors *out)
{
	if (look(s) >> number & 1)
		return 1;
	return number == SIZES.properties - 1 && !out->n && !ended(s);
}

static void hint_state(struct worker *me, uint32_t here)
{
	struct successors *out = &me->out;
	struct hint mine[OUT_OF_RANGE + 1];

	reach(out, &states[here]);
	for (uint64_t left = wanted; left; left &= left - 1) {
		int number = __builtin_ctzll(left);

		mine[number].level = 0;
		if (sweep_level == length[number] && is_end(&states[here], number, out))
			mark_end(&mine[number]);
		for (uint32_t i = 0; sweep_level + 1 == length[number] && i < out->n_breaking; i++)
			if (out->breaking[i].properties >> number & 1)
				offer(&mine[number], 0, LANE[out->breaking[i].rule]);
	}
	for (uint32_t i = 0; i < out->n; i++) {
		struct candidate *c = &out->candidate[i];
		uint32_t lane = LANE[c->rule], after = lane_after(lane, &c->state);

		canonical(&c->state);
		int64_t to = find(&c->state, hash(&c->state));

		for (uint64_t left = to < 0 ? 0 : wanted; left; left &= left - 1) {
			int number = __builtin_ctzll(left);

			if (sweep_level < length[number] && hints[number][to].level == sweep_level + 2)
				offer(&mine[number], rest(&hints[number][to], after), lane);
		}
	}
	for (uint64_t left = wanted; left; left &= left - 1) {
		int number = __builtin_ctzll(left);

		if (mine[number].level)
			hints[number][here] = mine[number];
	}
	out->n = out->n_breaking = 0;
}

static void *sweep(void *worker)
{
	struct worker *me = worker;

	for (;;) {
		for (uint64_t mine; (mine = __atomic_fetch_add(&next_segment, 1, __ATOMIC_RELAXED)) < level_first[sweep_level + 1];)
			for (uint32_t i = 0; i < all.at[mine].n; i++)
				hint_state(me, all.at[mine].first + i);
		meet();
		if (!sweep_level)
			return NULL;
		meet();
		if (me == crew[0])
			next_segment = level_first[--sweep_level];
		meet();
	}
}

static void walk(uint32_t number)
{
	struct successors *out = &crew[0]->out;
	struct state s = INITIAL, best_state = INITIAL;
	uint32_t last = SIZES.lanes;

	for (uint32_t step = 0; step < length[number]; step++) {
		uint32_t best = UINT32_MAX, best_rule = 0;

		reach(out, &s);
		for (uint32_t i = 0; step + 1 == length[number] && i < out->n_breaking; i++) {
			uint32_t rule = out->breaking[i].rule, cost = last != SIZES.lanes && LANE[rule] != last;

			if (out->breaking[i].properties >> number & 1 && (cost < best || (cost == best && rule < best_rule)))
				best = cost, best_rule = rule;
		}
		for (uint32_t i = 0; i < out->n; i++) {
			struct candidate *c = &out->candidate[i];
			struct state real = c->state;
			uint32_t lane = LANE[c->rule], after = lane_after(lane, &c->state);

			canonical(&c->state);
			int64_t to = find(&c->state, hash(&c->state));

			if (to < 0 || hints[number][to].level != step + 2)
				continue;
			uint32_t cost = (last != SIZES.lanes && lane != last) + rest(&hints[number][to], after);

			if (cost < best || (cost == best && c->rule < best_rule))
				best = cost, best_rule = c->rule, best_state = real;
		}
		printf(" %u", best_rule);
		last = LANE[best_rule];
		s = best_state;
	}
}

/* To a scene any shortest way will do: by the parents, in real states. */
static void retrace(uint32_t number)
{
	uint32_t *chain = must_reserve((length[number] + 1ull) * sizeof *chain), at = NEVER;
	struct state s = INITIAL;

	for (uint64_t i = level_first[length[number]]; at == NEVER; i++)
		for (uint32_t j = 0; at == NEVER && j < all.at[i].n; j++)
			if (look(&states[all.at[i].first + j]) >> number & 1)
				at = all.at[i].first + j;
	for (uint32_t step = length[number]; step; step--, at = parent[at])
		chain[step] = at;
	for (uint32_t step = 1; step <= length[number]; step++) {
		struct successors *out = &crew[0]->out;

		reach(out, &s);
		for (uint32_t i = 0; i < out->n; i++) {
			s = out->candidate[i].state;
			canonical(&out->candidate[i].state);
			if (equal(&out->candidate[i].state, &states[chain[step]])) {
				printf(" %u", out->candidate[i].rule);
				break;
			}
		}
	}
}

static void find_ways(void)
{
	wanted = found & BROKEN_RANGE ? BROKEN_RANGE : found & ~SIZES.scenes;
	if (!wanted)
		return;
	for (uint64_t left = wanted; left; left &= left - 1) {
		int number = __builtin_ctzll(left);

		hints[number] = must_reserve((claimed + BLOCK) * sizeof **hints);
		if (length[number] > sweep_level)
			sweep_level = length[number];
	}
	/* What is broken on the way out of the last level ends in no level. */
	if (sweep_level > level && level_first[level + 1] == all.n)
		sweep_level = level;
	next_segment = level_first[sweep_level];
	together(sweep);
}
