"""What clients say to the scheduler, and what follows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from distributed.protocol.messages import (
    CancelAnswered,
    CancelKeys,
    ClientHeartbeat,
    CloseClient,
    DropFunctions,
    Key,
    Message,
    PutFunctions,
    ReleaseKeys,
    RetryKeys,
    SubmitTasks,
    WantKeys,
)
from distributed.protocol.payload import Payload
from distributed.scheduler.state import absence, lifecycle, works
from distributed.scheduler.state.index import Index
from distributed.scheduler.state.outbox import add_result
from distributed.scheduler.state.records import NO_TASKS, PENDING_STATES, ClientState, TaskSpec, TaskState

#: Why a client that comes back, or has a future from elsewhere, does not get what it means by a key.
GIVEN_AWAY = "the key stands for other work by now"


def add_client(s: Index, name: str) -> ClientState:
    cs = s.clients.get(name)
    if cs is None:
        cs = s.clients[name] = ClientState(name, s.now)
    else:
        cs.unconfirmed = dict(cs.wants_what)
        cs.stale_graphs += cs.graphs.values()
        cs.graphs = {}
        cs.confirm_until = s.now + s.settings.client_grace
    cs.disconnected_at = None
    absence.end(s, cs)
    cs.last_seen = s.now
    cs.refused = {}
    s.outbox.forget_peer(name)
    return cs


def expire_clients(s: Index) -> None:
    """Clients that stayed away for too long, and what those that came back did not ask for again."""
    for cs in list(s.clients.values()):
        if cs.disconnected_at is not None:
            if s.now - cs.disconnected_at > s.settings.client_grace:
                remove_client(s, cs.name)
        elif (cs.unconfirmed or cs.stale_graphs) and s.now > cs.confirm_until:
            drop_announced(s, cs.stale_graphs)
            cs.stale_graphs = []
            stale, cs.unconfirmed = list(cs.unconfirmed), {}
            for ts in stale:
                unwant(ts, cs)
            for ts in reversed(stale):
                lifecycle.release(s, ts)
    while s.provisional and s.provisional[0][0] < s.now:
        for ts in reversed(s.provisional.popleft()[1]):
            lifecycle.release(s, ts)


def disconnected(s: Index, name: str) -> None:
    cs = s.clients.get(name)
    if cs is not None:
        cs.disconnected_at = s.now
        absence.begin(s, cs)
        s.outbox.forget_peer(name)


def remove_client(s: Index, name: str) -> None:
    cs = s.clients.get(name)
    if cs is None:
        return
    s.notices.append(("client-gone", name, None))
    wanted = list(cs.wants_what)
    for ts in wanted:
        unwant(ts, cs)
    drop_announced(s, [*cs.graphs.values(), *cs.stale_graphs])
    for ts in reversed(wanted):
        lifecycle.release(s, ts)
    absence.end(s, cs)
    for function in list(cs.functions):
        s.drop_function(name, function.fn)
    del s.clients[name]
    s.outbox.forget_peer(name)
    cs.alone = ()  # it is there in it


def submit(s: Index, cs: ClientState, msg: SubmitTasks) -> None:
    """New tasks, or interest in tasks that are known already."""
    if msg.fn not in s.functions:
        for key in msg.keys:
            s.outbox.cancelled(cs.name, key, f"the function of {msg.name!r} never arrived at the scheduler")
        return
    spec = s.intern_spec(msg.fn, msg.name, msg.options)
    function = s.functions[msg.fn]
    spec.ntasks += 1  # in use while this goes on, whatever goes
    function.ntasks += 1
    tasks = s.tasks
    wanted = msg.wanted
    named = msg.named
    if msg.number:
        s.outbox.hear(cs.name, msg.number)
    inner: list[TaskState] | None = None if wanted else []
    to_activate: list[TaskState] = []
    again: list[TaskState] = []
    promised: list[TaskState] = []
    ncreated = 0
    for i, key in enumerate(msg.keys):
        ts = tasks.get(key)
        if ts is not None or cs.refused:
            dep_keys = msg.deps[i] if msg.deps is not None else []
            way = _way(s, cs, ts, key, dep_keys, msg, i)
            if way == REFUSED:
                continue
            if way == FREE:
                ts = None
        created = ts is None
        if ts is None:
            dependencies = dependencies_of(s, cs, key, msg.deps[i]) if msg.deps is not None else ()
            if dependencies is None:
                continue
            ts = create(s, key, spec, msg.args[i], dependencies)
            ts.client = cs
            if named or dependencies:
                ts.work = works.work_of(msg.fn, ts.args, dependencies, named)
            ncreated += 1
            if inner is not None:
                inner.append(ts)
        elif way == SAME and ts.spec is None and give_recipe(s, cs, ts, spec, msg.args[i], dep_keys, named):
            ncreated += 1
            if ts.state == "erred":  # lost data that can be computed after all
                again.append(ts)
            elif ts.needed and not wanted:
                promised.append(ts)
        if wanted:
            want(s, ts, cs)
        if ts.state == "released":
            to_activate.append(ts)
        elif not created and not (again and again[-1] is ts):
            report(s, ts, cs)
    spec.ntasks += ncreated - 1
    function.ntasks += ncreated - 1
    if not spec.ntasks:
        s.specs.pop((spec.fn, spec.name, spec.options), None)
    if inner:
        s.provisional.append((s.now + s.settings.client_grace, inner))
    if wanted and to_activate:
        lifecycle.activate(s, to_activate if msg.deps is not None else _all_runnable(s, to_activate))
    if again:
        lifecycle.retry(s, again)
    if promised:
        lifecycle.activate(s, promised)


#: What may become of work that comes under a key.
SAME, FREE, TAKEN, REFUSED = "same", "free", "taken", "refused"


def _way(
    s: Index,
    cs: ClientState,
    ts: TaskState | None,
    key: Key,
    dep_keys: list[Key],
    msg: SubmitTasks,
    i: int,
) -> str:
    """Whether a task is what its key stands for, or may take the key, or finds it taken; the client is told."""
    if cs.refused:
        if not msg.again:
            cs.refused.pop(key, None)
        if stands_on_refused(s, cs, key, dep_keys):
            return REFUSED
    if ts is None:
        return FREE
    if works.is_same(s, ts, msg.fn, msg.args[i], dep_keys, msg.named):
        return SAME
    if msg.again and not make_way(s, cs, ts):
        refuse(s, cs, key)
        return REFUSED
    return FREE if msg.again or other_work(s, cs, ts) is None else TAKEN


def other_work(s: Index, cs: ClientState, ts: TaskState) -> TaskState | None:
    """Other work comes under a key. None: it is free now; else what keeps it, and the client is told."""
    if make_way(s, cs, ts):
        return None
    s.outbox.taken(cs.name, ts.key, ts.work)
    return ts


def make_way(s: Index, cs: ClientState, ts: TaskState) -> bool:
    """Let go of a key for other work of this client. False: somebody needs what it stands for."""
    family = works.descendants(ts)
    for other in reversed(family):  # what it wanted or announced before it came back, it does not any more
        if other in cs.unconfirmed:
            unwant(other, cs)
        for announced in cs.stale_graphs:
            other.nwaiters -= announced.pop(other, 0)
        lifecycle.release(s, other)
    if _in_use(family) and all(holder in s.absent for other in family for holder in other.who_wants):
        _forget_absent(s, family)
    while s.parked and _in_use(family):  # those that nobody needs any more may still count
        lifecycle.release_parked(s)
    if _in_use(family):
        return False
    for other in reversed(family):
        if other.state != "forgotten":
            lifecycle.let_go(s, other)
    return True


def _forget_absent(s: Index, family: list[TaskState]) -> None:
    """Who is not there keeps no key from who is; if it comes back, it hears that the key was given away."""
    for other in reversed(family):
        for holder in other.who_wants:
            unwant(other, holder)
        for holder in s.absent:
            for announced in (*holder.graphs.values(), *holder.stale_graphs):
                other.nwaiters -= announced.pop(other, 0)
        lifecycle.release(s, other)


def _in_use(family: list[TaskState]) -> bool:
    return any(other.needed for other in family)


def refuse(s: Index, cs: ClientState, key: Key) -> None:
    """What this client means by a key is not what it stands for now."""
    cs.refused[key] = None
    s.outbox.cancelled(cs.name, key, GIVEN_AWAY)
    ts = s.tasks.get(key)
    if ts is not None and ts in cs.wants_what:
        unwant(ts, cs)
        lifecycle.release(s, ts)


def stands_on_refused(s: Index, cs: ClientState, key: Key, dep_keys: list[Key]) -> bool:
    """Whether this stands on something that was refused; then it is, too."""
    if any(dep in cs.refused for dep in dep_keys):
        refuse(s, cs, key)
        return True
    return False


def want_keys(s: Index, cs: ClientState, msg: WantKeys) -> None:
    works_meant = itertools.chain(msg.works, itertools.repeat(b""))
    errors = itertools.chain(msg.errors, itertools.repeat(None))
    for key, work, error in zip(msg.keys, works_meant, errors, strict=False):
        ts = s.tasks.get(key)
        if ts is not None and work and not works.may_be(s, ts, work):
            if not make_way(s, cs, ts):
                refuse(s, cs, key)
                continue
            ts = None
        if ts is None and (error is not None or _may_come(s, key)):
            ts = create(s, key, None, b"", ())
            ts.work = work
        if ts is None:
            s.outbox.cancelled(
                cs.name, key, "the scheduler does not know this key: it was released, or never submitted"
            )
            continue
        want(s, ts, cs)
        if ts.state == "released":
            if error is not None and ts.spec is None and key not in s.unclaimed:
                lifecycle.to_erred(s, ts, error)  # until somebody comes who can compute it
            else:
                lifecycle.activate(s, (ts,))
        else:
            report(s, ts, cs)


def release_keys(s: Index, cs: ClientState, msg: ReleaseKeys) -> None:
    tasks = s.tasks
    for key in msg.keys:
        ts = tasks.get(key)
        if ts is not None and ts in cs.wants_what:
            unwant(ts, cs)
            if not ts.needed:
                lifecycle.release(s, ts)


def cancel_keys(s: Index, cs: ClientState, msg: CancelKeys) -> None:
    cancel(s, msg.keys, None if msg.force else cs, msg.reason, msg.msg)
    s.outbox.send(cs.name, CancelAnswered(msg.keys))


def cancel(s: Index, keys: Iterable[Key], cs: ClientState | None, reason: str = "", msg: str = "") -> None:
    """Cancel tasks and all that depend on them, for this client or (None) for everybody."""
    affected: dict[TaskState, None] = {}
    stack = [s.tasks[key] for key in keys if key in s.tasks]
    while stack:
        ts = stack.pop()
        if ts not in affected:
            affected[ts] = None
            stack += ts.dependents
    for ts in affected:
        for client in ts.who_wants:
            if cs is None or client is cs:
                unwant(ts, client)
                s.outbox.cancelled(client.name, ts.key, reason or "cancelled by the user", msg)
    for ts in reversed(list(affected)):
        lifecycle.release(s, ts)


def retry_keys(s: Index, cs: ClientState, msg: RetryKeys) -> None:
    lifecycle.retry(s, [s.tasks[key] for key in msg.keys if key in s.tasks])


def put_functions(s: Index, cs: ClientState, msg: PutFunctions) -> None:
    for fn, blob in zip(msg.ids, msg.blobs, strict=True):
        s.put_function(cs.name, fn, blob)


def drop_functions(s: Index, cs: ClientState, msg: DropFunctions) -> None:
    for fn in msg.ids:
        s.drop_function(cs.name, fn)


def heartbeat(s: Index, cs: ClientState, msg: ClientHeartbeat) -> None:
    """That it came is all it says; the machine has noted the time."""


def close_client(s: Index, cs: ClientState, msg: CloseClient) -> None:
    remove_client(s, cs.name)


EVENTS: dict[type[Message], Callable[[Index, ClientState, Any], None]] = {
    SubmitTasks: submit,
    WantKeys: want_keys,
    ReleaseKeys: release_keys,
    CancelKeys: cancel_keys,
    RetryKeys: retry_keys,
    PutFunctions: put_functions,
    DropFunctions: drop_functions,
    ClientHeartbeat: heartbeat,
    CloseClient: close_client,
}


def want(s: Index, ts: TaskState, cs: ClientState) -> None:
    """The client holds futures on this task."""
    wants = cs.wants_what
    if ts not in wants:
        wants[ts] = None
        ts.who_wants = (*ts.who_wants, cs) if ts.who_wants else cs.alone
    elif cs.unconfirmed:
        cs.unconfirmed.pop(ts, None)


def unwant(ts: TaskState, cs: ClientState) -> None:
    """The client holds no future on this task any more."""
    if ts in cs.wants_what:
        del cs.wants_what[ts]
        if cs.unconfirmed:
            cs.unconfirmed.pop(ts, None)
        ts.who_wants = (
            () if ts.who_wants is cs.alone else tuple(other for other in ts.who_wants if other is not cs)
        )


def create(
    s: Index, key: Key, spec: TaskSpec | None, args: Payload, dependencies: tuple[TaskState, ...]
) -> TaskState:
    """A new record, linked to its dependencies."""
    ts = TaskState(key, s.next_seq, spec, args, dependencies)
    s.next_seq += 1
    s.tasks[key] = ts
    for dep in dependencies:
        _add_dependent(dep, ts)
    return ts


def _add_dependent(dep: TaskState, ts: TaskState) -> None:
    if dep.dependents is NO_TASKS:
        dep.dependents = {ts: None}
    else:
        dep.dependents[ts] = None


def give_recipe(
    s: Index, cs: ClientState, ts: TaskState, spec: TaskSpec, args: Payload, dep_keys: list[Key], named: bool
) -> bool:
    """Data that was there without a recipe has got one: from now on it can be computed again. False if it cannot."""
    dependencies = dependencies_of(s, cs, ts.key, dep_keys) if dep_keys else ()
    if dependencies is None or _stand_on(dependencies, ts):
        return False
    if not ts.work and ts.state != "memory":
        works.learn(s, ts, works.work_of(spec.fn, args, dependencies, named))
    ts.spec = spec
    ts.args = args
    ts.retries = spec.options.retries
    ts.dependencies = dependencies
    for dep in dependencies:
        _add_dependent(dep, ts)
    if ts in s.promised:
        lifecycle.fulfil(s, ts)
    return True


def dependencies_of(s: Index, cs: ClientState, key: Key, keys: list[Key]) -> tuple[TaskState, ...] | None:
    """The records of a new task's dependencies; None, and the client is told, when one is unknown."""
    dependencies: dict[TaskState, None] = {}
    tasks = s.tasks
    for dep_key in keys:
        dep = tasks.get(dep_key)
        if dep is None:
            break
        dependencies[dep] = None
    else:
        return tuple(dependencies)
    for dep_key in keys:
        if dep_key == key or (dep_key not in tasks and not _may_come(s, dep_key)):
            s.outbox.refused(cs.name, key, dep_key)
            return None
    return tuple(
        {tasks[dep_key] if dep_key in tasks else create(s, dep_key, None, b"", ()): None for dep_key in keys}
    )


