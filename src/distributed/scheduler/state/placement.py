"""Where a task runs, and when it is sent there.

A runnable task waits in a queue at the scheduler as long as it can, because there it can still go anywhere: the common
queue when any worker is as good as another, the backlog of one worker when its data (or the user) prefers that one.
A worker is given tasks by *time*: until it is expected to be busy for ``settings.prefetch`` seconds a thread, and
always one spare task a thread, so that it never waits for the scheduler.

An idle worker takes from the common queue, then from the backlogs of others, which costs nothing, for these tasks
never left; only then are unstarted tasks stolen back from a worker that has too many.
"""

from __future__ import annotations

import heapq
import itertools

import msgspec

from distributed.protocol.messages import Key, PutFunctions, RunOptions, RunTasks
from distributed.scheduler.state import absence, copies, immovable
from distributed.scheduler.state.index import Index
from distributed.scheduler.state.queue import TaskQueue
from distributed.scheduler.state.records import TaskSpec, TaskState, WorkerState

#: At most this many holders of a dependency are told to the worker that needs it.
MAX_HOLDERS = 8

#: How many tasks at the top of a backlog an idle worker weighs before it gives up, how many it passes that it may not
#: run, and in how many backlogs, the fullest first.
MAX_TRIES = 8
MAX_SCANNED = 64
MAX_VICTIMS = 4

#: In how many backlogs the fullest are looked for; idle workers that look in vain before a turn leaves it at that.
MAX_BACKLOGS = 32
MAX_IN_VAIN = 8

#: Workers that are compared for one task, and those for which tasks are asked back at once.
MAX_COMPARED = 32
MAX_TAKERS = 64

NEVER = float("inf")


def make_runnable(s: Index, ts: TaskState) -> None:
    """All dependencies are in memory: queue the task, in common or for the worker that suits it best."""
    spec = ts.spec
    assert spec is not None
    if not spec.restricted and not ts.dependencies:
        s.set_state(ts, "queued")
        s.queue.push(ts)
        return
    if s.absent and absence.takes(s, ts):
        s.set_state(ts, "queued")
        return
    ws = best_worker(s, ts)
    if ws is not None:
        s.set_state(ts, "queued")
        push_backlog(s, ts, ws)
    elif not _without_worker(s, ts):
        s.set_state(ts, "queued")
        s.queue.push(ts)


def _without_worker(s: Index, ts: TaskState) -> bool:
    """No worker may take a task now. False: any may, there is only none with room."""
    assert ts.spec is not None
    hosts = immovable.hosts(ts)
    if hosts is None and not ts.spec.restricted:
        return False
    s.set_state(ts, "no-worker")
    s.unrunnable[ts] = s.now
    if hosts is not None and not hosts:
        s.stranded[ts] = None
    return True


def push_backlog(s: Index, ts: TaskState, ws: WorkerState) -> None:
    """This worker suits the task best."""
    ws.backlog.push(ts)
    s.backlogged[ws] = None
    s.due[ws] = None


def candidates(s: Index, spec: TaskSpec) -> dict[WorkerState, None]:
    """Running workers that may take tasks of this spec; remembered until the set of workers changes."""
    if spec.candidates_version != s.workers_version:
        spec.candidates_version = s.workers_version
        options = spec.options
        able = [
            ws
            for ws in s.workers.values()
            if ws.status == "running"
            and all(ws.resources.get(name, 0) >= amount for name, amount in options.resources)
        ]
        named = set(options.workers)
        chosen = [ws for ws in able if named.intersection(ws.identifiers())] if named else able
        spec.candidates = dict.fromkeys(able if not chosen and options.allow_other_workers else chosen)
    return spec.candidates


def best_worker(s: Index, ts: TaskState) -> WorkerState | None:
    """The worker that could start this task first: what it has to do before, and what it would have to fetch."""
    spec = ts.spec
    assert spec is not None
    hosts = immovable.hosts(ts)
    if hosts is not None:
        pool = [ws for ws in hosts if ws.status == "running"]
    elif spec.restricted:
        pool = _some_candidates(s, ts, candidates(s, spec))
    else:
        holders: dict[WorkerState, None] = {}
        for dep in ts.dependencies:
            for ws in dep.who_has[:MAX_HOLDERS]:
                if ws.status == "running":
                    holders[ws] = None
        if s.open:
            holders[next(iter(s.open))] = None
        pool = list(holders)
    if len(pool) < 2:
        return pool[0] if pool else None
    return min(pool, key=lambda ws: start_delay(s, ts, ws))


