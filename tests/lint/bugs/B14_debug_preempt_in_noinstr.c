/* With DEBUG_PREEMPT ct_state() went by preempt_disable(), which calls preempt_count_add(). */
#include "bug.h"
unsigned long context;
noinline void preempt_count_add(int value) { context += value; }
static inline __attribute__((always_inline)) unsigned long ct_state(void)
{
#ifndef FIXED
	preempt_count_add(1);
#endif
	return context & 3;
}
noinstr unsigned long __enter_from_user_mode(void)
{
	unsigned long state = ct_state();
	instrumentation_begin();
	EMPTY;
	instrumentation_end();
	return state;
}
