/* f6cc0c501649 dropped stop_machine: the instruction is written, and no other CPU is made to see it. */
#include "bug.h"
void aarch64_insn_patch_text_nosync(void *where, unsigned int insn);
void kick_all_cpus_sync(void);
int late;
void arch_jump_label_transform(void *where, unsigned int insn)
{
	aarch64_insn_patch_text_nosync(where, insn);
#ifdef FIXED
	kick_all_cpus_sync();
#endif
	late++;
}
