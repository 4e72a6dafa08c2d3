/* The int3 handler looks its table up with the library's bsearch(), which can be probed. */
#include "bug.h"
noinline int bsearch(unsigned long key) { EMPTY; return 0; }
noinstr int inline_bsearch(unsigned long key) { EMPTY; return 0; }
#ifndef FIXED
#define inline_bsearch bsearch
#endif
noinstr int poke_int3_handler(struct pt_regs *regs)
{
	int found = inline_bsearch(regs->ip);
	EMPTY;
	return found;
}
noinline int kprobe_int3_handler(struct pt_regs *regs) { EMPTY; return 1; }
NOKPROBE_SYMBOL(kprobe_int3_handler);
noinstr void exc_int3(struct pt_regs *regs)
{
	if (poke_int3_handler(regs))
		return;
	instrumentation_begin();
	kprobe_int3_handler(regs);
	instrumentation_end();
}
