/* do_int3() can be probed: the breakpoint is hit in its own handler, again and again. */
#include "bug.h"
noinstr int poke_int3_handler(struct pt_regs *regs) { EMPTY; return 0; }
noinline int kprobe_int3_handler(struct pt_regs *regs) { EMPTY; return 1; }
NOKPROBE_SYMBOL(kprobe_int3_handler);
noinline int do_int3(struct pt_regs *regs) { int hit = kprobe_int3_handler(regs); EMPTY; return hit; }
#ifdef FIXED
NOKPROBE_SYMBOL(do_int3);
#endif
noinstr void exc_int3(struct pt_regs *regs)
{
	if (poke_int3_handler(regs))
		return;
	instrumentation_begin();
	do_int3(regs);
	instrumentation_end();
}
