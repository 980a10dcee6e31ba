"""What happens to a task: it is needed, it can run, it is done, it erred, it is lost, nobody needs it any more.

No function here recurses: chains of dependencies may be millions long.

Two counts hold everything together. ``ts.nwaiting`` is the number of dependencies a waiting task still lacks;
``ts.nwaiters`` the number of dependents that are still to be computed, i.e. in one of the pending states. A result is
kept while a client wants it or ``nwaiters`` is positive; a record is kept while somebody could ask for it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from distributed.protocol.messages import TaskError
from distributed.protocol.payload import nbytes as payload_nbytes
from distributed.scheduler.state import copies, errors, immovable, placement, works
from distributed.scheduler.state.index import Index
from distributed.scheduler.state.outbox import add_result
from distributed.scheduler.state.records import PENDING_STATES, TaskState, WorkerState

#: What a record of a task that is history costs beside its arguments, here and at the client, in bytes.
RECORD_NBYTES = 1_000

#: Tasks that are let go in one go.
MAX_RELEASED = 1_000

#: Results that err: none.
NONE: Mapping[TaskState, TaskError] = {}


def activate(s: Index, tasks: Iterable[TaskState]) -> None:
    """Compute those of these that somebody needs, and whatever of their ancestors is not in memory."""
    stack = list(tasks)
    while stack:
        ts = stack.pop()
        if ts.state != "released" or not ts.needed:
            continue
        if s.unclaimed and ts.key in s.unclaimed and claim(s, ts):
            stack += [dep for dep in ts.dependencies if dep.state == "released"]
            continue
        missing = 0
        failed: TaskState | None = None
        for dep in ts.dependencies:
            dep.nwaiters += 1
            if dep.state != "memory":
                missing += 1
                if dep.state == "erred":
                    failed = dep
                elif dep.state == "released":
                    stack.append(dep)
        if ts.spec is None and ts.nbytes < 0 and (s.incomplete() or ts in s.arriving):
            s.set_state(ts, "waiting")
            s.promised[ts] = None
        elif ts.spec is None:
            to_erred(s, ts, errors.lost_data(ts))
        elif failed is not None:
            assert failed.error is not None
            to_erred(s, ts, failed.error)
        elif missing:
            s.set_state(ts, "waiting")
            ts.nwaiting = missing
        else:
            placement.make_runnable(s, ts)


def to_memory(
    s: Index, ts: TaskState, ws: WorkerState, nbytes: int, typename: str, value: object | None = None
) -> None:
    """The result is in a worker's memory: tell who wants it, wake up who waits for it."""
    was_pending = ts.state in PENDING_STATES
    other = ts.processing_on
    if other is not None and other is not ws:  # finished elsewhere first: it need not go on
        s.outbox.free(other.address, ts.key)
        renumber(s, ts)
    _leave(s, ts)
    s.set_state(ts, "memory")
    ts.type = typename
    ts.nbytes = nbytes
    ts.careful = False
    add_replica(ts, ws)
    for client in ts.who_wants:
        message = s.outbox.in_memory(client.name)
        add_result(message, ts.key, value, typename, ws.address, ts.work)  # type: ignore[arg-type]
    for dependent in ts.dependents:
        if dependent.state == "waiting":
            dependent.nwaiting -= 1
            if not dependent.nwaiting:
                placement.make_runnable(s, dependent)
    if was_pending:
        _dependencies_served(s, ts)
    if not ts.needed:
        release(s, ts)


def to_erred(s: Index, ts: TaskState, error: TaskError) -> None:
    """The task and all that wait for it have no result; everybody who wants one of them is told.

    A dependent that is with a worker runs on: either it has its copy already, or the worker returns it.
    """
    stack = [ts]
    first = True
    while stack:
        ts = stack.pop()
        if not first and ts.state != "waiting":  # reached on two ways
            continue
        first = False
        _leave(s, ts)
        s.set_state(ts, "erred")
        ts.error = error
        if ts.spec is not None:
            ts.spec.prefix.nerred += 1
        for client in ts.who_wants:
            s.outbox.erred(client.name, ts.key, error, ts.work)
        stack += [dependent for dependent in ts.dependents if dependent.state == "waiting"]
        _dependencies_served(s, ts)


def err_stranded(s: Index) -> None:
    """Results that cannot be moved leave these no worker to run on: they err."""
    stranded, s.stranded = s.stranded, {}
    for ts in stranded:
        if ts.state == "no-worker" and immovable.hosts(ts) == []:
            to_erred(s, ts, errors.immovable_data(ts))


def add_replica(ts: TaskState, ws: WorkerState) -> None:
    """A worker holds (another) copy of a result."""
    if ts not in ws.has_what:
        ws.has_what[ts] = None
        ws.nbytes += max(ts.nbytes, 0)
        ts.who_has = (*ts.who_has, ws) if ts.who_has else ws.alone


