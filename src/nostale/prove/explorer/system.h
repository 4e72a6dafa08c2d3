/*
 * What a generated system gives, and the explorer uses. The explorer is compiled once for each number of words in a
 * state, the system anew for each model; WORDS is given to both.
 */
#include <stdint.h>

#define INLINE inline __attribute__((always_inline))
#define OUT_OF_RANGE 63                       /* the property that a value which leaves its range breaks */

struct state { uint64_t w[WORDS]; };
struct candidate { struct state state; uint64_t hash; uint32_t from, rule; };
struct breaking { uint64_t properties; uint32_t rule; };
struct successors {
	uint32_t n, n_breaking;
	struct breaking *breaking;            /* room for one a rule */
	struct candidate *candidate;          /* room for one a rule of each state expanded at a time */
};
struct field { uint8_t word, shift; uint64_t mask; };
struct sizes {
	uint32_t rules, properties, lanes, slots;
	uint32_t moves;                       /* permutations of interchangeable members to try on each state */
	uint64_t scenes;                      /* mask of the properties that are sought, not feared */
};

extern const struct sizes SIZES;
extern const struct state INITIAL;
extern const uint32_t LANE[];                 /* of each rule */
extern const struct field FIELD[];            /* where each slot stands */

/* Append what every enabled rule makes of `s`, in rule order. */
void successors(const struct state *restrict s, struct successors *restrict out);
/* The mask of predicates that are true in `s`. */
uint64_t look(const struct state *s);
/* Whether having nothing left to do is no deadlock. */
int ended(const struct state *s);

/* Of a system with interchangeable members only. */
/* Sort their records. */
void canonical(struct state *s);
/* The lane that `lane` becomes when `s` is made canonical. */
uint32_t lane_after(uint32_t lane, const struct state *s);
/* `s` with its members permuted in way number `move`. */
void moved(const struct state *s, int move, struct state *to);
