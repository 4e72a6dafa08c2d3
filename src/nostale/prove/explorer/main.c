/*
 * The program: explore threads alone max_states memory_bytes seconds. What it found goes to stdout, progress to stderr.
 */
static void print_ways(void)
{
	if (found & BROKEN_RANGE) {
		printf("error");
		walk(OUT_OF_RANGE);
		printf("\n");
		return;
	}
	for (uint32_t number = 0; number < SIZES.properties; number++) {
		if (!(found >> number & 1))
			continue;
		printf("found %u", number);
		if (wanted >> number & 1)
			walk(number);
		else
			retrace(number);
		printf("\n");
	}
}

/* How often each value of each slot stands in the states that were to be expanded next. */
static void print_frontier(void)
{
	enum { KINDS = 4096 };
	uint64_t *seen = must_reserve((uint64_t)SIZES.slots * KINDS * sizeof *seen);

	for (uint64_t i = level_first[level]; i < level_first[level + 1]; i++)
		for (uint32_t j = 0; j < all.at[i].n; j++)
			for (uint32_t slot = 0; slot < SIZES.slots; slot++) {
				struct field f = FIELD[slot];

				seen[slot * KINDS + (states[all.at[i].first + j].w[f.word] >> f.shift & f.mask) % KINDS]++;
			}
	for (uint32_t slot = 0; slot < SIZES.slots; slot++) {
		printf("slot %u", slot);
		for (uint32_t value = 0; value < KINDS; value++)
			if (seen[slot * KINDS + value])
				printf(" %llu", (unsigned long long)seen[slot * KINDS + value]);
		printf("\n");
	}
}

int main(int argc, char **argv)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (argc != 6)
		return 2;
	given.threads = (uint32_t)strtoul(argv[1], NULL, 10);
	given.alone = strtoull(argv[2], NULL, 10);
	given.max_states = strtoull(argv[3], NULL, 10);
	given.memory_bytes = strtoull(argv[4], NULL, 10);
	given.seconds = strtod(argv[5], NULL);
	started = last_tick = now();
	open_store(given.memory_bytes / (sizeof *states + sizeof *parent), given.threads * (BLOCK + TOGETHER * (uint64_t)SIZES.rules));
	enlarge_crew(1);
	search_all();
	if (asymmetric != UINT64_MAX) {
		printf("asymmetric %llu %llu\n", (unsigned long long)(asymmetric >> 32),
		       (unsigned long long)(asymmetric & UINT32_MAX));
		return 0;
	}
	printf("counts %llu %llu %u %d\n", (unsigned long long)level_states[stop ? level : level + 1],
	       (unsigned long long)level_transitions[stop ? level : level + 1], level, !stop);
	if (stop) {
		printf("stopped %d %llu\n", stop, (unsigned long long)(level_states[level] - (level ? level_states[level - 1] : 0)));
		print_frontier();
	}
	find_ways();
	print_ways();
	return 0;
}
