/* Deferral v4: the catch-up stands in enter_from_user_mode(), which an NMI from user mode does not pass. */
#include "bug.h"
noinstr void ct_work_flush(void) { EMPTY; }
noinline void handle(struct pt_regs *regs) { EMPTY; }
noinstr void enter_from_user_mode(struct pt_regs *regs) { ct_work_flush(); EMPTY; }
noinstr void irqentry_nmi_enter(struct pt_regs *regs)
{
#ifdef FIXED
	ct_work_flush();
#endif
	EMPTY;
}
noinstr void exc_page_fault(struct pt_regs *regs) { enter_from_user_mode(regs); handle(regs); EMPTY; }
noinstr void exc_nmi(struct pt_regs *regs) { irqentry_nmi_enter(regs); handle(regs); EMPTY; }
