"""Orders: what code inside the scheduler, that of plugins, may have done to one task at once.

Each is one event of the machine, like a message of a worker or client: it leaves every record consistent, and what
follows from it is followed up in the same step. An order that contradicts what is known of the task is refused by a
ValueError in one sentence, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from distributed.protocol.messages import Key, TaskError, TaskOptions
from distributed.protocol.payload import Payload
from distributed.scheduler.state import client_events, lifecycle, placement
from distributed.scheduler.state.index import Index
from distributed.scheduler.state.records import (
    PENDING_STATES,
    Function,
    TaskSpec,
    TaskState,
    WorkerState,
)


def drop_result(s: Index, ts: TaskState) -> None:
    """To ``released``: free the result, take the task back from its worker, forgive its error.

    Who still needs the result gets it computed again; dependents that are with workers are taken back, to wait for it.
    A task that waits already, waits on. What is needed and cannot be computed again is kept: that is refused.
    """
    if ts.state == "memory":
        if ts.needed:
            _check_recipe(ts)
        users = [dependent for dependent in ts.dependents if dependent.processing_on is not None]
        for user in users:  # before its data goes
            _free_order(s, user)
        for ws in ts.who_has:
            s.outbox.free(ws.address, ts.key)
            lifecycle.remove_replica(ts, ws)
        lifecycle.lost(s, (ts,))
        for user in users:
            lifecycle.back_to_runnable(s, user)
    elif ts.state == "processing":
        take_back(s, ts)
    elif ts.state == "erred":
        lifecycle.retry(s, (ts,))
        lifecycle.release(s, ts)


def _check_recipe(ts: TaskState) -> None:
    """ValueError where this result could not be computed again if it were lost."""
    seen = {ts}
    stack = [ts]
    while stack:
        lost = stack.pop()
        if lost.spec is None or lost.spec.options.actor:
            what = "is data of a client" if lost.spec is None else "is an actor"
            raise ValueError(f"{ts.key!r} is needed and cannot be computed again: {lost.key!r} {what}")
        for dep in lost.dependencies:
            if dep.state != "memory" and dep not in seen:
                seen.add(dep)
                stack.append(dep)


def take_back(s: Index, ts: TaskState) -> None:
    """A task that is with a worker can be given out again; whatever that worker still says of it comes too late."""
    _free_order(s, ts)
    lifecycle.back_to_runnable(s, ts)


def _free_order(s: Index, ts: TaskState) -> None:
    ws = ts.processing_on
    assert ws is not None
    s.outbox.free(ws.address, ts.key)
    lifecycle.renumber(s, ts)


def compute(s: Index, ts: TaskState) -> None:
    """To ``waiting``: compute the result, again if it is there."""
    if not ts.needed:
        raise ValueError(f"{ts.key!r} cannot wait to be computed: nobody needs it")
    if ts.state not in PENDING_STATES:
        drop_result(s, ts)


def give_up(s: Index, ts: TaskState, reason: str) -> None:
    """To ``forgotten``: cancel the task and all that depend on it, for every client."""
    client_events.cancel(s, (ts.key,), None, reason)


def hold(s: Index, ts: TaskState, ws: WorkerState, nbytes: int, typename: str) -> None:
    """To ``memory``: a worker holds the result."""
    if ts.state == "memory":
        lifecycle.add_replica(ts, ws)
        return
    if ts.state == "erred":
        lifecycle.forgive(s, ts)
    lifecycle.to_memory(s, ts, ws, nbytes, typename)


def fail(s: Index, ts: TaskState, error: TaskError) -> None:
    """To ``erred``: the task has no result, and none that waits for it has."""
    if ts.state == "erred":
        raise ValueError(f"{ts.key!r} has erred already")
    if ts.state == "memory":
        raise ValueError(f"{ts.key!r} has a result: release it before it can err")
    if ts.state == "released":
        if not ts.needed:
            raise ValueError(f"{ts.key!r} cannot err: nobody needs it")
        for dep in ts.dependencies:
            dep.nwaiters += 1
    elif ts.processing_on is not None:
        _free_order(s, ts)
    elif ts.state != "waiting":
        _off_queue(s, ts)
        s.set_state(ts, "released")
    lifecycle.to_erred(s, ts, error)


def send(s: Index, ts: TaskState, ws: WorkerState) -> None:
    """To ``processing`` on this worker, at once and whatever it has to do already."""
    spec = ts.spec
    if spec is None or ts.state not in ("queued", "no-worker", "processing"):
        raise ValueError(f"{ts.key!r} cannot be sent to a worker: it is {ts.state}")
    if ws.status != "running":
        raise ValueError(f"the worker at {ws.address} takes no tasks: it is {ws.status}")
    if not _may_run(s, spec, ws):
        raise ValueError(f"{ts.key!r} may not run on the worker at {ws.address}")
    lost = [dep.key for dep in ts.dependencies if dep.state != "memory"]
    if lost:
        raise ValueError(f"{ts.key!r} cannot be sent to a worker: {lost[0]!r} was lost and is computed again")
    if placement.fetch_time(s, ts, ws) == placement.NEVER:
        raise ValueError(
            f"{ts.key!r} cannot run on the worker at {ws.address}: it needs what cannot leave another"
        )
    if ts.processing_on is not ws:
        if ts.processing_on is not None:
            take_back(s, ts)
        _off_queue(s, ts)
        placement.give_alone(s, ts, ws)


def _off_queue(s: Index, ts: TaskState) -> None:
    """A runnable task waits nowhere any more."""
    if ts.queue is not None:
        ts.queue.discard(ts)
    else:
        del s.unrunnable[ts]


def _may_run(s: Index, spec: TaskSpec, ws: WorkerState) -> bool:
    return not spec.restricted or ws in placement.candidates(s, spec)


def restrict(s: Index, ts: TaskState, workers: Iterable[str] | None) -> None:
    """From now on only these workers may run the task; None: all may.

    What waits is placed anew. What another worker was given is asked back, and comes unless it has begun.
    """
    old = ts.spec
    if old is None:
        raise ValueError(f"{ts.key!r} is data: no worker runs it")
    options = msgspec.structs.replace(old.options, workers=tuple(workers or ()), allow_other_workers=False)
    spec = s.intern_spec(old.fn, old.name, options)
    spec.ntasks += 1
    s.functions[spec.fn].ntasks += 1
    s.uncount(old)
    ts.spec = spec
    if ts.queue is not None:
        ts.queue.discard(ts)
        placement.replace_queued(s, ts)
    elif ts.state == "no-worker":
        placement.reconsider_unrunnable(s)
        s.stranded[ts] = None  # perhaps there is no worker for it any more
    elif ts.processing_on is not None and not _may_run(s, spec, ts.processing_on):
        s.outbox.steal(ts.processing_on.address, [ts.key])


def define(
    s: Index, key: Key, spec: TaskSpec | tuple[str, bytes, Payload] | None, args: Payload
) -> TaskState:
    """A record of a task that nobody has asked for yet: it waits for that as long as the inner node of a graph.

    ``spec``: that of another task; name, id and payload of a function; or None, for data that may come.
    """
    if key in s.tasks:
        raise ValueError(f"there is a task {key!r} already")
    if isinstance(spec, tuple):
        name, fn, blob = spec
        s.functions.setdefault(fn, Function(fn, blob))
        spec = s.intern_spec(fn, name, TaskOptions())
    elif spec is not None:
        if spec.fn not in s.functions:
            raise ValueError(f"the function of {spec.name!r} is not known any more")
        spec = s.intern_spec(spec.fn, spec.name, spec.options)
    ts = client_events.create(s, key, spec, args, ())
    if spec is not None:
        spec.ntasks += 1
        s.functions[spec.fn].ntasks += 1
    s.provisional.append((s.now + s.settings.client_grace, [ts]))
    return ts
