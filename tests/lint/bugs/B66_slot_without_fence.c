/* The slot of a uprobe is written and used, and the instruction cache still has what was there before. */
#include "bug.h"
void *copy_to_page(void *page, const void *insn);
void flush_icache_range(void *start, void *end);
int slots;
void arch_uprobe_copy_ixol(void *page, const void *insn)
{
	void *slot = copy_to_page(page, insn);
#ifdef FIXED
	flush_icache_range(slot, slot + 8);
#endif
	slots += slot != 0;
}
