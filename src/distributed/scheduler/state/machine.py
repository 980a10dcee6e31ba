"""The scheduler's state machine: events in, messages out; no I/O, no clock, no threads.

::

    state = SchedulerState()
    state.add_worker("tcp://10.0.0.1:4000", nthreads=4, now=0.0)
    state.add_client("client-1", now=0.0)
    state.handle_client("client-1", SubmitTasks(...), now=0.1)
    for peer, messages in state.drain(now=0.1):
        ...  # send them
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from distributed.protocol.messages import (
    CLOSING,
    ClientEvent,
    CloseWorker,
    FireAndForget,
    Key,
    Message,
    SetWorkerStatus,
    SubmitGraph,
)
from distributed.scheduler.state import (
    client_events,
    desertion,
    fired,
    graphs,
    lifecycle,
    lineage,
    muster,
    placement,
    retirement,
    shortage,
    validation,
    worker_events,
)
from distributed.scheduler.state.index import Index
from distributed.scheduler.state.partings import HANG_UP, Parting
from distributed.scheduler.state.records import ClientState, TaskState, WorkerState

_CLIENT_EVENTS: dict[type[Message], Callable[[Index, ClientState, Any], None]] = {
    **client_events.EVENTS,
    SubmitGraph: graphs.submit,
    FireAndForget: fired.fire,
}


class SchedulerState(Index):
    """The index with the events that may happen to it."""

    def handle_client(self, client: str, message: Message, now: float) -> None:
        """A stream message of a client. Messages of clients that are not registered are dropped."""
        cs = self.clients.get(client)
        if cs is not None:
            cs.last_seen = now
            self.begin(client, type(message).__name__, now)
            _CLIENT_EVENTS[type(message)](self, cs, message)

    def handle_worker(self, worker: str, message: Message, now: float) -> None:
        """A stream message of a worker. Messages of workers that were removed are dropped."""
        ws = self.workers.get(worker)
        if ws is not None:
            ws.last_seen = now
            self.begin(worker, type(message).__name__, now)
            worker_events.EVENTS[type(message)](self, ws, message)

    def add_client(self, client: str, now: float) -> ClientState:
        """A client registers, or comes back within its grace time."""
        self.begin(client, "add-client", now)
        return client_events.add_client(self, client)

    def cancel(
        self,
        client: str,
        keys: Iterable[Key],
        now: float,
        *,
        force: bool = False,
        reason: str = "",
        msg: str = "",
    ) -> None:
        """Cancel tasks of a client that did not ask for it itself; with ``force`` those of all clients."""
        cs = self.clients.get(client)
        if cs is not None:
            self.begin(client, "cancel", now)
            client_events.cancel(self, keys, None if force else cs, reason, msg)

    def client_disconnected(self, client: str, now: float) -> None:
        """A client's connection was lost; it has a grace time to come back."""
        self.begin(client, "client-disconnected", now)
        client_events.disconnected(self, client)

    def remove_client(self, client: str, now: float) -> None:
        """A client left for good: everything that only it wanted is released."""
        self.begin(client, "remove-client", now)
        client_events.remove_client(self, client)

    def add_worker(
        self,
        address: str,
        *,
        now: float,
        name: Any = None,
        nthreads: int = 1,
        memory_limit: int = 0,
        resources: dict[str, float] | None = None,
        host: str = "",
        server_id: str = "",
        extra: dict[str, Any] | None = None,
        holding: Iterable[tuple[Any, ...]] = (),
        running: Iterable[tuple[Any, ...]] = (),
    ) -> WorkerState:
        """A worker registers. It holds (key, nbytes, type, work), and executes (key, seq, work)."""
        self.begin(address, "add-worker", now)
        ws = WorkerState(
            address,
            name=name,
            nthreads=nthreads,
            memory_limit=memory_limit,
            resources=resources,
            host=host,
            server_id=server_id,
            now=now,
            extra=extra,
        )
        worker_events.add_worker(self, ws, holding, running)
        return ws

    def expect_workers(self, addresses: Iterable[str], now: float) -> None:
        """Workers that a returning client knew: give nothing out before they are back, or their time is up."""
        self.begin("", "expect-workers", now)
        muster.expect(self, addresses)

    def remove_worker(
        self,
        address: str,
        now: float,
        *,
        reason: str = "",
        expected: bool = False,
        parting: Parting = HANG_UP,
        over_limit: bool = False,
    ) -> None:
        """A worker leaves the books. Unless this was ``expected``, tasks that were surely running on it are suspected.

        ``over_limit``: its nanny has ended it for its memory; where it ran nothing its largest results are suspected.

        :attr:`parted` says what the shell has to do about the worker itself, at once.
        """
        self.begin(address, "remove-worker", now)
        worker_events.remove_worker(self, address, reason, expected, parting, over_limit)

    def close(self, reason: str, now: float) -> None:
        """The network ends, because somebody wants it to: tell everybody."""
        self.begin("", "close", now)
        for client in self.clients:
            self.outbox.send(client, ClientEvent(CLOSING, reason))
        for address in self.workers:
            self.outbox.send(address, CloseWorker(reason, nanny=True))

    def set_worker_status(self, address: str, status: str, now: float) -> None:
        """The status with which a worker registers: ``running``, ``paused`` or ``closing_gracefully``.

        A retirement that was under way is forgotten: a worker comes with ``closing_gracefully`` when its scheduler, or
        its connection, was lost meanwhile, and is told to go on.
        """
        self.begin(address, "set-worker-status", now)
        if status == "closing_gracefully":
            self.outbox.send(address, SetWorkerStatus("running"))
        else:
            worker_events.report_status(self, self.workers[address], status)

    def suspend_worker(self, address: str, now: float) -> None:
        """A worker cannot be reached, and what became of it is not known yet: it is given nothing."""
        self.begin(address, "suspend-worker", now)
        worker_events.set_status(self, self.workers[address], "paused")

    def not_delivered(self, worker: str, keys: Iterable[Key], now: float) -> None:
        """A worker that was asked for results does not have these: what it held of them counts as lost."""
        self.begin(worker, "not-delivered", now)
        worker_events.not_delivered(self, [(key, [worker]) for key in keys])

    def scatter_begun(self, worker: str, keys: Iterable[Key], now: float) -> int:
        """Data is about to be handed to a worker; :meth:`scatter_ended` has to follow, whatever becomes of it.

        Gives the number of FreeKeys begun so far: the worker takes those of them that come later for older ones. What
        would be freed between here and there is freed then, if it is not wanted anew.
        """
        self.begin(worker, "scatter-begun", now)
        return worker_events.scatter_begun(self, worker, keys)

    def scatter_ended(self, worker: str, keys: Iterable[Key], now: float) -> None:
        """The worker has answered and :meth:`add_data` was called, or it failed."""
        self.begin(worker, "scatter-ended", now)
        worker_events.scatter_ended(self, worker, keys)

    def name_data(
        self, client: str | None, works: Mapping[Key, bytes], number: int, now: float
    ) -> tuple[dict[Key, None], list[TaskState]]:
        """Data under keys that a client chose is about to be scattered.

        Gives the keys that stand for other work, whose data must not be handed out, and records for
        :meth:`data_named`, which has to follow.
        """
        self.begin(client or "", "name-data", now)
        cs = self.clients.get(client) if client is not None else None
        return worker_events.name_data(self, cs, works, number)

    def data_named(self, records: Iterable[TaskState], now: float) -> None:
        """Workers have the data that was announced, or never will."""
        self.begin("", "data-named", now)
        worker_events.data_named(self, records)

    def add_data(self, worker: str, client: str | None, data: Iterable[tuple[Any, ...]], now: float) -> None:
        """Data that no task made, (key, nbytes, type, work), is on a worker; ``client`` holds futures on it."""
        self.begin(client or worker, "add-data", now)
        worker_events.add_data(self, worker, client, data)

    def note_strays(self, worker: str, keys: list[Key], now: float) -> None:
        """A worker took scattered data and had left before it said so; should it come back, it shall drop them."""
        self.begin(worker, "strays", now)
        worker_events.note_strays(self, worker, keys)

    def retire_workers(self, addresses: Iterable[str], now: float) -> None:
        """Move what only these workers hold to others; :attr:`retired` names those that may be closed."""
        self.begin("", "retire-workers", now)
        retirement.begin(self, [self.workers[address] for address in addresses])

    def wish_to_leave(self, addresses: Iterable[str], now: float) -> None:
        """As :meth:`retire_workers`, one after the other, each when another can take what it holds."""
        self.begin("", "wish-to-leave", now)
        retirement.wish(self, [self.workers[address] for address in addresses])

    def note_nanny(self, address: str) -> None:
        """A nanny is there, whether or not its worker is."""
        self.nannies[address] = None

    def nanny_gone(self, address: str) -> None:
        """It left, or its connection was lost."""
        self.nannies.pop(address, None)

    def nanny_gave_up(self, address: str, reason: str, now: float) -> None:
        """It left because it could not start its worker any more."""
        self.begin(address, "nanny-gave-up", now)
        desertion.nanny_gave_up(self, address, reason)

    def who_leaves(self) -> dict[WorkerState, None]:
        """Workers that are asked to leave, or wish to; of these, :attr:`retired` names those that may go."""
        return dict.fromkeys((*self.leaving, *self.patient))

    def keep_workers(self, addresses: Iterable[str], now: float) -> None:
        """Workers that were to leave go on."""
        self.begin("", "keep-workers", now)
        workers = [ws for ws in map(self.workers.get, addresses) if ws is not None]
        for ws in workers:
            self.patient.pop(ws, None)
        retirement.call_off(self, workers)

    def tick(self, now: float) -> list[str]:
        """Time passed. Returns addresses of workers that have been silent for too long."""
        self.begin("", "tick", now)
        client_events.expire_clients(self)
        worker_events.expire_unclaimed(self)
        muster.expire(self)
        lineage.check(self)
        desertion.check(self)
        retirement.survey(self)
        placement.balance(self)
        shortage.check(self)
        ttl, limit = self.settings.worker_ttl, self.settings.worker_hang_limit
        return [
            ws.address
            for ws in self.workers.values()
            if now - ws.last_seen > ttl
            and (now - ws.last_vouched > ttl or now - ws.last_seen > max(ttl, limit))
        ]

    def vouch_for(self, address: str, now: float) -> None:
        """Somebody who can see a silent worker's process says that it runs: wait on, as far as the hang limit."""
        ws = self.workers.get(address)
        if ws is not None:
            ws.last_vouched = now

    def drain(self, now: float) -> Iterator[tuple[str, list[Message]]]:
        """End of the turn: give workers that have room what is queued; hand over all messages by peer."""
        self.now = now
        self.sorting = False  # what is not given out now is sorted when it is
        if self.stranded:
            lifecycle.err_stranded(self)
        fired.forget_done(self)
        if self.parked:
            lifecycle.release_parked(self)
        if self.freed:
            placement.settle_freed(self)
        if self.returning:
            placement.place_returned(self)
        if (self.queue or self.due or self.backlogged or self.asides) and not self.awaited:
            placement.fill(self)
        if self.relief_due and not self.awaited:
            shortage.relieve(self)
        return self.outbox.drain()

    def validate(self, *, drained: bool = False) -> None:
        """Check every invariant of the records; ``drained``: those too that hold right after :meth:`drain`.

        Slow, for tests. Raises AssertionError.
        """
        validation.validate(self)
        if drained:
            validation.validate_drained(self)
