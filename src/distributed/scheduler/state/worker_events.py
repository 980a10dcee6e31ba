"""What workers say to the scheduler, and what follows from their coming and going."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from distributed.protocol.messages import (
    Key,
    LongRunning,
    Message,
    ReplicasAdded,
    ReplicasMissing,
    ResultsImmovable,
    TasksErred,
    TasksFinished,
    TasksReturned,
    WorkerClosing,
    WorkerEvent,
    WorkerHeartbeat,
    WorkerStatusChanged,
)
from distributed.scheduler.state import (
    client_events,
    copies,
    errors,
    immovable,
    lifecycle,
    overfull,
    placement,
    retirement,
    shortage,
    works,
)
from distributed.scheduler.state.index import Index, Unclaimed
from distributed.scheduler.state.partings import HANG_UP, Parting
from distributed.scheduler.state.records import ClientState, TaskState, WorkerState


def add_worker(
    s: Index, ws: WorkerState, holding: Iterable[tuple[Any, ...]], running: Iterable[tuple[Any, ...]]
) -> None:
    s.workers[ws.address] = s.names[ws.name] = ws
    s.awaited.pop(ws.address, None)
    s.given_up = None
    s.workers_version += 1
    for key, nbytes, typename, *rest in holding:
        work = rest[0] if rest else b""
        ts = s.tasks.get(key)
        if ts is None or ts.state == "released":
            _unclaimed(s, key).held[ws] = (nbytes, typename, work)
        elif not works.may_be(s, ts, work):
            s.outbox.free(ws.address, key)
        elif ts.state == "memory":
            lifecycle.add_replica(ts, ws)
        elif ts.state == "erred":
            s.outbox.free(ws.address, key)
        else:
            lifecycle.to_memory(s, ts, ws, nbytes, typename)
    for key, seq, *rest in running:
        work = rest[0] if rest else b""
        ts = s.tasks.get(key)
        if ts is None or ts.state == "released" or (ts in s.promised and works.may_be(s, ts, work)):
            _unclaimed(s, key).running[ws] = (seq, work)
        elif ts.work != work:
            s.outbox.free(ws.address, key)
        elif ts.state in ("waiting", "queued", "no-worker") and (ts.seq == seq or not s.numbered(seq)):
            lifecycle.adopt_running(s, ts, ws, seq)
        elif ts.state == "processing" and ts.processing_on is not ws and not s.numbered(seq):
            lifecycle.take_over(s, ts, ws, seq)
        elif ws not in ts.who_has:
            s.outbox.free(ws.address, key)
    _, strays = s.strays.pop(ws.address, (0.0, ()))
    for key in strays:
        ts = s.tasks.get(key)
        if key not in s.unclaimed and (ts is None or (ws not in ts.who_has and ts.processing_on is not ws)):
            s.outbox.free(ws.address, key)
    placement.update_open(s, ws)
    placement.reconsider_unrunnable(s)
    retirement.survey(s)


def scatter_begun(s: Index, address: str, keys: Iterable[Key]) -> int:
    s.outbox.data_arrives(address, keys)
    return s.outbox.nfrees


def scatter_ended(s: Index, address: str, keys: Iterable[Key]) -> None:
    due = s.outbox.data_arrived(address, keys)
    retirement.survey(s)
    ws = s.workers.get(address)
    if ws is None:
        return
    for key in due:
        ts = s.tasks.get(key)
        found = s.unclaimed.get(key)
        if (ts is None or (ws not in ts.who_has and ts.processing_on is not ws)) and (
            found is None or (ws not in found.held and ws not in found.running)
        ):
            s.outbox.free(address, key)


def note_strays(s: Index, address: str, keys: list[Key]) -> None:
    """What a worker that is not there took in."""
    ws = s.workers.get(address)
    if ws is not None:
        for key in keys:
            ts = s.tasks.get(key)
            if ts is None or (ws not in ts.who_has and ts.processing_on is not ws):
                s.outbox.free(address, key)
        return
    _, before = s.strays.get(address, (0.0, []))
    s.strays[address] = (s.now + s.settings.unclaimed_grace, [*before, *keys])


def remove_worker(
    s: Index,
    address: str,
    reason: str,
    expected: bool,
    parting: Parting = HANG_UP,
    over_limit: bool = False,
) -> None:
    """The one way by which workers leave the books, whatever the cause."""
    ws = s.workers.pop(address, None)
    if ws is None:
        return
    s.workers_version += 1
    s.parted.append((ws, parting, reason))
    s.notices.append(("worker-gone", address, reason))
    if not expected:
        s.vanished.append(address)
    ws.status = "closed"
    for book in (s.open, s.idle, s.due):
        book.pop(ws, None)
    if s.names.get(ws.name) is ws:
        del s.names[ws.name]
    s.patient.pop(ws, None)
    retirement.end(s, ws)
    s.paused.pop(ws, None)
    s.spread.forget(ws)
    for function in ws.functions:
        del function.workers[ws]
    for key, found in list(s.unclaimed.items()):
        found.held.pop(ws, None)
        found.running.pop(ws, None)
        if not found.held and not found.running:
            del s.unclaimed[key]
    copies.forget_worker(s, ws)
    placement.requeue_backlog(s, ws)
    processing = list(ws.processing)
    surely_running = not expected and len(processing) - len(ws.long_running) <= ws.nthreads
    death = f"{address} ({reason})" if reason else address
    killed = []
    for ts in processing:
        if not expected:
            if surely_running or ts in ws.long_running:
                ts.suspicious += 1
                s.suspects.setdefault(ts, []).append(death)
            if ts.suspicious > s.settings.allowed_failures:
                killed.append(ts)
                continue
        lifecycle.back_to_runnable(s, ts)
        if not expected:
            ts.careful = True
    for ts in killed:
        if ts.state == "processing":
            deaths = s.suspects.get(ts, ())
            lifecycle.to_erred(s, ts, errors.killed_worker(ts, address, deaths, s.settings.allowed_failures))
    s.freed.pop(ws, None)
    held = list(ws.has_what)
    failing = overfull.suspect(s, ws, death) if over_limit and not processing else {}
    for ts in held:
        lifecycle.remove_replica(ts, ws)
    lifecycle.lost(s, held, failing)
    s.outbox.forget_peer(address)
    retirement.survey(s)
    ws.alone = ()  # it is there in it


def finished(s: Index, ws: WorkerState, msg: TasksFinished) -> None:
    """Results came into a worker's memory."""
    tasks = s.tasks
    ws.last_completion = s.now
    prefix = None
    total = 0.0
    count = 0
    for key, seq, nbytes, duration, typename, value in zip(
        msg.keys, msg.seqs, msg.nbytes, msg.durations, msg.types, msg.values, strict=True
    ):
        ts = tasks.get(key)
        if ts is None or ts.seq != seq or ts.processing_on is not ws:
            _finished_late(s, ws, ts, key, (nbytes, typename))
            continue
        spec = ts.spec
        assert spec is not None
        if spec.prefix is not prefix:
            if prefix is not None:
                prefix.add_durations(total, count)
            prefix = spec.prefix
            total, count = 0.0, 0
        total += duration
        count += 1
        lifecycle.to_memory(s, ts, ws, nbytes, typename, value)
    if prefix is not None:
        prefix.add_durations(total, count)
    if ws in s.paused:
        s.relief_due = True
    if ws in s.leaving:
        retirement.survey(s)


