"""Shortage of memory. Paused workers take no new tasks and no new data; what becomes of the work that is left.

A paused worker that has nothing to do is given one task at a time that needs only what is there, and after which
something of it may be let go: so a graph whose inner results fill the memory comes to its end. One that paused only
lest all its threads together take too much is given any task, one at a time.

Where nothing of that kind is left, no worker runs, and for ``settings.shortage_patience`` seconds nothing has moved,
nobody is going to let go of anything: the tasks that wait for room err, with the figures. Clients that take their
results one by one and release them have that long for each.
"""

from __future__ import annotations

import math
from itertools import islice

from distributed.scheduler.state import errors, immovable, lifecycle, placement
from distributed.scheduler.state.index import Index
from distributed.scheduler.state.records import TaskState, WorkerState

#: Results of a paused worker that are looked at for what would let go of them, the oldest first.
MAX_LOOKED_AT = 1_000

#: Tasks that err in one go.
MAX_ERRED = 10_000


def note(s: Index, ws: WorkerState, status: str) -> None:
    """A worker says whether it is paused for want of memory."""
    if status == "paused":
        s.paused[ws] = None
        s.relief_due = True
    else:
        s.paused.pop(ws, None)


def relieve(s: Index) -> None:
    """Give each paused worker without a task the one that may let go of most."""
    s.relief_due = False
    for ws in s.paused:
        if ws.status == "paused" and len(ws.processing) == len(ws.long_running):
            ts = _best_relief(ws)
            if ts is None and not s.open and 0 < room(ws) < math.inf:
                ts = s.queue.peek()
            if ts is not None:
                if ts.queue is not None:
                    ts.queue.discard(ts)
                else:
                    del s.unrunnable[ts]
                placement.give_despite_pause(s, ts, ws)


def room(ws: WorkerState) -> float:
    """Bytes until it pauses, by its last heartbeat and what has come and gone since; infinite: it has no limit."""
    metrics = ws.metrics
    if not metrics.get("pause_at"):
        return math.inf
    memory: int = metrics["memory"] + ws.nbytes - metrics["managed_bytes"]
    return float(metrics["pause_at"] - memory)


def _best_relief(ws: WorkerState) -> TaskState | None:
    best, most = None, 0
    for result in islice(ws.has_what, MAX_LOOKED_AT):
        if result.who_wants or result.nwaiters > MAX_LOOKED_AT:
            continue
        for ts in result.dependents:
            if ts.state in ("queued", "no-worker"):
                frees = _frees(ts, ws)
                if frees > most:
                    best, most = ts, frees
                break
    return best


def _frees(ts: TaskState, ws: WorkerState) -> int:
    """Bytes that nobody needs any more on this worker when this task has run; 0 where it may not run there now."""
    spec = ts.spec
    assert spec is not None
    if spec.options.resources or not immovable.may_run_on(spec, ws):
        return 0
    if any(ws not in dep.who_has for dep in ts.dependencies):
        return 0
    return sum(max(dep.nbytes, 1) for dep in ts.dependencies if dep.nwaiters == 1 and not dep.who_wants)


def check(s: Index) -> None:
    """Called every now and then: whether all stands still for want of memory, and for how long."""
    if not s.paused:
        s.standing_since = None
        return
    s.relief_due = True
    moved = (s.ntransitions, s.workers_version)
    if not _stands_still(s) or (s.standing_since is not None and moved != s.standing_since[1]):
        s.standing_since = None
    elif s.standing_since is None:
        s.standing_since = s.now, moved
    elif s.now - s.standing_since[0] > s.settings.shortage_patience:
        for ts in [*islice(s.queue, MAX_ERRED), *islice(s.unrunnable, MAX_ERRED)]:
            if ts.state in ("queued", "no-worker"):
                lifecycle.to_erred(s, ts, errors.no_memory(ts, list(s.paused), s.settings.shortage_patience))
        s.standing_since = s.standing_since[0], (s.ntransitions, s.workers_version)


def _stands_still(s: Index) -> bool:
    """There is work that has no place, every worker that stays is paused, and none runs a task."""
    if not (s.queue or s.unrunnable) or s.awaited:
        return False
    return all(
        ws in s.paused and len(ws.processing) == len(ws.long_running)
        for ws in s.workers.values()
        if ws not in s.leaving
    )


__all__ = ["check", "note", "relieve", "room"]
