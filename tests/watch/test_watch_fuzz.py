"""A seeded part of the fuzz runs, and that every format says the same; `python -m tests.watch.damage` is the whole."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.watch import damage, recordings

from nostale.contract import BadInput, Work
from nostale.watch import analyse, needed, perfdata, read_trace
from nostale.watch.script import parse

ROOT = Path(__file__).resolve().parents[2]
CASES = 250
_RUN = "import sys; from tests.watch import damage; sys.exit(damage.main())"


def run(*arguments):
    """Run the fuzzer in a process of its own: it forks."""
    command = [sys.executable, "-c", _RUN, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("how", [(), ("--no-compiler",)])
def test_every_damaged_recording_is_answered_or_refused_in_one_line(how):
    done = run("--cases", CASES, "--seed", 5, *how)
    assert done.returncode == 0, done.stdout + done.stderr
    words = done.stdout.splitlines()[0]
    assert words.startswith(f"{CASES} damaged recordings in ")
    for word in ("unknown", "refused"):  # not vacuous: some were still recordings
        assert f"'{word}': " in words


def test_what_unpacks_to_more_than_there_is_memory_for_is_refused(tmp_path):
    for path in damage.bombs(tmp_path).values():
        with pytest.raises(BadInput, match=r"over 512 times its|a line of over"):
            read_trace(path)
    done = run("--cases", 0, "--bombs")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_reader_that_takes_too_much_is_caught(tmp_path):
    # In pieces: what earlier tests gave back to this process may hold a large one.
    assert damage.tried(tmp_path, lambda _: str(len([bytearray(1 << 26) for _ in range(64)]))).word == "memory"
    assert damage.tried(tmp_path, lambda _: 1 // 0).word == "crash"


BUILT = {name: make for name, make in damage.FORMS.items() if name != "text"}


@pytest.mark.parametrize("name", sorted(BUILT))
@pytest.mark.parametrize("script", ["SMALL", "LONG"])
def test_every_format_tells_the_same(tmp_path, name, script, monkeypatch):
    trace = parse(getattr(recordings, script), comms={7: "sender", 8: "victim"})
    path = BUILT[name](tmp_path / "x", getattr(recordings, script))
    kallsyms = tmp_path / "kallsyms"
    kallsyms.write_bytes(trace.origin.symbols.text)
    for compiled in (True, False):
        if not compiled:
            monkeypatch.setattr(perfdata, "library", lambda **_: None)
            monkeypatch.setattr("nostale.watch.build.library", lambda **_: None)
        found = read_trace(path, kallsyms=kallsyms)
        assert [shown(one) for one in analyse(found).breaks] == [shown(one) for one in analyse(trace).breaks]
        assert (found.origin.clock, found.origin.machine, found.lost) == ("mono", "x86_64", ())


@pytest.mark.parametrize("name", sorted(BUILT))
@pytest.mark.parametrize("compiled", [True, False])
def test_every_format_keeps_the_fields_that_are_needed(tmp_path, name, compiled, monkeypatch):
    """Of events whose rest is left out the needed fields are those of the whole, and any other is refused."""
    if not compiled:
        monkeypatch.setattr(perfdata, "library", lambda **_: None)
        monkeypatch.setattr("nostale.watch.build.library", lambda **_: None)
    path = BUILT[name](tmp_path / "x", recordings.LONG)
    whole, least = read_trace(path), read_trace(path, needed())
    rows = least.rows("sys_enter")
    assert rows.size == whole.rows("sys_enter").size == 200
    for one in ("id", "args[0]"):
        told = least.field(rows, "sys_enter", one).tolist()
        assert told == whole.field(whole.rows("sys_enter"), "sys_enter", one).tolist()
        assert told == [least.reader("sys_enter", one)(row) for row in rows.tolist()]
    for one in ("args[1]", "common_pid"):
        with pytest.raises(ValueError, match="was not kept"):
            least.field(rows, "sys_enter", one)


WAKEUP = """
1 100 8 sched_wakeup pid=9
1 110 8 sched_switch prev_pid=8 next_pid=9
1 150 9 sched_switch prev_pid=9 prev_state=1 next_pid=8
"""


@pytest.mark.parametrize("name", sorted(BUILT))
def test_of_two_events_that_tell_wakeups_the_lesser_is_kept_where_there_is_no_other(tmp_path, name):
    path = BUILT[name](tmp_path / "x", WAKEUP)
    trace = read_trace(path, needed())
    (one,) = analyse(trace, own=False).breaks
    assert (trace.count("sched_wakeup"), one.cause.kind) == (1, Work.WAKEUP)
    path = BUILT[name](tmp_path / "y", WAKEUP + "0 200 7 sched_waking pid=30\n")
    assert read_trace(path, needed()).count("sched_wakeup") == 0
    assert read_trace(path, {**needed(), "sched_wakeup": None}).count("sched_wakeup") == 1  # a monitor asks for it


def shown(one):
    cause = one.cause
    return one.start_ns, one.duration_ns, one.kind, one.pid, cause.kind, cause.pid, cause.syscall, cause.stack


def test_a_perf_recording_without_symbols_says_how_to_name_them(tmp_path):
    notes = read_trace(recordings.perf(tmp_path / "x")).origin.notes
    assert any("--kallsyms" in one for one in notes)