def _finished_late(
    s: Index, ws: WorkerState, ts: TaskState | None, key: Key, result: tuple[int, str]
) -> None:
    """A result nobody waits for: of a task that no client has submitted to this scheduler yet, or of an earlier order.

    Of an order that was taken back it cannot be used: FreeKeys is on its way. What the worker holds or runs by a later
    order must not be freed: that order was sent before this answer came.
    """
    found = s.unclaimed.get(key)
    if found is not None and ws in found.running:
        _, work = found.running.pop(ws)
        found.held[ws] = (*result, work)
        if ts is not None and ts in s.promised:
            lifecycle.claim(s, ts)
    elif found is not None and ws in found.held:
        return
    elif ts is None or (ts.processing_on is not ws and ws not in ts.who_has):
        s.outbox.free(ws.address, key)


def _not_running(s: Index, ws: WorkerState, key: Key) -> None:
    """A task that nobody has submitted to this scheduler ended without a result."""
    found = s.unclaimed.get(key)
    if found is not None and found.running.pop(ws, None) is not None and not found.held and not found.running:
        del s.unclaimed[key]


def erred(s: Index, ws: WorkerState, msg: TasksErred) -> None:
    ws.last_completion = s.now
    for key, seq, error in zip(msg.keys, msg.seqs, msg.errors, strict=True):
        ts = s.tasks.get(key)
        if ts is None or ts.seq != seq or ts.processing_on is not ws:
            _not_running(s, ws, key)
            continue
        if ts.retries > 0:
            ts.retries -= 1
            lifecycle.back_to_runnable(s, ts)
        else:
            error.blamed_key = key
            if ws.address not in error.erred_on:
                error.erred_on = [*error.erred_on, ws.address]
            lifecycle.to_erred(s, ts, error)
    if ws in s.leaving:
        retirement.survey(s)


