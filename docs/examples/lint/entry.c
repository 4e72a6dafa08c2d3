/* A kernel entry in small: one call too early (A), one inside the annotated range (B). */
#define noinstr __attribute__((section(".noinstr.text"), noinline))
#define MARK(label, table) asm volatile(label ": nop\n.pushsection " table ",\"\"\n.long " label "b - .\n.popsection")
#define instrumentation_begin() MARK("991", ".discard.instr_begin")
#define instrumentation_end() MARK("992", ".discard.instr_end")

void establish(void);
void note(void);

noinstr void establish(void)
{
	asm volatile("" ::: "memory");
}

noinstr void exc_example(void)
{
#ifdef EARLY
	note(); /* A */
#endif
	establish();
	instrumentation_begin();
	note(); /* B */
	instrumentation_end();
}
