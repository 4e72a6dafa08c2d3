/* rcu_irq_enter_check_tick() takes a lock while lockdep still takes interrupts to be on. */
#include "bug.h"
void lockdep_hardirqs_off(unsigned long ip);
void rcu_irq_enter_check_tick(void);
void trace_hardirqs_off_finish(void);
noinstr void irqentry_enter(struct pt_regs *regs)
{
#ifdef FIXED
	lockdep_hardirqs_off(regs->ip);
	rcu_irq_enter_check_tick();
#else
	rcu_irq_enter_check_tick();
	lockdep_hardirqs_off(regs->ip);
#endif
	instrumentation_begin();
	trace_hardirqs_off_finish();
	instrumentation_end();
}
