"""entry.swapgs-fence walks only what comes to a branch on SWAPGS; walking everything must find the same."""

from __future__ import annotations

import random
import subprocess

import pytest

from nostale.lint import Flow, load_image
from nostale.systems.entry.image import SWAPGS_FENCE_RULE, swapgs_fence

PIECES = ("nop", "nop", "lfence", "swapgs", "mov %gs:0, %rax", "{call}", "jz {label}f\n swapgs\n{label}:", "ret")


def program(seed):
    """Five functions of entry code that call later ones: some come to a SWAPGS that a branch decides on, some not.

    None calls itself, as one that never comes back is taken to do so where no SWAPGS is ahead.
    """
    draw, label = random.Random(seed), 0
    text = ['.section .entry.text,"ax"']
    for number in range(5):
        text += [f".globl f{number}", f".type f{number}, @function", f"f{number}:"]
        for piece in draw.choices(PIECES, k=draw.randrange(2, 9)):
            label += 1
            call = f"call f{draw.randrange(number + 1, 5)}" if number < 4 else "nop"
            text.append(" " + piece.format(call=call, label=label))
        text += [" ret", f".size f{number}, .-f{number}"]
    return "\n".join(text) + "\n"


def looked(flow, monkeypatch, *, everything):
    with monkeypatch.context() as patch:
        if everything:
            patch.setattr(swapgs_fence._Ahead, "passes", lambda ahead, start, state: False)
            patch.setattr(
                swapgs_fence, "_back", lambda places, before, most: {one for some in before.values() for one in some}
            )
        seen = SWAPGS_FENCE_RULE.look(flow)
    return seen and ([one.path[-1].place for one in seen.witnesses], sorted(seen.not_seen))


def test_the_same_is_found_in_drawn_programs(tmp_path, compiler, monkeypatch):
    found = 0
    for seed in range(60):
        (tmp_path / "a.s").write_text(program(seed))
        subprocess.run([compiler.path, "-c", "-o", tmp_path / "a.o", tmp_path / "a.s"], check=True)
        flow = Flow(load_image(tmp_path / "a.o"))
        slow = looked(flow, monkeypatch, everything=True)
        assert looked(flow, monkeypatch, everything=False) == slow, program(seed)
        found += bool(slow and slow[0])
    assert found > 10


@pytest.mark.shared
def test_the_same_is_found_in_a_kernel(shared, monkeypatch):
    flow = Flow(load_image(shared / "data/lint/vmlinux_base.o.xz"))
    slow = looked(flow, monkeypatch, everything=True)
    assert looked(flow, monkeypatch, everything=False) == slow
    assert len(slow[0]) == 2
