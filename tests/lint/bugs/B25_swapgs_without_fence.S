/* paranoid_entry: the arm without SWAPGS, and where both meet, need a fence (c07e45553da1). */
	.section .entry.text, "ax"
	.globl	paranoid_entry
	.type	paranoid_entry, @function
paranoid_entry:
	movl	$0xc0000101, %ecx
	rdmsr
	testl	%edx, %edx
	js	1f
	swapgs
1:
#ifdef FIXED
	lfence
#endif
	movq	%gs:0x28, %rax
	ret
	.size	paranoid_entry, . - paranoid_entry