def remove_replica(ts: TaskState, ws: WorkerState) -> None:
    """A worker holds no copy any more. The caller deals with the last one being lost."""
    if ts in ws.has_what:
        del ws.has_what[ts]
        ws.nbytes -= max(ts.nbytes, 0)
        ts.who_has = tuple(other for other in ts.who_has if other is not ws)
        immovable.unmark(ts, ws)


def lost(s: Index, tasks: Iterable[TaskState], failing: Mapping[TaskState, TaskError] = NONE) -> None:
    """The last copies of these results are gone: compute again what is still needed and may be, in one sweep."""
    gone = [ts for ts in dict.fromkeys(tasks) if ts.state == "memory" and not ts.who_has]
    for ts in gone:
        s.set_state(ts, "released")
        for client in ts.who_wants:
            s.outbox.lost(client.name, ts.key)
        for dependent in ts.dependents:
            if dependent.state == "waiting":
                dependent.nwaiting += 1
            elif dependent.state in ("queued", "no-worker"):
                _leave(s, dependent)
                s.set_state(dependent, "waiting")
                dependent.nwaiting = 1
    for ts in gone:
        if ts.spec is not None and ts.needed and (ts.spec.options.actor or ts in failing):
            _not_again(s, ts, failing.get(ts) or errors.lost_actor(ts))
    activate(s, gone)
    for ts in gone:
        release(s, ts)


def _not_again(s: Index, ts: TaskState, error: TaskError) -> None:
    """An actor's state is gone with its worker, a new one would be another one; or it was tried often enough."""
    for dep in ts.dependencies:
        dep.nwaiters += 1
    to_erred(s, ts, error)


def back_to_runnable(s: Index, ts: TaskState) -> None:
    """A task that was given to a worker has to be placed again; first wait for what was lost meanwhile."""
    missing = [dep for dep in ts.dependencies if dep.state != "memory"]
    failed = next((dep for dep in missing if dep.state == "erred"), None)
    if failed is not None:
        assert failed.error is not None
        to_erred(s, ts, failed.error)
        return
    _leave(s, ts)
    if not missing:
        placement.make_runnable(s, ts)
        return
    s.set_state(ts, "waiting")
    ts.nwaiting = len(missing)
    activate(s, missing)


def adopt_running(s: Index, ts: TaskState, ws: WorkerState, seq: int) -> None:
    """A worker that came back was already running this task, which had not been placed."""
    if ts.state == "released":
        for dep in ts.dependencies:
            dep.nwaiters += 1
    _leave(s, ts)
    ts.seq = seq
    s.set_state(ts, "processing")
    placement.on_worker(ts, ws)
    placement.update_open(s, ws)


def take_over(s: Index, ts: TaskState, ws: WorkerState, seq: int) -> None:
    """A worker has been running since before the last restart what another was given after it: the first goes on."""
    other = ts.processing_on
    assert other is not None
    s.outbox.free(other.address, ts.key)
    placement.off_worker(s, ts, other)
    ts.seq = seq
    placement.on_worker(ts, ws)
    placement.update_open(s, ws)


def claim(s: Index, ts: TaskState) -> bool:
    """A task that is needed now: take up what workers reported of it before, and free what is of other work.

    False if that was of no use.
    """
    found = s.unclaimed.pop(ts.key)
    for ws, (nbytes, typename, work) in found.held.items():
        if not works.may_be(s, ts, work):
            s.outbox.free(ws.address, ts.key)
        elif ts.state == "released" or ts in s.promised:
            to_memory(s, ts, ws, nbytes, typename)
        else:
            add_replica(ts, ws)
    for ws, (seq, work) in found.running.items():
        if ts.state == "released" and ts.spec is not None and ts.work == work:
            adopt_running(s, ts, ws, seq)
        else:
            s.outbox.free(ws.address, ts.key)
    return ts.state != "released"


def fulfil(s: Index, ts: TaskState) -> None:
    """What was known by name alone has got a recipe: it can be computed."""
    del s.promised[ts]
    s.set_state(ts, "released")


def renumber(s: Index, ts: TaskState) -> None:
    """The task was taken from a worker that may have answered already: that answer is not about what follows."""
    ts.seq = s.next_seq
    s.next_seq += 1


def retry(s: Index, tasks: Iterable[TaskState]) -> None:
    """Run erred tasks again, and the erred tasks among their ancestors, also behind those that were let go."""
    stack = [ts for ts in tasks if ts.state == "erred"]
    seen = set(stack)
    again: list[TaskState] = []
    while stack:
        ts = stack.pop()
        if ts.state == "erred":
            forgive(s, ts)
            for client in ts.who_wants:
                s.outbox.lost(client.name, ts.key)
            again.append(ts)
        for dep in ts.dependencies:
            if dep.state in ("erred", "released") and dep not in seen:
                seen.add(dep)
                stack.append(dep)
    activate(s, again)


