"""What the models of codegen stand for: kernel functions of v6.12, and the calls that their steps are, in order."""

from __future__ import annotations

_POKE, _SYNC = "text_poke|__text_poke", "text_poke_sync|on_each_cpu_cond_mask"

KERNEL = (
    ("text_poke_bp_batch", (_POKE, _SYNC, _POKE, _SYNC, _POKE, _SYNC)),  # TextPoke
    ("text_poke_sync", ("on_each_cpu_cond_mask",)),  # TextPoke, Flip
    ("arch_arm_kprobe", (_POKE, _SYNC)),  # Flip
    ("bpf_dispatcher_change_prog", ("synchronize_rcu",)),  # DoubleBuffer
)
