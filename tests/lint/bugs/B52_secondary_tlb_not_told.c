/* The CPUs' TLBs are flushed, and on one way the devices' are not told. */
#include "bug.h"
void flush_tlb_range(void *start, void *end);
void arch_invalidate_secondary_tlbs(void *start, void *end);
int done;
void change_protection(void *start, void *end, int huge)
{
	flush_tlb_range(start, end);
#ifndef FIXED
	if (!huge)
#endif
		arch_invalidate_secondary_tlbs(start, end);
	done++;
}
