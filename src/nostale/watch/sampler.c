/*
 * Spins on one CPU and notes when the clock jumps: gaps that a task sees in user space. Usage: CPU THRESHOLD_NS.
 *
 * Says "ready TID" once it spins and stops when its standard input can be read or ends; then writes a gap a line, start
 * and end in ns of CLOCK_MONOTONIC. It allocates and touches all it needs before, and makes no system call while it spins
 * but a poll of its input every SLICE_NS: the gap of that is not noted.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MOST 1000000
#define SLICE_NS 100000000

static int64_t gaps[MOST][2];

static int64_t now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1000000000ll + at.tv_nsec;
}

int main(int argc, char **argv)
{
	cpu_set_t cpus;
	struct pollfd input = { .fd = 0, .events = POLLIN };
	int64_t threshold = argc > 2 ? atoll(argv[2]) : 1000, count = 0;

	CPU_ZERO(&cpus);
	CPU_SET(argc > 1 ? atoi(argv[1]) : 0, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		return 1;
	memset(gaps, 1, sizeof(gaps));
	mlockall(MCL_CURRENT);	/* without the right to it the pages are there all the same */
	printf("ready %d\n", (int)getpid());
	fflush(stdout);
	while (!poll(&input, 1, 0) && count < MOST) {
		int64_t last = now(), end = last + SLICE_NS;

		while (last < end && count < MOST) {
			int64_t next = now();

			if (next - last >= threshold) {
				gaps[count][0] = last;
				gaps[count++][1] = next;
			}
			last = next;
		}
	}
	for (int64_t i = 0; i < count; i++)
		printf("%lld %lld\n", (long long)gaps[i][0], (long long)gaps[i][1]);
	return 0;
}
