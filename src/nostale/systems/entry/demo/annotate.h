/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Annotations in the forms that a kernel build leaves in its objects, for the demonstration objects.
 * Each table entry is a distance from itself, so that it needs no address.
 */
#ifndef NOSTALE_ANNOTATE_H
#define NOSTALE_ANNOTATE_H

#define PROTECTED __attribute__((noinline, used, section(".noinstr.text")))
#define INSTRUMENTABLE __attribute__((noinline, used, noipa))

/* The operand makes every use a text of its own: two equal ones could be merged. */
#define MARK_(table, number)                                       \
	__asm__ volatile("1: nop\n\t"                              \
			 ".pushsection " table ", \"\"\n\t"        \
			 ".long 1b - .\n\t"                        \
			 ".popsection\n\t"                         \
			 : : "i"(number) : "memory")
#define RANGE_BEGIN() MARK_(".discard.instr_begin", __COUNTER__)
#define RANGE_END()   MARK_(".discard.instr_end", __COUNTER__)

/* A branch that is patched at run time: falls through while `key` is off, jumps to `label` when it is on. */
#define PATCHED_BRANCH(key, label)                                 \
	__asm__ goto("1: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n\t"   \
		     ".pushsection __jump_table, \"aw\"\n\t"       \
		     ".balign 8\n\t"                               \
		     ".long 1b - .\n\t"                            \
		     ".long %l[" #label "] - .\n\t"                \
		     ".quad %c0 - .\n\t"                           \
		     ".popsection\n\t"                             \
		     : : "i"(&(key)) : : label)

#endif
