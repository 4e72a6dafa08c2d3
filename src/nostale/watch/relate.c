/*
 * What each event of a trace has to do with those before and after it: the system call that its thread is in, the
 * interrupt and the timer that its CPU is in, its stack; of a context switch who woke who came and when who left came back.
 * One pass forth and one back. related.py calls it and says the same in numpy.
 */
#include <stdint.h>

enum { OTHER, ENTER, EXIT, ENTRY, LEAVE, EXPIRE, EXPIRED, SWITCH, WAKE, STACK };

/* The last, or going back the next, of each kind that a thread had, as row + 1: 0 is none. */
struct thread {
	int32_t call, woken, left, came, asleep;
};

struct relate {
	int64_t n, n_stacked;
	const uint16_t *type, *cpu;
	const int32_t *pid;
	const uint8_t *role;                       /* 65536 of OTHER..STACK */
	const int32_t *prev, *next;                /* of each switch */
	const uint8_t *slept;                      /* of each switch: who left would not go on */
	const int32_t *wakes;                      /* of each wake-up: who was woken */
	struct thread *threads, *later;            /* by thread id, all zero */
	int32_t *entered, *expiring, *last;        /* by CPU, 65536 of all zero */
	int32_t *call, *inside, *timer;            /* n: rows, -1 for none */
	int32_t *woken, *gone, *came, *left;            /* of each switch: likewise */
	int32_t *stacked, *stack;                  /* n_stacked: an event, and the stack right behind it */
};

void nostale_relate(struct relate *it)
{
	int64_t k = 0, w = 0;

	for (int64_t row = 0; row < it->n; row++) {
		struct thread *mine = it->threads + it->pid[row];
		int32_t *entered = it->entered + it->cpu[row], *expiring = it->expiring + it->cpu[row];

		it->call[row] = mine->call - 1;
		it->inside[row] = *entered - 1;
		it->timer[row] = *expiring - 1;
		switch (it->role[it->type[row]]) {
		case ENTER:
			mine->call = (int32_t)row + 1;
			break;
		case EXIT:
			mine->call = 0;
			break;
		case ENTRY:                        /* the one around it stands in its own row */
			*entered = (int32_t)row + 1;
			break;
		case LEAVE:
			if (*entered)
				*entered = it->inside[*entered - 1] + 1;
			break;
		case EXPIRE:
			*expiring = (int32_t)row + 1;
			break;
		case EXPIRED:
			if (*expiring)
				*expiring = it->timer[*expiring - 1] + 1;
			break;
		case WAKE:
			it->threads[it->wakes[w++]].woken = (int32_t)row + 1;
			break;
		case SWITCH: {
			struct thread *to = it->threads + it->next[k], *from = it->threads + it->prev[k];
			/* One may be woken between deciding to sleep and leaving the CPU: it left asleep, but was woken before. */
			int woken = to->left < to->woken || (to->left && to->asleep && to->came < to->woken);

			it->woken[k] = woken ? to->woken - 1 : -1;
			it->gone[k] = to->left - 1;
			to->came = from->left = (int32_t)row + 1;
			from->asleep = it->slept[k];
			*entered = *expiring = 0;
			k++;
			break;
		}
		case STACK: {
			int32_t before = it->last[it->cpu[row]] - 1;

			if (before >= 0 && it->pid[before] == it->pid[row]) {
				it->stacked[it->n_stacked] = before;
				it->stack[it->n_stacked++] = (int32_t)row;
			}
			break;
		}
		default:
			break;
		}
		it->last[it->cpu[row]] = (int32_t)row + 1;
	}
	for (int64_t row = it->n; k-- > 0;) {
		struct thread *from = it->later + it->prev[k];

		do
			row--;
		while (it->role[it->type[row]] != SWITCH);
		it->came[k] = from->came - 1;
		it->left[k] = from->left - 1;
		it->later[it->next[k]].came = from->left = (int32_t)row + 1;
	}
}