def returned(s: Index, ws: WorkerState, msg: TasksReturned) -> None:
    """A worker gave unstarted tasks back."""
    if msg.reason == "stolen":
        ws.steal_asked = False
    not_delivered(s, msg.missing, ws, msg.works)
    for key, seq in zip(msg.keys, msg.seqs, strict=True):
        ts = s.tasks.get(key)
        if ts is not None and ts.seq == seq and ts.processing_on is ws:
            lifecycle.back_to_runnable(s, ts)
        else:
            _not_running(s, ws, key)
    placement.update_open(s, ws)  # behind those that wait for work: it could not do this
    if ws in s.leaving:
        retirement.survey(s)


def long_running(s: Index, ws: WorkerState, msg: LongRunning) -> None:
    """Tasks left the worker's pool of threads: its slots are free for others."""
    for key, seq in zip(msg.keys, msg.seqs, strict=True):
        ts = s.tasks.get(key)
        if ts is not None and ts.seq == seq and ts.processing_on is ws:
            ws.long_running[ts] = None
            ws.occupancy -= ws.processing[ts]
            ws.processing[ts] = 0.0
    s.freed[ws] = None


def replicas_added(s: Index, ws: WorkerState, msg: ReplicasAdded) -> None:
    s.outbox.heard[ws.address] = s.outbox.heard.get(ws.address, 0) + 1
    for key, work in zip(msg.keys, msg.works or itertools.repeat(b""), strict=False):
        ts = s.tasks.get(key)
        if ts is not None and ts.state == "memory" and ts.work == work:
            lifecycle.add_replica(ts, ws)
        elif ts is None or ts.processing_on is not ws:  # else the worker will say that it has finished
            s.outbox.free(ws.address, key)
    copies.settle(s, ws, msg.keys)
    if s.leaving:
        retirement.arrived(s, ws, msg.keys)


def replicas_missing(s: Index, ws: WorkerState, msg: ReplicasMissing) -> None:
    not_delivered(s, msg.missing, ws, msg.works)
    copies.settle(s, ws, [key for key, _ in msg.missing])
    retirement.survey(s)


def results_immovable(s: Index, ws: WorkerState, msg: ResultsImmovable) -> None:
    """Results that cannot be pickled: what uses them goes where they are."""
    for key, address, reason in zip(msg.keys, msg.holders, msg.reasons, strict=True):
        ts = s.tasks.get(key)
        holder = s.workers.get(address)
        if ts is None or holder is None or holder not in ts.who_has:
            continue
        if immovable.mark(ts, holder, reason) and immovable.is_stuck(ts):
            placement.follow(s, ts)
    retirement.survey(s)


def heartbeat(s: Index, ws: WorkerState, msg: WorkerHeartbeat) -> None:
    ws.metrics = msg.metrics


def status_changed(s: Index, ws: WorkerState, msg: WorkerStatusChanged) -> None:
    report_status(s, ws, msg.status)


def report_status(s: Index, ws: WorkerState, status: str) -> None:
    """A worker says of itself what it is."""
    shortage.note(s, ws, status)
    set_status(s, ws, status)


def closing(s: Index, ws: WorkerState, msg: WorkerClosing) -> None:
    remove_worker(s, ws.address, msg.reason, expected=True)


def event(s: Index, ws: WorkerState, msg: WorkerEvent) -> None:
    """Not the machine's business; the shell reads these."""
    s.notices.append(("worker-event", ws.address, msg))


EVENTS: dict[type[Message], Callable[[Index, WorkerState, Any], None]] = {
    TasksFinished: finished,
    TasksErred: erred,
    TasksReturned: returned,
    LongRunning: long_running,
    ReplicasAdded: replicas_added,
    ReplicasMissing: replicas_missing,
    ResultsImmovable: results_immovable,
    WorkerHeartbeat: heartbeat,
    WorkerStatusChanged: status_changed,
    WorkerClosing: closing,
    WorkerEvent: event,
}


def set_status(s: Index, ws: WorkerState, status: str) -> None:
    """A worker takes tasks (``running``) or does not, and then gives back what it has not started."""
    if status == ws.status or ws in s.leaving:
        return
    ws.status = status
    s.workers_version += 1
    if status == "running":
        placement.update_open(s, ws)
        placement.reconsider_unrunnable(s)
    else:
        placement.stop_giving(s, ws)
    retirement.survey(s)


