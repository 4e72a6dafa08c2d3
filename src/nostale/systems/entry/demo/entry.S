/* SPDX-License-Identifier: Apache-2.0 */
/* Where the hardware enters: saves what C may change, takes the side that the CPU has, and goes back where it was. */

	.section .entry.text, "ax"

	.globl demo_entry_exception
	.type demo_entry_exception, @function
demo_entry_exception:
	cld
	testb	$3, 8(%rsp)
	jz	1f
	swapgs
1:	push	%rax
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi
	/* A fence on the CPUs that need one (X86_FEATURE_FENCE_SWAPGS_KERNEL): here both sides meet. */
661:	.byte	0x90, 0x90, 0x90
662:	.pushsection .altinstructions, "a"
	.long	661b - .
	.long	663f - .
	.long	11 * 32 + 5
	.byte	662b - 661b
	.byte	664f - 663f
	.popsection
	.pushsection .altinstr_replacement, "ax"
663:	lfence
664:	.popsection
	lea	40(%rsp), %rdi
	call	demo_exception
	jmp	demo_return
	.size demo_entry_exception, . - demo_entry_exception

	.globl demo_entry_interrupt
	.type demo_entry_interrupt, @function
demo_entry_interrupt:
	push	%rax
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi
2:	lea	40(%rsp), %rdi
	call	demo_interrupt
	test	%eax, %eax
	jnz	2b
	jmp	demo_return
	.size demo_entry_interrupt, . - demo_entry_interrupt

	.type demo_return, @function
demo_return:
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%rcx
	pop	%rax
	testb	$3, 8(%rsp)
	jz	3f
	swapgs
3:	iretq
	.size demo_return, . - demo_return

	.section .note.GNU-stack, "", @progbits
