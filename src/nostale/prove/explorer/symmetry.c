/*
 * Whether the declared symmetry is one: permuting members must commute with the rules, in every state met.
 */
#if SYMMETRIC
struct marked { struct state state; uint64_t properties; uint32_t rule; };

static int same(const struct marked *x, const struct marked *y)
{
	int order = memcmp(&x->state, &y->state, sizeof x->state);

	return order ? order : (x->properties > y->properties) - (x->properties < y->properties);
}

static int in_order(const void *a, const void *b)
{
	const struct marked *x = a, *y = b;
	int order = same(x, y);

	return order ? order : (x->rule > y->rule) - (x->rule < y->rule);
}

/* List what the rules make of `s`, sorted, each with the properties broken on the way. */
static uint32_t outcomes(const struct state *s, struct successors *out, struct marked *to, int move)
{
	uint32_t n = 0;

	out->n = out->n_breaking = 0;
	successors(s, out);
	for (uint32_t i = 0, broken = 0; i < out->n; i++, n++) {
		struct candidate *c = &out->candidate[i];

		memset(&to[n], 0, sizeof to[n]);
		to[n].rule = c->rule;
		if (move < 0)
			to[n].state = c->state;
		else
			moved(&c->state, move, &to[n].state);
		while (broken < out->n_breaking && out->breaking[broken].rule < c->rule)
			broken++;
		if (broken < out->n_breaking && out->breaking[broken].rule == c->rule)
			to[n].properties = out->breaking[broken].properties;
	}
	for (uint32_t i = 0; i < out->n_breaking; i++)
		if (out->breaking[i].properties == BROKEN_RANGE) {
			memset(&to[n], 0, sizeof to[n]);
			to[n].properties = BROKEN_RANGE;
			to[n++].rule = out->breaking[i].rule;
		}
	qsort(to, n, sizeof *to, in_order);
	return n;
}

/* Return the first rule whose outcome stands in one list only, -1 where there is none. */
static int64_t odd_one(const struct marked *a, uint32_t n, const struct marked *b, uint32_t m)
{
	uint32_t odd = UINT32_MAX;

	for (uint32_t i = 0, j = 0; i < n || j < m;) {
		int order = i == n ? 1 : j == m ? -1 : same(&a[i], &b[j]);
		uint32_t alone = order < 0 ? a[i].rule : order > 0 ? b[j].rule : UINT32_MAX;

		i += order <= 0;
		j += order >= 0;
		if (alone < odd)
			odd = alone;
	}
	return odd == UINT32_MAX ? -1 : (int64_t)odd;
}

/* Return the worst contradiction of the declared symmetry in this state, a move and a rule; UINT64_MAX for none. */
static uint64_t contradiction(const struct state *s)
{
	static __thread struct successors out;
	static __thread struct marked *straight, *after;
	struct state other;

	if (!straight) {
		make_room(&out, 1);
		straight = must_reserve(SIZES.rules * sizeof *straight);
		after = must_reserve(SIZES.rules * sizeof *after);
	}
	for (uint64_t move = 0; move < SIZES.moves; move++) {
		int64_t odd = SIZES.rules;

		moved(s, (int)move, &other);
		if (look(s) == look(&other) && !ended(s) == !ended(&other)) {
			uint32_t n = outcomes(&other, &out, straight, -1), m = outcomes(s, &out, after, (int)move);

			odd = odd_one(straight, n, after, m);
		}
		if (odd >= 0)
			return move << 32 | (uint64_t)odd;
	}
	return UINT64_MAX;
}
#else
static INLINE void canonical_of_none(struct state *s)
{
	(void)s;
}
#define canonical canonical_of_none

static INLINE uint32_t lane_of_none(uint32_t lane, const struct state *s)
{
	(void)s;
	return lane;
}
#define lane_after lane_of_none

static INLINE uint64_t contradiction(const struct state *s)
{
	(void)s;
	return UINT64_MAX;
}
#endif
