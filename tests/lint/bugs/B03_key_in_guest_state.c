/* A module's .noinstr.text has a static branch between a guest's exit and the flush: it may be run as it was. */
#include "bug.h"
#ifdef FIXED
__attribute__((section(".data..ro_after_init")))
#endif
long evmcs_key = 1;
int consequence;
noinstr void vmx_vcpu_enter_exit(void)
{
	asm volatile("vmlaunch\n.globl vmx_vmexit\nvmx_vmexit:" ::: "memory");
	asm goto("1: .byte 0x0f, 0x1f, 0x44, 0, 0\n.pushsection __jump_table,\"aw\"\n.balign 8\n"
		 ".long 1b - ., %l[on] - .\n.quad evmcs_key + 2 - .\n.popsection" :::: on);
	consequence = 1;
on:
	asm volatile("mov %%cr3, %%rax\nmov %%rax, %%cr3" ::: "rax", "memory"); /* where text that was patched is caught up with */
}
