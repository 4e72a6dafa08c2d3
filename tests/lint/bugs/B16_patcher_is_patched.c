/* The patcher calls what it is just patching: here the tracer's site in its own copy loop. */
#include "bug.h"
void caches_clean_inval_pou(void);
void __fentry__(void);
#ifdef FIXED
#define TRACED EMPTY
#else
#define TRACED __fentry__()
#endif
unsigned int *text;
noinline void patch_alternative(void)
{
	TRACED;
	*text = 0;
	EMPTY;
}
noinline void write_text(void) { patch_alternative(); EMPTY; }
void apply_alternatives(void)
{
	__fentry__();
	write_text();
	caches_clean_inval_pou();
	__fentry__();
}
