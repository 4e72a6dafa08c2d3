/*
 * What interrupted the tasks of one CPU: its events in order, stretches opened and closed. walk.py calls it; the class
 * Walk of spans.py says the same in Python.
 */
#include <stdint.h>

enum what { NOTHING, OPENS, CLOSES, SWITCHES, CALLS, RETURNS, FAULTS, USER, NMI, WORKS, PART };

#define NONE INT64_MIN

/* Of one thread on this CPU; older than the last forget() where `since` is another. 0 is none, else row + 1 or index + 1. */
struct thread {
	int64_t left;                              /* when it last left; NONE or a time */
	int32_t since, call, call_at, fault_at;
};

struct stretch {
	int64_t start, end, nested, at_most;
	int32_t row, pid, next_pid, via, cpu;
	uint16_t what;
	uint8_t kind, told;
};

struct walk {
	int64_t n_rows, n_lost, n_bare, n_forgets;
	int64_t n, n_parts, own, cpu;              /* how many were made so far; whether own entries are wanted */
	const int64_t *ts;                         /* n_rows of each of these, of all CPUs */
	const uint16_t *type, *on;
	const int32_t *pid;
	const uint8_t *what, *kind;                /* 65536: of a type what it does, and the kind that it opens */
	const uint16_t *opener;                    /* 65536: of a type that closes, which it closes */
	const int64_t *switches;                   /* rows of all CPUs' switches, then of each: */
	const int32_t *prev, *next, *came, *left;
	const uint8_t *runnable;
	const int32_t *call;                       /* by row: the sys_enter of the call its thread is in, or -1 */
	const uint8_t *nobody;                     /* by thread id */
	const int64_t *forgets;                    /* ends of gaps on this CPU, in order */
	const int64_t *lost_after, *lost_reach;    /* n_lost, of all CPUs: see losses.py */
	const int64_t *bare;                       /* rows of functions that stand for their IPI */
	struct thread *threads;                    /* by thread id, all zero */
	int32_t *open;
	struct stretch *made;
	int32_t *part_of, *part;                   /* of each part its stretch and its row */
	uint8_t kind_call, kind_fault, kind_nmi, kind_switch, kind_ipi, kind_softirq;
};

struct state {
	struct walk *it;
	int64_t depth;
	int32_t since, running, last;              /* index + 1; last may be own_last */
	struct stretch own_last;                   /* the tasks' own entry that came last, where those are not made */
};

enum { OWN_LAST = -1 };

static int32_t make(struct state *s, uint8_t kind, uint16_t what, int64_t row, int32_t pid, int64_t start)
{
	struct stretch *one = s->it->made + s->it->n++;

	*one = (struct stretch){ .start = start, .end = NONE, .at_most = NONE, .row = (int32_t)row, .pid = pid,
				 .via = -1, .cpu = (int32_t)s->it->cpu, .what = what, .kind = kind,
				 .told = pid && !s->it->nobody[pid] };
	return (int32_t)s->it->n;
}

/* Softirqs run on the way out of the interrupt before them: that one is the way in. */
static void finish(struct state *s, int32_t at)
{
	if (s->it->made[at - 1].kind != s->it->kind_softirq || !s->last)
		s->last = at;
}

/* An own entry ended that is not made: remembered as the last in case a switch follows. */
static void finish_own(struct state *s, uint8_t kind, int64_t row, int32_t pid)
{
	s->own_last = (struct stretch){ .start = s->it->ts[row], .end = NONE, .at_most = NONE, .row = (int32_t)row,
					.pid = pid, .via = -1, .cpu = (int32_t)s->it->cpu,
					.what = s->it->type[row], .kind = kind };
	s->last = OWN_LAST;
}

static struct thread *thread(struct state *s, int32_t pid)
{
	struct thread *one = s->it->threads + pid;

	if (one->since != s->since)
		*one = (struct thread){ .left = NONE, .since = s->since };
	return one;
}

static void add_part(struct state *s, int32_t at, int64_t row)
{
	s->it->part_of[s->it->n_parts] = at - 1;
	s->it->part[s->it->n_parts++] = (int32_t)row;
}

/* A thread did what it can only do in user mode: a fault of its before is over, nobody knows since when. */
static void in_user_mode(struct state *s, struct thread *mine, int64_t ts)
{
	if (mine->fault_at) {
		struct stretch *fault = s->it->made + mine->fault_at - 1;

		fault->at_most = ts - fault->start;
		mine->fault_at = 0;
	}
}

static void leave(struct state *s, uint16_t opener, int64_t ts)
{
	struct walk *it = s->it;
	int64_t at = s->depth;

	while (at && it->made[it->open[at - 1] - 1].what != opener)
		at--;
	if (!at)
		return;
	while (s->depth >= at) {                   /* those inside it have lost their exits */
		int32_t top = it->open[--s->depth];
		struct stretch *one = it->made + top - 1;

		if (s->depth == at - 1) {
			struct thread *mine = thread(s, one->pid);
			int32_t outer = s->depth ? it->open[s->depth - 1] : mine->fault_at ? mine->fault_at : mine->call_at;

			one->end = ts;
			if (outer)
				it->made[outer - 1].nested += ts - one->start;
		}
		finish(s, top);
	}
}

