/*
 * What a generated system and the search share. The generated text before this one defines WORDS, RULES, PROPERTIES,
 * LANES, SLOTS, SCENES (the mask of properties that are sought, not feared) and MOVES (how many permutations of
 * interchangeable members are tried on each state; 0 without symmetry); the text after it gives
 *   successors(s, out)  append what every enabled rule makes of `s`, in rule order
 *   look(s)             the mask of predicates that are true in `s`
 *   ended(s)            whether having nothing left to do is no deadlock
 *   canonical(s)        sort the records of interchangeable members
 *   lane_after(lane, s) the lane that `lane` becomes when `s` is made canonical
 *   moved(s, n, to)     `s` with its members permuted in way number `n`
 * A value that leaves its range is property number PROPERTIES, broken by the rule that does it.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* Compiled by -Og, which takes half as long as -O2 and, with the hot ones inlined by name, runs as fast. */
#define INLINE inline __attribute__((always_inline))
#define TOGETHER 16                           /* states expanded before their successors are looked up */
#define LANE_WORDS ((LANES + 63) / 64)
#define OUT_OF_RANGE (1ull << PROPERTIES)

struct state { uint64_t w[WORDS]; };
struct candidate { struct state state; uint64_t hash; uint32_t from, rule; };
struct breaking { uint64_t properties; uint32_t rule; };
struct successors {
	uint32_t n, n_breaking;
	struct breaking breaking[RULES];
	struct candidate candidate[TOGETHER * RULES];
};
struct field { uint8_t word, shift; uint64_t mask; };
