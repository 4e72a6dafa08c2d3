"""A search that reaches a limit is unknown and says how deep it saw; one that is broken off leaves nothing behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from nostale.contract import Unknown
from nostale.outside.cache import Cache
from nostale.prove import Crew, Means, Model, array, compile_model, never, param, prove, reference, rule, upto, wait
from nostale.prove.exploration import Bounds, most_varied
from nostale.prove.explore import explore
from nostale.prove.ir import Assume, Binary, Const, Load, Rule, Site, Slot, Store, System
from tests.prove.made import by_c

SITE = Site("made", 1)


class Grid(Model):
    """Counters that count on their own: as many states as one likes, and not one of them bad."""

    counters = param(4, "how many")
    top = param(200, "how far each counts")

    def build(self) -> None:
        self.at = array(self.counters, lambda: upto(self.top))

    @rule(per="counters", lane="counter {}")
    def count(self, me: int) -> None:
        wait(self.at[me] < self.top)
        self.at[me] = self.at[me] + 1

    @never("over", "nobody counts too far")
    def over(self) -> bool:
        return self.at[0] > self.top


def missing(answer):
    verdict = next(r.verdict for r in answer.results if r.id == "user.over")
    assert isinstance(verdict, Unknown)
    return verdict.missing


def test_a_time_limit_says_what_was_seen_and_what_blows_the_space_up(compiler):
    for means in (Means(compiler, None, seconds=0.3), Means(None, None, seconds=0.3)):
        started = time.monotonic()
        answer = prove(Grid(), "x", means)
        assert time.monotonic() - started < 5 and not answer.search.complete and answer.verdict == "unknown"
        seen, waiting = missing(answer)
        assert seen.endswith(f"within {answer.search.depth} steps: the time allowed is used up")
        assert all(f"at[{n}] (" in waiting for n in range(4))


def test_a_memory_limit_is_kept_and_said(compiler):
    answer = prove(Grid(), "x", Means(compiler, None, memory_bytes=30 << 20))
    assert missing(answer)[0].endswith("the memory allowed is used up")
    assert 200_000 < answer.search.states < (30 << 20) / 12


def test_a_bound_leaves_the_same_to_see_for_any_number_of_threads(compiler):
    def counted(threads):
        return prove(Grid(), "x", Means(compiler, None, 50_000, crew=Crew(threads, 1)))

    assert counted(1) == counted(2) == counted(4)
    assert counted(1).search.states <= 50_000


def test_what_is_broken_within_a_bound_is_still_found(compiler):
    steps = tuple(
        Rule(f"r{n}", "one", "on", SITE, (Assume(Binary("==", Load(0), Const(n))), Store(0, Const(n + 1), SITE)))
        for n in range(9)
    )
    stuck = System("line", (Slot("at", 0, 9, 0),), steps, (), 1, Const(0))
    assert by_c(stuck, compiler, 1, 10).found == reference.explore(stuck, Bounds(10)).found == {0: tuple(range(9))}
    assert by_c(stuck, compiler, 1, 9).found == reference.explore(stuck, Bounds(9)).found == {}


def test_the_most_varied_variables_come_first():
    slots = tuple(Slot(name, 0, 9, 0) for name in ("still", "two", "skewed", "four"))
    counts = [(8,), (4, 4), (7, 1), (2, 2, 2, 2)]
    assert most_varied(slots, counts) == ("four (4 values)", "two (2 values)", "skewed (2 values)")


def test_progress_tells_states_rate_and_memory(compiler):
    told = []
    made = {"counters": "4", "top": "60"}
    prove(Grid(made), "x", Means(compiler, None, tick=told.append, seconds=20))
    assert told and all(now.states > 0 and now.size_bytes >= now.states for now in told)
    assert [now.states for now in told] == sorted(now.states for now in told)
    assert any(now.per_second > 0 for now in told)


def test_a_tick_that_fails_ends_the_explorer_too(compiler):
    def tick(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prove(Grid(), "x", Means(compiler, None, tick=tick, seconds=20))
    assert children() == []


def children() -> list[str]:
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_running_when_nostale_is_ended(compiler, tmp_path, ending):
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent("""
        from tests.prove.test_limits import Grid
        from nostale.outside.cc import find_compiler
        from nostale.prove import Means, prove
        prove(Grid(), "x", Means(find_compiler(), None, tick=lambda now: print(now.states, flush=True), seconds=60))
        """)
    )
    home = {"PYTHONPATH": str(Path.cwd()), "XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    with subprocess.Popen(
        [sys.executable, script], env=os.environ | home, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as running:
        assert running.stdout is not None and running.stdout.readline()
        explorer = subprocess.run(["ps", "-o", "pid=", "--ppid", str(running.pid)], capture_output=True, text=True)
        running.send_signal(ending)
        running.wait(10)
    deadline = time.monotonic() + 5
    while any(alive(pid) for pid in explorer.stdout.split()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert explorer.stdout.split() and not any(alive(pid) for pid in explorer.stdout.split())
    assert list((tmp_path / "tmp").iterdir()) == []


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_an_unfinished_search_is_not_kept(compiler, tmp_path):
    system = System("one", (Slot("at", 0, 1, 0),), (), (), 1, Const(1))
    cache = Cache(tmp_path / "cache")
    explore(system, compiler=compiler, cache=cache)
    assert explore(system, compiler=compiler, cache=cache)[1].by == "cache"
    grid = compile_model(Grid()).system
    assert explore(grid, compiler=compiler, cache=cache, seconds=0.2)[0].stopped.reason == "time"
    assert explore(grid, compiler=compiler, cache=cache, seconds=0.2)[1].by == "native"