def name_data(
    s: Index, cs: ClientState | None, meant: Mapping[Key, bytes], number: int
) -> tuple[dict[Key, None], list[TaskState]]:
    """Named data is about to come, or finds its key taken. Nobody waits for it where no client holds futures."""
    taken: dict[Key, None] = {}
    records: list[TaskState] = []
    if cs is None:
        return taken, records
    if number:
        s.outbox.hear(cs.name, number)
    for key, work in meant.items():
        cs.refused.pop(key, None)
        ts = s.tasks.get(key)
        if ts is not None and not works.may_be(s, ts, work):
            ts = client_events.other_work(s, cs, ts)
            if ts is not None:
                taken[key] = None
        if ts is None:
            ts = client_events.create(s, key, None, b"", ())
            ts.work = work
        if key not in taken:
            records.append(ts)
            s.arriving[ts] = s.arriving.get(ts, 0) + 1
        client_events.want(s, ts, cs)
        if ts.state == "released":
            lifecycle.activate(s, (ts,))
        elif key in taken:
            client_events.report(s, ts, cs)
    return taken, records


def data_named(s: Index, records: Iterable[TaskState]) -> None:
    """What has not come until now does not come."""
    for ts in records:
        s.arriving[ts] -= 1
        if not s.arriving[ts]:
            del s.arriving[ts]
            if ts in s.promised and not s.incomplete():
                lifecycle.to_erred(s, ts, errors.lost_data(ts))


def _other_data(s: Index, ws: WorkerState, ts: TaskState) -> None:
    """Data came to a worker under a key that stands for other work by now, and took the place of what was there."""
    if ts.processing_on is ws:
        lifecycle.renumber(s, ts)
        lifecycle.back_to_runnable(s, ts)
    elif ws in ts.who_has:
        lifecycle.remove_replica(ts, ws)
        lifecycle.lost(s, (ts,))
    s.outbox.free(ws.address, ts.key)


def add_data(s: Index, address: str, client: str | None, data: Iterable[tuple[Any, ...]]) -> None:
    ws = s.workers.get(address)
    cs = s.clients.get(client) if client is not None else None
    for key, nbytes, typename, *rest in data:
        ts = s.tasks.get(key)
        work = (
            rest[0] if rest else b"" if ts is None else ts.work
        )  # where it is not said, it is what is meant
        if ts is not None and not works.may_be(s, ts, work):
            if ws is not None:
                _other_data(s, ws, ts)
            continue
        if cs is None and (ts is None or not ts.needed):  # that client left meanwhile
            if ws is not None:
                s.outbox.free(ws.address, key)
            continue
        if ts is None:
            ts = client_events.create(s, key, None, b"", ())
            ts.work = work
        if cs is not None:
            client_events.want(s, ts, cs)
        if ts.state == "released" and key in s.unclaimed:
            lifecycle.claim(s, ts)
        if ws is None:  # it left meanwhile
            if ts.state == "released":
                lifecycle.activate(s, (ts,))
                lifecycle.release(s, ts)
        elif ts.state == "memory":
            lifecycle.add_replica(ts, ws)
            copies.superseded(s, key, ws)
            if cs is not None:
                client_events.report(s, ts, cs)
        else:
            if ts.state == "erred":
                lifecycle.forgive(s, ts)
            lifecycle.to_memory(s, ts, ws, nbytes, typename)


def expire_unclaimed(s: Index) -> None:
    """Nobody submitted these in time: the workers may forget them."""
    for address in [address for address, (deadline, _) in s.strays.items() if deadline < s.now]:
        del s.strays[address]
    for key in [key for key, found in s.unclaimed.items() if found.deadline < s.now]:
        found = s.unclaimed.pop(key)
        for ws in (*found.held, *found.running):
            s.outbox.free(ws.address, key)


def _unclaimed(s: Index, key: Key) -> Unclaimed:
    found = s.unclaimed.get(key)
    if found is None:
        found = s.unclaimed[key] = Unclaimed(s.now + s.settings.unclaimed_grace)
    return found


def not_delivered(
    s: Index,
    missing: list[tuple[Key, list[str]]],
    teller: WorkerState | None = None,
    meant: Iterable[tuple[Key, bytes]] = (),
) -> None:
    """Copies that their supposed holders did not deliver are no copies; who tells that it is missing has none.

    ``meant``: the works that some of these keys stood for as they were asked for.
    """
    affected = []
    asked = dict(meant)
    for key, addresses in missing:
        ts = s.tasks.get(key)
        if ts is None or ts.state != "memory" or asked.get(key, ts.work) != ts.work:
            continue
        affected.append(ts)
        if teller is not None and teller in ts.who_has:
            lifecycle.remove_replica(ts, teller)
            s.outbox.free(teller.address, key)
        for address in addresses:
            holder = s.workers.get(address)
            if holder is not None and holder in ts.who_has:
                if ts.spec is None and len(ts.who_has) == 1 and ts.suspicious < s.settings.allowed_failures:
                    ts.suspicious += 1  # the holder is there, and nobody could compute this again: ask again
                    continue
                lifecycle.remove_replica(ts, holder)
                s.outbox.free(address, key)
    lifecycle.lost(s, affected)
