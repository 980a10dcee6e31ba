"""Every invariant of the scheduler's records, checked one by one."""

from __future__ import annotations

from collections import Counter

from distributed.scheduler.state import graphs, immovable, placement
from distributed.scheduler.state.index import Index
from distributed.scheduler.state.records import NO_TASKS, PENDING_STATES, ClientState, TaskState, WorkerState
from distributed.scheduler.state.table import STATES


def validate(s: Index) -> None:
    """Raises AssertionError naming what contradicts what."""
    assert not NO_TASKS
    announced = graphs.count_announced(s)
    for key, ts in s.tasks.items():
        assert ts.key == key
        _validate_task(s, ts, announced.get(key, 0))
    for address, ws in s.workers.items():
        assert ws.address == address
        _validate_worker(s, ws)
    for cs in s.clients.values():
        _validate_client(s, cs)
    for key, found in s.unclaimed.items():
        known = s.tasks.get(key)
        assert known is None or known.state in ("released", "erred") or known in s.promised, key
        assert found.held or found.running, key
        for ws in (*found.held, *found.running):
            assert s.workers.get(ws.address) is ws, (key, ws)
    _validate_books(s)
    provisional = {ts for _, tasks in s.provisional for ts in tasks}
    for ts in s.tasks.values():
        kept = ts in provisional or ts in s.parked or ts in s.reprieved
        assert ts.needed or ts.dependents or kept, f"{ts} should have been forgotten"
    assert set(s.unrunnable) == {ts for ts in s.tasks.values() if ts.state == "no-worker"}
    nqueued = Counter(id(ts.queue) for ts in s.tasks.values())
    assert len(s.queue) == nqueued[id(s.queue)]
    for cs in s.asides:
        assert len(cs.aside) == nqueued[id(cs.aside)], cs
    for ws in s.workers.values():
        assert len(ws.backlog) == nqueued[id(ws.backlog)], ws
    ntasks = Counter(id(ts.spec) for ts in s.tasks.values())
    nusers = Counter(ts.spec.fn for ts in s.tasks.values() if ts.spec is not None)
    for spec in s.specs.values():
        assert spec.ntasks == ntasks[id(spec)], spec.name
    functions = set(s.functions.values())
    assert all(set(ws.functions) <= functions for ws in s.workers.values())
    assert all(set(cs.functions) <= functions for cs in s.clients.values())
    for fn, function in s.functions.items():
        assert all(function in ws.functions for ws in function.workers), fn
        assert all(function in s.clients[name].functions for name in function.clients), fn
        users = nusers[fn]
        assert function.ntasks == users, (fn, function.ntasks, users)
        assert users or function.clients


def _validate_books(s: Index) -> None:
    """Who is gone is in no book."""
    books = (s.open, s.idle, s.due, s.freed, s.backlogged, s.paused, s.leaving, s.patient, s.ordered)
    for ws in (ws for book in books for ws in book):
        assert s.workers.get(ws.address) is ws, ws
    for ts in (*s.unrunnable, *s.stranded, *s.promised, *s.suspects, *s.checkpoints):
        assert s.tasks.get(ts.key) is ts, ts
    for cs in (*s.absent, *s.asides, *s.returning):
        assert s.clients.get(cs.name) is cs or cs.aside, cs
    for cs in s.clients.values():
        assert not cs.aside or cs in s.asides, cs


def _validate_task(s: Index, ts: TaskState, announced: int) -> None:
    assert ts.state in STATES, ts
    assert ts.state != "forgotten", ts
    for dep in ts.dependencies:
        assert s.tasks.get(dep.key) is dep, (ts, dep)
        assert ts in dep.dependents, (ts, dep)
    for dependent in ts.dependents:
        assert ts in dependent.dependencies, (ts, dependent)
    nwaiters = (
        announced
        + (ts in s.checkpoints)
        + sum(dependent.state in PENDING_STATES for dependent in ts.dependents)
    )
    assert ts.nwaiters == nwaiters, (ts, ts.nwaiters, nwaiters)
    for cs in ts.who_wants:
        assert ts in cs.wants_what, (ts, cs)
    for ws in ts.who_has:
        assert ts in ws.has_what, (ts, ws)
    assert len(set(ts.who_has)) == len(ts.who_has)
    assert ts.immovable is None or (ts.immovable and ts.immovable.keys() <= set(ts.who_has)), ts
    assert bool(ts.who_has) == (ts.state == "memory"), ts
    assert (ts.processing_on is not None) == (ts.state == "processing"), ts
    assert (ts.queue is not None) == (ts.state == "queued"), ts
    assert (ts.error is not None) == (ts.state == "erred"), ts
    assert (ts in s.promised) == (ts.state == "waiting" and ts.spec is None), ts
    if ts in s.promised:
        assert not ts.nwaiting, ts
    elif ts.state == "waiting":
        missing = [dep for dep in ts.dependencies if dep.state != "memory"]
        assert ts.nwaiting == len(missing) > 0, (ts, ts.nwaiting, missing)
        for dep in missing:
            assert dep.state in PENDING_STATES, (ts, dep)
    if ts.state in ("queued", "no-worker"):
        for dep in ts.dependencies:
            assert dep.state == "memory", (ts, dep)
    if ts.state in PENDING_STATES or ts.state == "memory":
        assert ts.needed or ts in s.parked or ts in s.reprieved, ts
    else:
        assert ts.state == "erred" or not ts.needed, ts


def _validate_worker(s: Index, ws: WorkerState) -> None:
    assert ws not in s.paused or ws.status in ("paused", "closing_gracefully"), ws
    for ts in ws.has_what:
        assert ws in ts.who_has, (ws, ts)
    for ts in ws.processing:
        assert ts.processing_on is ws, (ws, ts)
    for ts in ws.long_running:
        assert ts in ws.processing, (ws, ts)
    assert ws.nbytes == sum(max(ts.nbytes, 0) for ts in ws.has_what), ws
    assert ws.ncareful == sum(ts.careful for ts in ws.processing), ws
    assert abs(ws.occupancy - sum(ws.processing.values())) < 1e-6, ws
    assert not ws.backlog or ws in s.backlogged, ws
    if ws in s.open:
        assert ws.status == "running", ws


def validate_drained(s: Index) -> None:
    """What holds when the turn is over: nobody who has room is left without work that is there."""
    assert not s.outbox
    assert not s.stranded
    common = [] if s.sorting else [s.queue, *(cs.aside for cs in s.asides if cs not in s.returning)]
    for ws in s.workers.values():
        assert (ws in s.open) == (ws.status == "running" and placement.has_room(s, ws)), ws
        assert (ws in s.idle) == (ws in s.open and placement.has_idle_thread(ws)), ws
        if ws in s.open and not s.awaited:  # else nothing is given out yet
            for queue in (ws.backlog, *common):
                ts = queue.peek()
                assert ts is None or (ts.careful and not placement.has_idle_thread(ws)), (ws, ts)
    assert not s.freed
    for ts in s.unrunnable:
        assert ts.spec is not None
        assert not placement.candidates(s, ts.spec) or immovable.hosts(ts) is not None, ts
        assert placement.best_worker(s, ts) is None, ts
    for ws in s.backlogged:
        assert s.workers.get(ws.address) is ws
        assert ws.status == "running"


def _validate_client(s: Index, cs: ClientState) -> None:
    for ts in cs.wants_what:
        assert cs in ts.who_wants, (cs, ts)
        assert s.tasks.get(ts.key) is ts, (cs, ts)
    for ts in cs.unconfirmed:
        assert ts in cs.wants_what, (cs, ts)
