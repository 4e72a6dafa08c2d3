"""What the models of lazytlb stand for: kernel functions of v6.12, and the calls that their steps are, in order."""

from __future__ import annotations

KERNEL = (
    ("__schedule", ("switch_mm_irqs_off", "__switch_to_asm", "finish_task_switch")),  # CoreSync: to a user task
    ("__schedule", ("enter_lazy_tlb", "__switch_to_asm", "finish_task_switch")),  # CoreSync: to a kernel thread
    ("kthread_use_mm", ("membarrier_update_current_mm", "switch_mm_irqs_off")),  # KthreadUseMm
    ("membarrier_private_expedited", ("smp_call_function_many|smp_call_function_single",)),  # MemoryBarrier
    ("membarrier_private_expedited", ("on_each_cpu_cond_mask",)),  # CoreSync: the caller's own CPU as well
    ("switch_mm_irqs_off", ("load_new_mm_cr3",)),  # Shootdown
)
