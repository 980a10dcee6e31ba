"""Results that cannot leave the worker that made them: a socket, a lock, a generator cannot be pickled.

Nobody can know that before somebody asks for one. A worker that is asked, and one that asked and was told, say so
(:class:`~distributed.protocol.messages.ResultsImmovable`); from then on ``TaskState.immovable`` says of each such
holder why. Tasks that use the result run where it is (:mod:`placement`), nothing orders copies of it, and a retired
worker does not wait for them: the result is computed again when that worker is gone, as after a crash.

A task that uses two of them on different workers, or one on a worker that it may not run on, can run nowhere; it errs
at the end of the turn (:func:`~distributed.scheduler.state.lifecycle.err_stranded`).
"""

from __future__ import annotations

from distributed.scheduler.state.records import TaskSpec, TaskState, WorkerState


def mark(ts: TaskState, holder: WorkerState, reason: str) -> bool:
    """Note that this holder cannot hand a result out. Returns whether that is news."""
    if ts.immovable is None:
        ts.immovable = {}
    news = holder not in ts.immovable
    ts.immovable[holder] = reason
    return news


def unmark(ts: TaskState, holder: WorkerState) -> None:
    """The holder's copy is gone."""
    if ts.immovable is not None:
        ts.immovable.pop(holder, None)
        if not ts.immovable:
            ts.immovable = None


def is_stuck(ts: TaskState) -> bool:
    """Whether no holder can hand this result out."""
    return ts.immovable is not None and len(ts.immovable) == len(ts.who_has)


def who_can_deliver(ts: TaskState) -> tuple[WorkerState, ...]:
    """The holders that are not known to be unable to; all where none is left."""
    able = tuple(ws for ws in ts.who_has if ws not in (ts.immovable or ()))
    return able or ts.who_has


def hosts(ts: TaskState) -> list[WorkerState] | None:
    """The workers on which a task can run because of what it uses, whatever their status; None: that is no matter."""
    stuck: list[TaskState] | None = None
    for dep in ts.dependencies:
        if dep.immovable is not None and is_stuck(dep):
            stuck = [dep] if stuck is None else [*stuck, dep]
    if stuck is None:
        return None
    assert ts.spec is not None
    return [
        ws
        for ws in stuck[0].who_has
        if all(ws in dep.who_has for dep in stuck[1:]) and may_run_on(ts.spec, ws)
    ]


def may_run_on(spec: TaskSpec, ws: WorkerState) -> bool:
    """Whether the user lets tasks of this kind run there."""
    options = spec.options
    if any(ws.resources.get(name, 0) < amount for name, amount in options.resources):
        return False
    return (
        not options.workers
        or options.allow_other_workers
        or not set(options.workers).isdisjoint(ws.identifiers())
    )


def why_stranded(ts: TaskState) -> str:
    """What keeps a task from running anywhere, in words."""
    stuck = [dep for dep in ts.dependencies if is_stuck(dep)]
    parts = [
        f"{dep.key!r}, which cannot leave {ws.address} ({reason})"
        for dep in stuck
        for ws, reason in (dep.immovable or {}).items()
    ]
    text = f"{ts.key!r} can run nowhere: it needs {', and '.join(parts)}"
    if any(all(ws in dep.who_has for dep in stuck) for ws in stuck[0].who_has):
        return f"{text}, where its workers= or resources= do not let it run"
    return f"{text}. Make them in one task, or return what can be pickled"
