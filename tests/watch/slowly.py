"""Every interruption of a trace told by itself, stretch by stretch: what `analyse` must tell as well."""

from nostale.contract import Interruption
from nostale.watch.causes import told
from nostale.watch.joins import Joins
from nostale.watch.related import by_columns
from nostale.watch.remedies import remedy
from nostale.watch.spans import OWN
from nostale.watch.walk import bare_calls, walk_slowly


def one_by_one(trace, cpus, *, own=True):
    """The interruptions of some CPUs; system calls that end on another CPU than they began have no end."""
    joins = Joins(trace, by_columns(trace))
    found = []
    for cpu in cpus:
        for span in walk_slowly(trace, cpu, joins.related, bare_calls(trace)):
            if span.pid and not joins.is_kernel_thread(span.pid) and (own or span.kind not in OWN):
                found += interruptions(span, joins)
    return sorted(found, key=lambda one: (one.start_ns, one.cpu))


def interruptions(span, joins):
    things = told(span, joins)
    starts = [start for start, _, _ in things]
    for number, (start, kind, cause) in enumerate(things):
        text, source = remedy(kind, cause.kind)
        end = starts[number + 1] if number + 1 < len(starts) else span.end_ns
        if len(things) == 1:
            length, at_most = span.own_ns, span.at_most_ns
        else:
            length, at_most = None if span.end_ns is None else max(0, end - start), None
        task = joins.comm(span.pid) or ""
        yield Interruption(
            span.cpu, start, length, kind, cause, text, task, span.pid, at_most, source, end_ns=end
        )  # fmt: skip
