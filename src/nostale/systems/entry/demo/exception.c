/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small kernel entry: protected C code between an assembly entry and an instrumentable handler.
 *
 * As it stands it keeps to both rules on every path. With -DBROKEN it breaks each of them once, on one path only:
 *   A  demo_exception() notes a nested entry before the context is established  -> entry.noinstr-escape
 *   B  demo_interrupt() leaves early inside its range                           -> entry.noinstr-unbalanced
 */
#include "annotate.h"

struct frame {
	unsigned long ip, cs, flags;
};

unsigned long demo_key;
unsigned long demo_watching;
unsigned long demo_count;

INSTRUMENTABLE void demo_note(struct frame *frame)
{
	demo_count += frame->ip;
}

INSTRUMENTABLE int demo_handle(struct frame *frame)
{
	demo_count += frame->flags;
	return (int)(frame->flags & 1);
}

/* What must come first: from here on the kernel knows its own context. */
PROTECTED unsigned long demo_establish(struct frame *frame)
{
	unsigned long before = demo_watching;

	demo_watching = frame->cs & 3 ? 1 : before + 1;
	return before;
}

PROTECTED void demo_take_down(unsigned long before)
{
	demo_watching = before;
}

PROTECTED void demo_exception(struct frame *frame)
{
	unsigned long before;

#ifdef BROKEN
	if (!(frame->cs & 3))
		demo_note(frame); /* A */
#endif
	before = demo_establish(frame);

	RANGE_BEGIN();
	demo_handle(frame);
	PATCHED_BRANCH(demo_key, traced);
	RANGE_END();
	demo_take_down(before);
	return;

traced:
	demo_note(frame);
	RANGE_END();
	demo_take_down(before);
}

PROTECTED int demo_interrupt(struct frame *frame)
{
	unsigned long before = demo_establish(frame);
	int again = 0;

	if (frame->cs & 3) {
		RANGE_BEGIN();
		again = demo_handle(frame);
#ifdef BROKEN
		if (again)
			return again; /* B */
#endif
		RANGE_END();
	}
	demo_take_down(before);
	return again;
}
