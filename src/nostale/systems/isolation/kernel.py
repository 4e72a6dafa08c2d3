"""What the models of isolation stand for: kernel functions of v6.12, and the calls that their steps are, in order."""

from __future__ import annotations

KERNEL = (
    ("text_poke_sync", ("on_each_cpu_cond_mask",)),  # TellEverybody
    ("irqentry_enter", ("irqentry_enter_from_user_mode",)),  # Away: an interrupt from user mode
    ("irqentry_enter", ("ct_irq_enter",)),  # Away: an interrupt in the idle loop
    ("irqentry_nmi_enter", ("ct_nmi_enter",)),  # Away: an NMI
    ("exc_nmi", ("irqentry_nmi_enter", "default_do_nmi", "irqentry_nmi_exit")),  # Away: an NMI
    ("flush_tlb_kernel_range", ("on_each_cpu_cond_mask",)),  # KernelTlb
)
