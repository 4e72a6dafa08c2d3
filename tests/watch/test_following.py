"""What a thread did next, for many rows at once, is what a look at each row finds."""

from hypothesis import given
from hypothesis import strategies as st

from nostale.watch.following import next_of_thread
from nostale.watch.script import parse

KINDS = ("sys_enter", "sys_exit", "local_timer_entry")
EVENTS = st.lists(st.tuples(st.sampled_from((-1, 0, 7, 8, 4_000_000)), st.sampled_from(KINDS)), max_size=30)


def slowly(trace, rows, candidates):
    for row in rows:
        yield next((one for one in candidates if one > row and trace.pid[one] == trace.pid[row]), -1)


@given(EVENTS, st.sets(st.sampled_from(KINDS)), st.sets(st.sampled_from(KINDS)))
def test_the_next_row_of_a_thread_is_the_first_after_it(events, asked, looked_at):
    trace = parse("\n".join(f"0 {at} {pid} {kind}" for at, (pid, kind) in enumerate(events)))
    rows, candidates = trace.rows(*sorted(asked)), trace.rows(*sorted(looked_at))
    assert next_of_thread(trace, rows, candidates).tolist() == [*slowly(trace, rows, candidates)]