def _some_candidates(s: Index, ts: TaskState, able: dict[WorkerState, None]) -> list[WorkerState]:
    """Of many workers that may run a task, those that hold what it needs, and a few others by chance."""
    if len(able) <= MAX_COMPARED:
        return list(able)
    holders = [ws for dep in ts.dependencies for ws in dep.who_has[:MAX_HOLDERS] if ws in able]
    idle = [ws for ws in itertools.islice(s.idle, MAX_COMPARED) if ws in able]
    return list(dict.fromkeys([*holders, *idle, *s.random.choices(tuple(able), k=MAX_COMPARED)]))


def start_delay(s: Index, ts: TaskState, ws: WorkerState) -> float:
    """Seconds until a worker could start this task."""
    return (ws.occupancy + ws.backlog.seconds) / ws.nthreads + fetch_time(s, ts, ws)


def fetch_time(s: Index, ts: TaskState, ws: WorkerState) -> float:
    """Seconds to bring the dependencies that a worker lacks; infinite for what cannot leave another."""
    missing = 0
    nbytes = 0
    for dep in ts.dependencies:
        if ws not in dep.who_has:
            if dep.immovable is not None and immovable.is_stuck(dep):
                return NEVER
            missing += 1
            nbytes += dep.nbytes
    return missing * s.settings.latency + nbytes / s.settings.bandwidth


def has_room(s: Index, ws: WorkerState) -> bool:
    """Whether a worker should be given more to do."""
    n = len(ws.processing) - len(ws.long_running)
    if ws.ncareful:
        return n < ws.nthreads
    return n < 2 * ws.nthreads or ws.occupancy < s.settings.prefetch * ws.nthreads


def has_idle_thread(ws: WorkerState) -> bool:
    """Whether a worker has more threads than tasks to run."""
    return len(ws.processing) - len(ws.long_running) < ws.nthreads


def update_open(s: Index, ws: WorkerState) -> None:
    """Note whether a worker has room; called when its tasks, its status or its threads change."""
    if ws.status == "running" and has_room(s, ws):
        s.open[ws] = None
        if ws.backlog:
            s.due[ws] = None
        if has_idle_thread(ws):
            s.idle[ws] = None
        else:
            s.idle.pop(ws, None)
    else:
        s.open.pop(ws, None)
        s.idle.pop(ws, None)


def settle_freed(s: Index) -> None:
    """Note the room of workers that have fewer tasks than at the last turn's end; who was busy just now comes first."""
    freed, s.freed = s.freed, {}
    idle = s.idle
    for ws in freed:
        was_idle = ws in idle
        update_open(s, ws)
        if not was_idle and ws in idle:
            idle.move_to_end(ws, last=False)


def on_worker(ts: TaskState, ws: WorkerState) -> None:
    """A task is with a worker now."""
    spec = ts.spec
    assert spec is not None
    ts.processing_on = ws
    expected = spec.prefix.expected
    ws.processing[ts] = expected
    ws.occupancy += expected
    if ts.careful:
        ws.ncareful += 1


def off_worker(s: Index, ts: TaskState, ws: WorkerState) -> None:
    """A task is not with its worker any more."""
    ws.occupancy -= ws.processing.pop(ts)
    if not ws.processing:
        ws.occupancy = 0.0
    if ts in ws.long_running:
        del ws.long_running[ts]
    if ts.careful:
        ws.ncareful -= 1
    ts.processing_on = None
    s.freed[ws] = None


class _Batch:
    """The RunTasks messages that one call of :func:`fill` builds, one for each worker, spec and way of answering."""

    __slots__ = ("messages", "told")

    def __init__(self) -> None:
        self.messages: dict[tuple[WorkerState, TaskSpec, bool], RunTasks] = {}
        self.told: dict[int, dict[Key, None]] = {}