static int lost_between(const struct walk *it, int64_t start, int64_t end)
{
	int64_t low = 0, high = it->n_lost;

	while (low < high) {
		int64_t middle = (low + high) / 2;

		if (it->lost_after[middle] <= end)
			low = middle + 1;
		else
			high = middle;
	}
	return low && it->lost_reach[low - 1] >= start;
}

static void leave_cpu(struct state *s, int64_t row, int64_t k)
{
	struct walk *it = s->it;
	int64_t ts = it->ts[row];
	int32_t prev = it->prev[k], next = it->next[k];

	for (int64_t i = 0; i < s->depth; i++)     /* their exits were not recorded: nothing interrupts across a switch */
		finish(s, it->open[i]);
	s->depth = 0;
	thread(s, prev)->left = ts;
	s->running = 0;
	if (it->runnable[k] && prev) {
		int32_t via = s->last;

		if (via == OWN_LAST) {
			it->made[it->n++] = s->own_last;
			via = (int32_t)it->n;
		}
		s->running = make(s, it->kind_switch, it->type[row], row, prev, ts);
		struct stretch *one = it->made + s->running - 1;

		one->next_pid = next;
		one->via = via - 1;
		if (it->came[k] >= 0 && !lost_between(it, ts, it->ts[it->came[k]])) {
			if (it->left[k] >= 0 && it->left[k] < it->came[k])
				one->at_most = it->ts[it->left[k]] - ts;   /* it had a CPU meanwhile, unrecorded */
			else
				one->end = it->ts[it->came[k]];
		}
	}
	struct thread *to = thread(s, next);

	if (to->call_at && to->left != NONE)
		it->made[to->call_at - 1].nested += ts - to->left;
	to->left = NONE;
	s->last = 0;
}

static void see(struct state *s, enum what what, int64_t row)
{
	struct walk *it = s->it;
	int64_t ts = it->ts[row];
	int32_t pid = it->pid[row];
	struct thread *mine = thread(s, pid);

	switch (what) {
	case CALLS:
		in_user_mode(s, mine, ts);
		if (mine->call) {                  /* its exit was seen on another CPU, or not at all */
			if (it->own)
				finish(s, mine->call_at);
			else
				finish_own(s, it->kind_call, mine->call - 1, pid);
		}
		mine->call = (int32_t)row + 1;
		if (it->own)
			mine->call_at = make(s, it->kind_call, it->type[row], row, pid, ts);
		break;
	case RETURNS:
		if (!mine->call || it->call[row] != mine->call - 1)
			break;
		if (it->own) {
			struct stretch *call = it->made + mine->call_at - 1;

			if (mine->left < call->start)
				call->end = ts;
			else                       /* it left the CPU meanwhile, and the switch back was not recorded */
				call->at_most = ts - call->start - call->nested;
			finish(s, mine->call_at);
		} else {
			finish_own(s, it->kind_call, mine->call - 1, pid);
		}
		mine->call = mine->call_at = 0;
		break;
	case FAULTS:
		in_user_mode(s, mine, ts);
		if (it->own) {
			mine->fault_at = make(s, it->kind_fault, it->type[row], row, pid, ts);
			finish(s, mine->fault_at);
		} else {
			finish_own(s, it->kind_fault, row, pid);
		}
		break;
	case USER:
		if (mine->fault_at)
			it->made[mine->fault_at - 1].end = ts;
		mine->fault_at = 0;
		break;
	case NMI:
		finish(s, make(s, it->kind_nmi, it->type[row], row, pid, ts));
		break;
	case WORKS:
		if (s->running && it->made[s->running - 1].next_pid == pid)
			add_part(s, s->running, row);
		break;
	default:
		if (s->depth)
			add_part(s, it->open[s->depth - 1], row);
		break;
	}
}

void nostale_walk(struct walk *it)
{
	struct state s = { .it = it, .since = 1 };
	int64_t k = 0, forget = 0, bare = 0;

	for (int64_t row = 0; row < it->n_rows; row++) {
		uint16_t type = it->type[row];
		enum what what = it->what[type];

		if (it->on[row] != it->cpu)
			continue;
		for (; forget < it->n_forgets && it->ts[row] >= it->forgets[forget]; forget++) {
			s.depth = s.running = s.last = 0;      /* what is open has no known end */
			s.since++;
		}
		switch (what) {
		case NOTHING:
			break;
		case SWITCHES:
			while (it->switches[k] < row)
				k++;
			leave_cpu(&s, row, k);
			break;
		case OPENS:
			it->open[s.depth++] = make(&s, it->kind[type], type, row, it->pid[row], it->ts[row]);
			break;
		case CLOSES:
			leave(&s, it->opener[type], it->ts[row]);
			break;
		case PART:
			while (bare < it->n_bare && it->bare[bare] < row)
				bare++;
			if (!s.depth && bare < it->n_bare && it->bare[bare] == row) {
				it->open[s.depth++] = make(&s, it->kind_ipi, type, row, it->pid[row], it->ts[row]);
				add_part(&s, it->open[0], row);
				break;
			}
			/* fall through */
		default:
			see(&s, what, row);
		}
	}
}
