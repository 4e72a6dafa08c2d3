/* A plain `static inline` that the compiler put out of line, into text that can be instrumented. */
#include "bug.h"
int smt;
#ifdef FIXED
static inline __attribute__((always_inline)) int sched_smt_active(void) { return smt > 1; }
#else
static noinline int sched_smt_active(void) { EMPTY; return smt > 1; }
#endif
noinstr int intel_idle_ibrs(void)
{
	int active = sched_smt_active();
	instrumentation_begin();
	EMPTY;
	instrumentation_end();
	return active;
}
