/* Interrupts are enabled while RCU does not watch a CPU in a guest: nothing tells it of what comes then. */
#include "bug.h"
void __ct_user_enter(int state);
void __ct_user_exit(int state);
void run(void);
noinstr void vcpu_enter_exit(void)
{
	instrumentation_begin();
	__ct_user_enter(2);
	run();
#ifdef FIXED
	__ct_user_exit(2);
	asm volatile("sti" ::: "memory");
#else
	asm volatile("sti" ::: "memory");
	__ct_user_exit(2);
#endif
	instrumentation_end();
}
