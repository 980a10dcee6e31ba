"""Absence. Clients whose connection is lost: their queued tasks count after those of the clients that are there.

A client that was killed with a million tasks is waited for as any other, and its tasks run on, but only while nobody
who is there has any. What comes to the head of a queue and only absent clients want is set aside, so many a turn, to
a queue of the client that submitted it; when that client is back, or is forgotten and others need some of it, it is
placed as if it had never been away. Tasks that may run on certain workers only are not set aside.
"""

from __future__ import annotations

from distributed.scheduler.state import immovable
from distributed.scheduler.state.index import Index
from distributed.scheduler.state.records import ClientState, TaskState, WorkerState

#: Tasks that are set aside, or placed again, in one turn.
MAX_MOVED = 5_000


def begin(s: Index, cs: ClientState) -> None:
    """Its connection is lost."""
    s.absent[cs] = None
    s.returning.pop(cs, None)


def end(s: Index, cs: ClientState) -> None:
    """It is back, or is forgotten."""
    if cs in s.absent:
        del s.absent[cs]
        if cs.aside:
            s.returning[cs] = None
        else:
            s.asides.pop(cs, None)


def is_absent(s: Index, ts: TaskState) -> bool:
    """Whether only clients want this that are not there."""
    return ts.client in s.absent and all(cs in s.absent for cs in ts.who_wants)


def head(s: Index) -> TaskState | None:
    """The first of the common queue that somebody wants who is there; what is before it is set aside.

    None: there is none, or (:attr:`Index.sorting`) it is for the next turn to find.
    """
    while (ts := s.queue.peek()) is not None and is_absent(s, ts):
        if not s.sort_left:
            s.sorting = True
            return None
        s.sort_left -= 1
        s.queue.pop()
        push(s, ts)
    return ts


def backlog_head(s: Index, ws: WorkerState) -> TaskState | None:
    """The first of a worker's backlog that somebody wants who is there, or that cannot wait elsewhere."""
    while (ts := ws.backlog.peek()) is not None and is_absent(s, ts) and may_wait(ts):
        ws.backlog.pop()
        push(s, ts)
    return ts


def takes(s: Index, ts: TaskState) -> bool:
    """Set a task aside that can run now, if it may be; the caller has it in state ``queued`` and in no queue."""
    if not is_absent(s, ts) or not may_wait(ts):
        return False
    push(s, ts)
    return True


def may_wait(ts: TaskState) -> bool:
    """Whether any worker may run this."""
    assert ts.spec is not None
    return not ts.spec.restricted and immovable.hosts(ts) is None


def push(s: Index, ts: TaskState) -> None:
    """Have it wait behind the tasks of those who are there."""
    assert ts.client is not None
    ts.client.aside.push(ts)
    s.asides[ts.client] = None


__all__ = ["MAX_MOVED", "backlog_head", "begin", "end", "head", "is_absent", "may_wait", "push", "takes"]