def _may_come(s: Index, key: Key) -> bool:
    """Whether workers hold this although nobody submitted it, or may still come back with it."""
    found = s.unclaimed.get(key)
    return s.incomplete() or (found is not None and bool(found.held))


def _stand_on(tasks: tuple[TaskState, ...], ancestor: TaskState) -> bool:
    """Whether one of these is, or depends on, ``ancestor``."""
    if not ancestor.dependents:
        return ancestor in tasks
    seen = dict.fromkeys(tasks)
    stack = list(seen)
    while stack:
        ts = stack.pop()
        if ts is ancestor:
            return True
        new = [dep for dep in ts.dependencies if dep not in seen]
        seen.update(dict.fromkeys(new))
        stack += new
    return False


def _all_runnable(s: Index, tasks: list[TaskState]) -> list[TaskState]:
    """The hot path: new tasks without dependencies go straight to the queue. Returns those that are different."""
    rest = []
    for ts in tasks:
        spec = ts.spec
        if spec is None or spec.restricted or ts.dependencies or s.unclaimed:
            rest.append(ts)
        elif ts.state == "released":  # it is not, where one key stands in a message twice
            s.set_state(ts, "queued")
            s.queue.push(ts)
    return rest


def drop_announced(s: Index, graphs: Iterable[dict[TaskState, int]]) -> None:
    """What was announced of these graphs and has not come does not come any more. See :mod:`graphs`."""
    for announced in graphs:
        for ts, count in announced.items():
            ts.nwaiters -= count
        for ts in reversed(list(announced)):
            lifecycle.release(s, ts)


def report(s: Index, ts: TaskState, cs: ClientState) -> None:
    """Tell a client what is known of a task it has just shown interest in."""
    if cs not in ts.who_wants or ts.state in PENDING_STATES:
        return
    if ts.state == "memory":
        message = s.outbox.in_memory(cs.name)
        add_result(message, ts.key, None, ts.type, ts.who_has[0].address, ts.work)
    elif ts.state == "erred":
        assert ts.error is not None
        s.outbox.erred(cs.name, ts.key, ts.error, ts.work)
