"""The memories: what each lets happen, what forbids it, and that the weaker ones allow no less than the stronger."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nostale.prove import compile_model, reference
from nostale.prove.exploration import Bounds
from nostale.prove.explore import explore
from nostale.prove.hardware.tso import TSO
from nostale.prove.hardware.weak import Weak
from tests.prove.hardware.shapes import model, reached

SB, MP, TWO = "0:r0=0 1:r0=0", "1:r0=1 1:r1=0", "x=2 y=2"
IRIW = "1:r0=1 1:r1=0 3:r0=1 3:r1=0"
WRC, ISA2 = "1:r0=1 2:r0=1 2:r1=0", "1:r0=1 2:r0=1 2:r1=0"

# The program, the end asked for, and the memories on which it can end so.
SHAPES = [
    # Store buffering: only a full fence on both sides, or locked operations, forbid it.
    ("x=1 r0=y | y=1 r0=x", SB, "tso weak"),
    ("x=1 mb r0=y | y=1 r0=x", SB, "tso weak"),
    ("x=1 wmb r0=y | y=1 rmb r0=x", SB, "tso weak"),
    ("x=.1 r0=.y | y=.1 r0=.x", SB, "tso weak"),
    ("x=1 mb r0=y | y=1 mb r0=x", SB, ""),
    ("r1<-x=1 r0=y | r1<-y=1 r0=x", SB, ""),
    ("x=1 r1<-z=1 r0=y | y=1 r1<-z=1 r0=x", SB, ""),
    # Message passing: a fence, or release and acquire, on each side.
    ("x=1 y=1 | r0=y r1=x", MP, "weak"),
    ("x=1 wmb y=1 | r0=y r1=x", MP, "weak"),
    ("x=1 y=1 | r0=y rmb r1=x", MP, "weak"),
    ("x=1 y=.1 | r0=y r1=x", MP, "weak"),
    ("x=1 wmb y=1 | r0=y rmb r1=x", MP, ""),
    ("x=1 y=.1 | r0=.y r1=x", MP, ""),
    ("x=1 mb y=1 | r0=.y r1=x", MP, ""),
    ("x=1 r0<-y=1 | r0=y rmb r1=x", MP, ""),
    # A release waits for what is before it and holds up nothing that is after.
    ("y=.1 x=1 | r0=x rmb r1=y", "1:r0=1 1:r1=0", "weak"),
    ("z=1 y=.1 x=1 | r0=x rmb r1=y", "1:r0=1 1:r1=0", "weak"),
    # A store fence holds up what is after it, also the second store.
    ("x=1 wmb z=1 y=1 | r0=y rmb r1=x", MP, ""),
    # 2+2W.
    ("x=2 y=1 | y=2 x=1", TWO, "weak"),
    ("x=2 wmb y=1 | y=2 x=1", TWO, "weak"),
    ("x=2 wmb y=1 | y=2 wmb x=1", TWO, ""),
    # Coherence: one order of the stores to one place, and nobody goes back in it.
    ("x=1 | r0=x r1=x", "1:r0=1 1:r1=0", ""),
    ("x=1 x=2 | r0=x r1=x", "1:r0=2 1:r1=1", ""),
    ("x=1 r0=x | x=2", "0:r0=0", ""),
    ("x=1 x=2", "x=1", ""),
    ("r0=x x=1", "0:r0=1", ""),
    ("x=1 r0=x r1=x | x=2", "0:r0=2 0:r1=1", ""),
    ("x=1 | x=2 | r0=x r1=x | r0=x r1=x", "2:r0=1 2:r1=2 3:r0=2 3:r1=1", ""),
    # A store is seen by its own CPU before others see it.
    ("x=1 r0=x r1=y | y=1 r0=y r1=x", "0:r0=1 0:r1=0 1:r0=1 1:r1=0", "tso weak"),
    # Multi-copy atomicity: readers with fences agree on an order.
    ("x=1 | r0=x r1=y | y=1 | r0=y r1=x", IRIW, "weak"),
    ("x=1 | r0=x rmb r1=y | y=1 | r0=y rmb r1=x", IRIW, ""),
    ("x=1 | r0=.x r1=y | y=1 | r0=.y r1=x", IRIW, ""),
    ("x=1 | r0=x y=1 | r0=y r1=x", WRC, "weak"),
    ("x=1 | r0=x y=.1 | r0=.y r1=x", WRC, ""),
    # Load buffering happens on none of these memories; what holds does not speak of it.
    ("r0=x y=1 | r0=y x=1", "0:r0=1 1:r0=1", ""),
    # An exchange is one step for everybody.
    ("r0<-x=1 | r0<-x=2", "0:r0=0 1:r0=0", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "asked", "on"), SHAPES)
def test_each_shape_happens_on_these_memories_only(text, asked, on):
    assert [name for name in ("sc", "tso", "weak") if reached(text, asked, name)] == on.split()


@pytest.mark.parametrize("memory", ["sc", "tso", "weak"])
@pytest.mark.parametrize("text", ["x=1 wmb y=.1 | r0=.y rmb r1=x", "x=1 mb r0=y | r1<-y=1 r0=x"])
def test_both_explorers_agree_on_every_memory(memory, text, compiler):
    system = compile_model(model(text, SB, memory)).system
    native = explore(system, compiler=compiler, cache=None, max_states=None, tick=lambda *_: None)[0]
    slow = reference.explore(system, Bounds(400_000))
    assert native.search == slow.search and native.found == slow.found


WORDS = st.sampled_from(["x=1", "y=1", "y=.2", "r0=x", "r1=y", "r0=.y", "mb", "wmb", "rmb", "r2<-x=2"])
THREAD = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(THREAD, THREAD, st.integers(0, 2), st.integers(0, 2), st.sampled_from(["0:r0", "x"]))
def test_a_weaker_memory_allows_whatever_a_stronger_does(left, right, one, other, place):
    asked = f"{place}={one} 1:r1={other}"
    on = [reached(f"{left} | {right}", asked, name) for name in ("sc", "tso", "weak")]
    assert on == sorted(on), (left, right, asked)


def nothing(self, cpu: int) -> None:
    pass


def reads_memory(self, cpu: int, slot: int, place: int) -> bool:
    return False


TEETH = [
    (TSO, "locked", nothing, "tso", "x=1 r1<-z=1 r0=y | y=1 r1<-z=1 r0=x", SB),
    (TSO, "fence", nothing, "tso", "x=1 mb r0=y | y=1 mb r0=x", SB),
    (TSO, "buffered", reads_memory, "tso", "x=1 r0=x", "0:r0=0"),
    (Weak, "locked", nothing, "weak", "x=1 r1<-z=1 r0=y | y=1 r1<-z=1 r0=x", SB),
    (Weak, "fence", nothing, "weak", "x=1 mb r0=y | y=1 mb r0=x", SB),
    (Weak, "store_fence", nothing, "weak", "x=1 wmb y=1 | r0=y rmb r1=x", MP),
    (Weak, "load_fence", nothing, "weak", "x=1 wmb y=1 | r0=y rmb r1=x", MP),
]


@pytest.mark.parametrize(("owner", "name", "broken", "memory", "text", "asked"), TEETH)
def test_without_this_piece_it_happens(monkeypatch, owner, name, broken, memory, text, asked):
    assert not reached(text, asked, memory)
    monkeypatch.setattr(owner, name, broken)
    assert reached(text, asked, memory)