def fill(s: Index) -> None:
    """Give queued tasks to workers that have room: first one for each idle thread everywhere, then a spare supply.

    What this costs depends on what there is to give, not on how many workers have room: only those are looked at that
    have a backlog of their own and those that the common queue is given to.
    """
    s.sorting, s.sort_left = False, absence.MAX_MOVED
    batch = _Batch()
    due, s.due = s.due, {}
    _fill_threads(s, due, batch)
    _prune_backlogged(s)
    if s.backlogged and s.idle:
        _help_others(s, batch)
        due |= s.due
        s.due = {}
    given = True
    while given and s.open:  # again, for a worker may take less than its share
        given = False
        nopen = len(s.open)
        takers = [ws for ws in due if ws.backlog and ws in s.open]
        if s.queue:
            takers = list(dict.fromkeys([*takers, *itertools.islice(s.open, len(s.queue))]))
        for ws in takers:
            given |= _supply(s, ws, -(-len(s.queue) // nopen) + len(ws.backlog), batch)
            nopen -= 1
    for ws in due:
        if not ws.backlog:
            s.backlogged.pop(ws, None)
        elif ws in s.open:  # its first task has to run without company
            s.due[ws] = None
    if s.asides and s.open and not s.sorting:
        _fill_from_asides(s, batch)


def _fill_threads(s: Index, due: dict[WorkerState, None], batch: _Batch) -> None:
    """One task each a round, so that few tasks spread over many workers.

    Those with a backlog may have a task of their own, so the common queue is offered to as many others as it is long.
    """
    first = [ws for ws in due if ws in s.idle]
    idle = list(
        dict.fromkeys([*first, *itertools.islice(s.idle, len(s.queue) + len(first) if s.queue else 0)])
    )
    while idle:
        served = []
        for ws in idle:
            ts = next_task(s, ws)
            if ts is not None:
                give(s, ts, ws, batch)
                if has_idle_thread(ws):
                    served.append(ws)
                else:
                    _threads_taken(s, ws)
        idle = served


def _threads_taken(s: Index, ws: WorkerState) -> None:
    s.idle.pop(ws, None)
    if not has_room(s, ws):
        s.open.pop(ws, None)


def _help_others(s: Index, batch: _Batch) -> None:
    """Idle workers take from the backlogs of others, each one task a round."""
    in_vain = 0
    while s.idle and in_vain < min(len(s.idle), MAX_IN_VAIN):
        ws = next(iter(s.idle))
        ts = _from_others(s, ws)
        if ts is None:
            in_vain += 1
        else:
            give(s, ts, ws, batch)
        if ts is None or has_idle_thread(ws):
            s.idle.move_to_end(ws)
        else:
            _threads_taken(s, ws)


def _supply(s: Index, ws: WorkerState, share: int, batch: _Batch) -> bool:
    """Give a worker what it has room for, at most so many tasks. Returns whether it took any."""
    given = False
    while share > 0 and has_room(s, ws):
        ts = next_task(s, ws)
        if ts is None:
            break
        give(s, ts, ws, batch)
        given = True
        share -= 1
    if not has_room(s, ws):
        s.open.pop(ws, None)
    if given and not has_idle_thread(ws):
        s.idle.pop(ws, None)
    return given


def _fill_from_asides(s: Index, batch: _Batch) -> None:
    """Nobody who is there has work that waits: what absent clients want is next."""
    for cs in [cs for cs in s.asides if cs not in s.returning]:
        given = True
        while given and cs.aside and s.open:
            given = False
            for ws in list(itertools.islice(s.idle or s.open, len(cs.aside))):
                ts = _pop_fitting(cs.aside, ws)
                if ts is None:
                    break
                give(s, ts, ws, batch)
                given = True
                if not has_idle_thread(ws):
                    _threads_taken(s, ws)
        if not cs.aside:
            s.asides.pop(cs)


def _prune_backlogged(s: Index) -> None:
    """Forget some of those whose backlog is empty."""
    for ws in [ws for ws in itertools.islice(s.backlogged, MAX_BACKLOGS) if not ws.backlog]:
        del s.backlogged[ws]


def next_task(s: Index, ws: WorkerState) -> TaskState | None:
    """Take the task a worker should get next off its queue."""
    if s.absent:
        mine, common = absence.backlog_head(s, ws), absence.head(s)
    else:
        mine, common = ws.backlog.peek(), s.queue.peek()
    if mine is not None and (common is None or mine.priority < common.priority):
        return _pop_fitting(ws.backlog, ws) or (_pop_fitting(s.queue, ws) if common is not None else None)
    if common is not None:
        return _pop_fitting(s.queue, ws) or (_pop_fitting(ws.backlog, ws) if mine is not None else None)
    return None


def _pop_fitting(queue: TaskQueue, ws: WorkerState) -> TaskState | None:
    """Pop, unless the first task must run without company and the worker has some."""
    ts = queue.peek()
    assert ts is not None
    if ts.careful and not has_idle_thread(ws):
        return None
    return queue.pop()


def _from_others(s: Index, ws: WorkerState) -> TaskState | None:
    """A task out of one of the fullest backlogs that an idle worker would start sooner, fetching included."""
    some = itertools.islice(s.backlogged, MAX_BACKLOGS)
    for victim in heapq.nlargest(MAX_VICTIMS, some, key=lambda other: other.backlog.seconds):
        if victim is ws:
            continue
        # What it is expected to need, and longer if it has been at it for longer than anything was expected to take.
        busy = (victim.occupancy + victim.backlog.seconds) / victim.nthreads + s.now - victim.last_completion
        tries = MAX_TRIES
        for ts in itertools.islice(victim.backlog, MAX_SCANNED):
            spec = ts.spec
            assert spec is not None
            if spec.restricted and ws not in candidates(s, spec):
                continue
            if fetch_time(s, ts, ws) < busy:
                victim.backlog.discard(ts)
                s.backlogged.move_to_end(victim)
                s.due[victim] = None
                return ts
            tries -= 1
            if not tries:
                break
    return None


def give(s: Index, ts: TaskState, ws: WorkerState, batch: _Batch) -> None:
    """Hand a task, just taken off its queue, to a worker."""
    spec = ts.spec
    assert spec is not None
    s.set_state(ts, "processing")
    on_worker(ts, ws)
    if s.ordered:
        copies.superseded(s, ts.key, ws)
    inline = bool(ts.who_wants)
    message = batch.messages.get((ws, spec, inline))
    if message is None:
        message = _begin_message(s, ws, spec, inline)
        batch.messages[ws, spec, inline] = message
    message.keys.append(ts.key)
    message.args.append(ts.args)
    message.seqs.append(ts.seq)
    if ts.work:
        if message.works is None:
            message.works = [b""] * (len(message.keys) - 1)
        message.works.append(ts.work)
    elif message.works is not None:
        message.works.append(b"")
    if ts.dependencies:
        _add_dependencies(s, ts, ws, message, batch)
    elif message.deps is not None:
        message.deps.append([])


def give_alone(s: Index, ts: TaskState, ws: WorkerState) -> None:
    """Hand one task, just taken off its queue, to a worker, whatever that has to do already."""
    give(s, ts, ws, _Batch())
    update_open(s, ws)


def give_despite_pause(s: Index, ts: TaskState, ws: WorkerState) -> None:
    """Hand one task, just taken off its queue, to a worker that is paused, and have it run there."""
    batch = _Batch()
    give(s, ts, ws, batch)
    for message in batch.messages.values():
        message.options = msgspec.structs.replace(message.options, despite_pause=True)


def _begin_message(s: Index, ws: WorkerState, spec: TaskSpec, inline: bool) -> RunTasks:
    options = spec.options
    function = s.functions[spec.fn]
    if ws not in function.workers:
        function.workers[ws] = ws.functions[function] = None
        s.outbox.send(ws.address, PutFunctions([spec.fn], [function.blob]))
    message = RunTasks(
        fn=spec.fn,
        name=spec.name,
        keys=[],
        args=[],
        seqs=[],
        holders=[],
        options=RunOptions(
            priority=options.priority,
            resources=options.resources,
            inline=inline,
            duration=spec.prefix.duration_average,
            actor=options.actor,
            annotations=options.annotations,
        ),
    )
    s.outbox.send(ws.address, message)
    return message


def _add_dependencies(s: Index, ts: TaskState, ws: WorkerState, message: RunTasks, batch: _Batch) -> None:
    """The columns of a task with dependencies: their keys, and who holds those that the worker lacks."""
    if message.deps is None:
        message.deps = [[] for _ in range(len(message.keys) - 1)]
    message.deps.append([dep.key for dep in ts.dependencies])
    told = batch.told.setdefault(id(message), {})
    for dep in ts.dependencies:
        if ws not in dep.who_has and dep.key not in told:
            told[dep.key] = None
            holders = dep.who_has if dep.immovable is None else immovable.who_can_deliver(dep)
            if len(holders) > MAX_HOLDERS:
                holders = tuple(s.random.sample(holders, MAX_HOLDERS))
            message.holders.append((dep.key, dep.nbytes, [holder.address for holder in holders]))
            if dep.work:
                message.dep_works.append((dep.key, dep.work))


def stop_giving(s: Index, ws: WorkerState) -> None:
    """A worker does not start tasks any more: what it has not started goes elsewhere."""
    update_open(s, ws)
    requeue_backlog(s, ws)
    keys = [ts.key for ts in ws.processing if ts not in ws.long_running]
    if keys:
        ws.steal_asked = True
        s.outbox.steal(ws.address, keys)


def reconsider_unrunnable(s: Index) -> None:
    """The workers that may take tasks are others now: some tasks may find one at last."""
    for ts in list(s.unrunnable):
        assert ts.spec is not None
        if candidates(s, ts.spec) and (immovable.hosts(ts) is None or best_worker(s, ts) is not None):
            del s.unrunnable[ts]
            make_runnable(s, ts)


def requeue_backlog(s: Index, ws: WorkerState) -> None:
    """A worker stops taking tasks: place what was queued for it anew."""
    for ts in list(ws.backlog):
        ws.backlog.discard(ts)
        replace_queued(s, ts)
    s.backlogged.pop(ws, None)


def replace_queued(s: Index, ts: TaskState) -> None:
    """Place a task anew that has just been taken off a queue; its state stays ``queued`` or becomes ``no-worker``."""
    ws = best_worker(s, ts)
    if ws is not None:
        push_backlog(s, ts, ws)
    elif not _without_worker(s, ts):
        s.queue.push(ts)


def place_returned(s: Index) -> None:
    """Clients are back: so many of their tasks that were set aside are placed as others are. See :mod:`absence`."""
    left = absence.MAX_MOVED
    for cs in list(s.returning):
        for ts in list(itertools.islice(cs.aside, left)):
            left -= 1
            if not ts.needed:  # it is about to be let go
                continue
            cs.aside.discard(ts)
            if ts.dependencies:
                replace_queued(s, ts)
            else:
                s.queue.push(ts)
        if not cs.aside:
            del s.returning[cs]
            s.asides.pop(cs, None)
        if not left:
            return


def follow(s: Index, ts: TaskState) -> None:
    """This result turned out to be immovable: what uses it and is not with a worker is placed anew.

    What another worker was given returns from there by itself, when the result does not come.
    """
    for dependent in ts.dependents:
        if dependent.state == "queued":
            assert dependent.queue is not None
            dependent.queue.discard(dependent)
            replace_queued(s, dependent)
        elif dependent.state == "no-worker":
            s.stranded[dependent] = None


def balance(s: Index) -> None:
    """Ask workers that have more than they can do at once to give unstarted tasks back, for those that are idle."""
    if s.freed:
        settle_freed(s)
    if s.awaited:
        return
    if s.queue or s.backlogged:
        fill(s)
    takers = list(s.idle)
    if len(takers) > MAX_TAKERS:
        takers = s.random.sample(takers, MAX_TAKERS)
    idle = sum(ws.nthreads - len(ws.processing) + len(ws.long_running) for ws in takers)
    if idle <= 0:
        return
    for victim in s.workers.values():
        spare = len(victim.processing) - len(victim.long_running) - victim.nthreads
        stalled = s.now - victim.last_completion > s.settings.prefetch
        if spare <= 0 or victim.steal_asked or not (stalled or victim.occupancy > 2 * s.settings.prefetch):
            continue
        keys = _stealable(s, victim, takers, spare if spare <= idle else max(idle, spare // 2))
        if keys:
            victim.steal_asked = True
            s.outbox.steal(victim.address, keys)
            idle -= len(keys)
            if idle <= 0:
                return


def _stealable(s: Index, victim: WorkerState, takers: list[WorkerState], count: int) -> list[Key]:
    """Keys of the tasks that were given last and may run on one of the takers."""
    keys: list[Key] = []
    for ts in reversed(victim.processing):
        if len(keys) == count:
            break
        spec = ts.spec
        if ts in victim.long_running or spec is None:
            continue
        able = candidates(s, spec) if spec.restricted else takers
        limit = max(spec.prefix.expected, s.settings.prefetch)
        if any((able is takers or ws in able) and fetch_time(s, ts, ws) < limit for ws in takers):
            keys.append(ts.key)
    return keys
