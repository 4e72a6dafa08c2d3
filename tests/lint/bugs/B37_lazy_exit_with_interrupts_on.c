/* The lazy mm is switched away from with interrupts on: an interrupt may switch it again halfway. */
#include "bug.h"
void switch_mm_irqs_off(void *from, void *to);
int flushed;
noinline void exit_lazy_flush_tlb(void *from, void *to)
{
#ifdef FIXED
	asm volatile("cli" ::: "memory");
#endif
	switch_mm_irqs_off(from, to);
#ifdef FIXED
	asm volatile("sti" ::: "memory");
#endif
	flushed++;
}