def forgive(s: Index, ts: TaskState) -> None:
    """An erred task is as if it had never run."""
    s.set_state(ts, "released")
    ts.error = None
    ts.suspicious = 0
    s.suspects.pop(ts, None)
    ts.careful = False
    ts.retries = 0 if ts.spec is None else ts.spec.options.retries


def release(s: Index, ts: TaskState) -> None:
    """Nobody needs this task: stop it, drop its result, then look at what it needed itself.

    What a million tasks stood on is let go in the turns that follow: see :func:`release_parked`.
    """
    _release(s, [ts], MAX_RELEASED)


def end_reprieve(s: Index) -> None:
    """The network is complete: what nobody has asked for until now is let go."""
    tasks, s.reprieved = s.reprieved, {}
    for ts in tasks:
        release(s, ts)


def release_parked(s: Index) -> None:
    """Go on with what :func:`release` could not finish in its turn."""
    stack, s.parked = s.parked, []
    _release(s, stack, MAX_RELEASED)


def let_go(s: Index, ts: TaskState) -> None:
    """Forget a task that nobody needs, at once and whatever may still be told, as far as nothing stands on it."""
    _release(s, [ts], -1, ts)


def _release(s: Index, stack: list[TaskState], limit: int, for_good: TaskState | None = None) -> None:
    while stack:
        if not limit:
            s.parked = s.parked + stack if s.parked else stack
            return
        limit -= 1
        ts = stack.pop()
        if ts.needed or ts.state == "forgotten":
            continue
        if ts.state in PENDING_STATES:
            if ts.processing_on is not None:
                s.outbox.free(ts.processing_on.address, ts.key)
                renumber(s, ts)
            _leave(s, ts)
            s.set_state(ts, "released")
            for dep in ts.dependencies:
                dep.nwaiters -= 1
                if not dep.nwaiters and not dep.who_wants:
                    stack.append(dep)
        elif ts.state == "memory":
            if (
                s.incomplete() and ts is not for_good
            ):  # who needs it may be in a message of a returning client that is still to come
                s.reprieved[ts] = None
                continue
            for ws in ts.who_has:
                s.outbox.free(ws.address, ts.key)
                del ws.has_what[ts]
                ws.nbytes -= max(ts.nbytes, 0)
            ts.who_has = ()
            ts.immovable = None
            s.set_state(ts, "released")
        if not ts.dependents:
            forget(s, ts, stack)
        elif not ts.history:  # others were computed from it
            ts.history = True
            s.lineage_nbytes += history_nbytes(ts)
            s.young.append(ts)


def history_nbytes(ts: TaskState) -> int:
    """What it costs to remember how this was computed."""
    return RECORD_NBYTES + payload_nbytes(ts.args)


def forget(s: Index, ts: TaskState, stack: list[TaskState]) -> None:
    """Drop the record; ``stack`` gets the dependencies that nobody needs now."""
    if ts.state == "erred":
        s.set_state(ts, "released")
    s.set_state(ts, "forgotten")
    if s.suspects:
        s.suspects.pop(ts, None)
    if s.ordered:
        copies.superseded(s, ts.key)
    if ts.history:
        s.lineage_nbytes -= history_nbytes(ts)
    ts.args = b""
    del s.tasks[ts.key]
    if ts.spec is not None:
        s.uncount(ts.spec)
    for dep in ts.dependencies:
        dependents = dep.dependents
        dependents.pop(ts, None)
        if not dependents and not dep.who_wants and dep.state != "forgotten":
            stack.append(dep)
    ts.dependencies = ()  # else the last to let go of a record would free all that it stood on in one step


def _leave(s: Index, ts: TaskState) -> None:
    """Undo what holds for the present state, before the next one is entered."""
    state = ts.state
    if state == "processing":
        ws = ts.processing_on
        assert ws is not None
        placement.off_worker(s, ts, ws)
    elif state == "queued":
        assert ts.queue is not None
        ts.queue.discard(ts)
    elif state == "no-worker":
        del s.unrunnable[ts]
    elif state == "waiting":
        ts.nwaiting = 0
        if ts.spec is None:
            del s.promised[ts]


def _dependencies_served(s: Index, ts: TaskState) -> None:
    """A task that was to be computed is done (or never will be): it needs its dependencies no longer."""
    for dep in ts.dependencies:
        dep.nwaiters -= 1
        if not dep.nwaiters and not dep.who_wants:
            release(s, dep)
