/* do_machine_check() is noinstr and goes to mce_panic(), which prints. */
#include "bug.h"
noinline void mce_panic(const char *what) { EMPTY; }
noinstr void do_machine_check(struct pt_regs *regs)
{
	if (regs->flags & 1) {
#ifdef FIXED
		instrumentation_begin();
#endif
		mce_panic("uncorrected");
#ifdef FIXED
		instrumentation_end();
#else
		instrumentation_begin();
		instrumentation_end();
#endif
	}
	EMPTY;
}
