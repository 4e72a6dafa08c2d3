/* What the reconstructions share. Each file is the bug, or with -DFIXED what it was mended to. */
#define noinstr __attribute__((section(".noinstr.text"), __noinline__))
#define noinline __attribute__((__noinline__))
#define MARK(label, table) asm volatile(label ": nop\n.pushsection " table ",\"\"\n.long " label "b - .\n.popsection")
#define instrumentation_begin() MARK("991", ".discard.instr_begin")
#define instrumentation_end() MARK("992", ".discard.instr_end")
#define NOKPROBE_SYMBOL(name) void *const blacklist_##name __attribute__((section("_kprobe_blacklist"), __used__)) = (void *)name
#define EMPTY asm volatile("" ::: "memory")
struct pt_regs { unsigned long ip, cs, flags, sp, ss; };
