"""Graphs that arrive in pieces, in the order in which they should run.

A piece is computed as it comes, long before the keys that the client wants are there. What keeps its results alive
meanwhile is announced: the client says of every task how many tasks of the graph depend on it, and each of these
counts as one that is still to be computed (``ts.nwaiters``) until it has arrived and counts by itself. So no message
ever has to be followed by a walk over the whole graph, neither when the wanted keys arrive nor at its end.
"""

from __future__ import annotations

from distributed.protocol.messages import Key, SubmitGraph
from distributed.protocol.payload import Payload
from distributed.scheduler.state import client_events, lifecycle, works
from distributed.scheduler.state.index import Index
from distributed.scheduler.state.records import ClientState, Function, TaskSpec, TaskState


def submit(s: Index, cs: ClientState, msg: SubmitGraph) -> None:
    """The next piece of a graph."""
    specs = [
        s.intern_spec(fn, name, options) if fn in s.functions else None for fn, name, options in msg.calls
    ]
    counts: list[tuple[TaskSpec, Function]] = [
        (spec, s.functions[spec.fn]) for spec in specs if spec is not None
    ]
    for spec, function in counts:  # in use while this goes on, whatever comes and goes
        spec.ntasks += 1
        function.ntasks += 1
    if msg.number:
        s.outbox.hear(cs.name, msg.number)
    announced = cs.graphs.setdefault(msg.graph, {})
    for number, key, args, dep_keys, ndependents, wanted in zip(
        msg.which, msg.keys, msg.args, msg.deps, msg.ndependents, msg.wanted, strict=True
    ):
        spec_or_none = specs[number]
        if spec_or_none is None:
            name = msg.calls[number][1]
            s.outbox.cancelled(cs.name, key, f"the function of {name!r} never arrived at the scheduler")
        else:
            _add(s, cs, key, spec_or_none, args, dep_keys, ndependents, wanted, announced)
        if dep_keys and announced:
            _arrived(s, dep_keys, announced)
    for spec, function in counts:
        spec.ntasks -= 1
        function.ntasks -= 1
        if not spec.ntasks:
            s.specs.pop((spec.fn, spec.name, spec.options), None)
    if msg.last:
        client_events.drop_announced(s, [cs.graphs.pop(msg.graph)])


def _add(
    s: Index,
    cs: ClientState,
    key: Key,
    spec: TaskSpec,
    args: Payload,
    dep_keys: list[Key],
    ndependents: int,
    wanted: bool,
    announced: dict[TaskState, int],
) -> None:
    """One task: make it, or find it, note who needs it, and have it computed."""
    ts = s.tasks.get(key)
    same = True
    if cs.refused:
        cs.refused.pop(key, None)
        if client_events.stands_on_refused(s, cs, key, dep_keys):
            return
    if ts is not None:
        same = works.is_same(s, ts, spec.fn, args, dep_keys, True)
        if not same:
            ts = client_events.other_work(s, cs, ts)
    created = ts is None
    if ts is None:
        dependencies = client_events.dependencies_of(s, cs, key, dep_keys) if dep_keys else ()
        if dependencies is None:
            return
        ts = client_events.create(s, key, spec, args, dependencies)
        ts.client = cs
        ts.work = works.work_of(spec.fn, args, dependencies, True)
    if created or (
        same and ts.spec is None and client_events.give_recipe(s, cs, ts, spec, args, dep_keys, True)
    ):
        spec.ntasks += 1
        s.functions[spec.fn].ntasks += 1
        if ts.state == "erred":  # lost data that can be computed after all
            lifecycle.retry(s, (ts,))
        elif ts in s.promised:
            lifecycle.fulfil(s, ts)
    if ndependents:
        announced[ts] = announced.get(ts, 0) + ndependents
        ts.nwaiters += ndependents
    if wanted:
        client_events.want(s, ts, cs)
    if ts.state == "released":
        lifecycle.activate(s, (ts,))
        if not ts.needed:
            lifecycle.release(s, ts)
    elif wanted and not created:
        client_events.report(s, ts, cs)


def _arrived(s: Index, keys: list[Key], announced: dict[TaskState, int]) -> None:
    """One of the announced dependents of these tasks is there, and counts by itself if it is to be computed."""
    for key in keys:
        ts = s.tasks.get(key)
        if ts is not None and ts in announced:
            left = announced[ts]
            if left == 1:
                del announced[ts]
            else:
                announced[ts] = left - 1
            ts.nwaiters -= 1
            if not ts.nwaiters and not ts.who_wants:
                lifecycle.release(s, ts)


def count_announced(s: Index) -> dict[Key, int]:
    """How much of every ``nwaiters`` is announced only; for checks."""
    counts: dict[Key, int] = {}
    for cs in s.clients.values():
        for announced in (*cs.graphs.values(), *cs.stale_graphs):
            for ts, count in announced.items():
                counts[ts.key] = counts.get(ts.key, 0) + count
    return counts


__all__ = ["count_announced", "submit"]
