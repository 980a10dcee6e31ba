"""Copies of results: more of them, fewer of them, elsewhere; and what peers say of theirs, as calls.

A change is ordered and then waited for: the records follow what workers report, never the order itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from distributed import config
from distributed.exceptions import ImmovableDataError
from distributed.protocol.messages import (
    ClientHeartbeat,
    Key,
    LongRunning,
    Message,
    ReleaseKeys,
    ReplicasAdded,
    RetryKeys,
    WantKeys,
    WorkerHeartbeat,
    WorkerStatusChanged,
)
from distributed.scheduler.base import SchedulerBase
from distributed.scheduler.state import client_events, copies, immovable, lifecycle, placement

if TYPE_CHECKING:
    from distributed.scheduler.state import TaskState, WorkerState

logger = logging.getLogger("distributed.scheduler")

#: How long ordered copies may take, in seconds.
_TIMEOUT = 60.0


class Replicas(SchedulerBase):
    """Mixed into :class:`~distributed.scheduler.server.Scheduler`.

    Attributes
    ----------
    MEMORY_REBALANCE_MEASURE : str
        What :meth:`rebalance` levels: the bytes of results.
    MEMORY_REBALANCE_SENDER_MIN, MEMORY_REBALANCE_RECIPIENT_MAX : float
        Fractions of its memory below which a worker gives nothing, and above which it takes nothing.
    MEMORY_REBALANCE_HALF_GAP : float
        How far from the mean, as a fraction of it, workers are left alone.
    """

    MEMORY_REBALANCE_MEASURE = "managed"
    MEMORY_REBALANCE_SENDER_MIN = 0.0
    MEMORY_REBALANCE_RECIPIENT_MAX = 0.6
    MEMORY_REBALANCE_HALF_GAP = 0.05

    def replica_handlers(self) -> dict[str, Callable[..., Any]]:
        memory = "distributed.worker.memory.rebalance"
        self.MEMORY_REBALANCE_SENDER_MIN = float(config.get(f"{memory}.sender-min"))
        self.MEMORY_REBALANCE_RECIPIENT_MAX = float(config.get(f"{memory}.recipient-max"))
        self.MEMORY_REBALANCE_HALF_GAP = float(config.get(f"{memory}.sender-recipient-gap")) / 2
        return {
            "replicate": self.replicate,
            "rebalance": self.rebalance,
            "delete_worker_data": self.delete_worker_data,
            "add_resources": self.add_resources,
        }

    # ------------------------------------------------------------ moving data

    async def replicate(
        self,
        keys: Iterable[Key],
        n: int | None = None,
        workers: Iterable[Any] | None = None,
        branching_factor: int = 2,
        delete: bool = True,
        stimulus_id: str | None = None,
    ) -> dict[str, Any]:
        """Have ``n`` workers hold each of these results.

        Parameters
        ----------
        keys : iterable
            Those that are not in memory are left out.
        n : int, optional
            Copies of each; default: on all workers.
        workers : iterable, optional
            Addresses or names of those that shall hold them.
        branching_factor : int
            Each holder is asked for a result by at most so many others at a time, so that many copies spread as a tree.
        delete : bool
            Drop the copies that are more than ``n``.

        Raises
        ------
        ValueError
            When there are no such workers.
        """
        await self.mustered()
        chosen = self._running(workers)
        if n is not None and n < 1:
            raise ValueError(
                f"replicate: n must be at least 1, not {n}; to drop results, release their futures"
            )
        wanted = len(chosen) if n is None else min(n, len(chosen))
        keys = list(keys)
        if delete:
            self._drop_surplus(keys, chosen, wanted)
        deadline = time.monotonic() + _TIMEOUT
        while orders := self._missing_copies(keys, chosen, wanted, branching_factor):
            self._order(orders)
            await self._arrived(orders, deadline)
            chosen = self._running(workers)  # some may have been lost, or have come
            wanted = len(chosen) if n is None else min(n, len(chosen))
            if time.monotonic() > deadline:
                raise TimeoutError(f"replicate: copies are lost as fast as they are made, in {_TIMEOUT:g} s")
        self._refuse_immovable(keys, wanted)
        return {"status": "OK"}

    def _running(self, workers: Iterable[Any] | None) -> list[WorkerState]:
        chosen = [ws for ws in self.select_workers(workers) if ws.status == "running"]
        if not chosen:
            raise ValueError(f"replicate: {self.why_none_takes_data(workers)}")
        return chosen

    def _refuse_immovable(self, keys: Iterable[Key], wanted: int) -> None:
        """Raise ImmovableDataError where a result has fewer copies than wanted, for it cannot be copied."""
        tasks = [self.state.tasks[key] for key in keys if key in self.state.tasks]
        for ts in tasks:
            if immovable.is_stuck(ts) and len(ts.who_has) < wanted:
                [(ws, reason), *_] = (ts.immovable or {}).items()
                raise ImmovableDataError(f"replicate: {ts.key!r} cannot leave {ws.address}: {reason}")

    def _missing_copies(
        self, keys: Iterable[Key], chosen: list[WorkerState], wanted: int, branching_factor: int
    ) -> dict[WorkerState, list[TaskState]]:
        orders: dict[WorkerState, list[TaskState]] = {}
        load = {ws: ws.nbytes for ws in chosen}
        for key in keys:
            ts = self.state.tasks.get(key)
            if ts is None or ts.state != "memory" or immovable.is_stuck(ts):
                continue
            lacking = [ws for ws in chosen if ws not in ts.who_has]
            count = min(wanted - (len(chosen) - len(lacking)), branching_factor * len(ts.who_has))
            for ws in sorted(lacking, key=lambda ws: load[ws])[: max(0, count)]:
                load[ws] += ts.nbytes
                orders.setdefault(ws, []).append(ts)
        return orders

    def _drop_surplus(self, keys: Iterable[Key], chosen: list[WorkerState], wanted: int) -> None:
        for key in keys:
            ts = self.state.tasks.get(key)
            if ts is None:
                continue
            holders = [ws for ws in chosen if ws in ts.who_has]
            for ws in sorted(holders, key=lambda ws: -ws.nbytes)[: max(0, len(holders) - wanted)]:
                self._drop(ts, ws)
        self.schedule_flush()

    async def rebalance(
        self,
        keys: Iterable[Key] | None = None,
        workers: Iterable[Any] | None = None,
        stimulus_id: str | None = None,
    ) -> dict[str, Any]:
        """Move results from workers that hold more than their share of bytes to those that hold less.

        Parameters
        ----------
        keys : iterable, optional
            Results that may be moved; default: all.
        workers : iterable, optional
            Addresses or names of the workers among which; default: all.

        Returns
        -------
        dict
            ``status``: "OK", or "partial-fail" with the ``keys`` that could not be moved.

        Notes
        -----
        A worker gives down to, and takes up to, the mean, give or take a fraction of it. Fractions are the settings
        ``sender-min``, ``recipient-max`` and ``sender-recipient-gap`` (half on each side) below
        ``distributed.worker.memory.rebalance``.
        """
        await self.mustered()
        chosen = [ws for ws in self.select_workers(workers) if ws.status == "running"]
        if len(chosen) < 2:
            return {"status": "OK"}
        allowed = None if keys is None else set(keys)
        moves = _balancing_moves(
            chosen,
            allowed,
            self.MEMORY_REBALANCE_HALF_GAP,
            self.MEMORY_REBALANCE_SENDER_MIN,
            self.MEMORY_REBALANCE_RECIPIENT_MAX,
        )
        orders: dict[WorkerState, list[TaskState]] = {}
        for ts, _, receiver in moves:
            orders.setdefault(receiver, []).append(ts)
        self._order(orders)
        await self._arrived(orders, time.monotonic() + _TIMEOUT, give_up=True)
        failed = []
        for ts, sender, receiver in moves:
            if receiver in ts.who_has and sender in ts.who_has and receiver.status == "running":
                self._drop(ts, sender)
            elif receiver not in ts.who_has:
                failed.append(ts.key)
        self.schedule_flush()
        return {"status": "partial-fail", "keys": failed} if failed else {"status": "OK"}

    def _order(self, orders: Mapping[WorkerState, list[TaskState]]) -> None:
        for ws, tasks in orders.items():
            holders = [(ts.key, ts.nbytes, [holder.address for holder in ts.who_has]) for ts in tasks]
            copies.order(self.state, ws, holders)
        self.schedule_flush()

    async def _arrived(
        self, orders: Mapping[WorkerState, list[TaskState]], deadline: float, *, give_up: bool = False
    ) -> None:
        """Wait until every order is answered."""
        pending = [(ts, ws) for ws, tasks in orders.items() for ts in tasks]
        while pending := [(ts, ws) for ts, ws in pending if copies.is_open(self.state, ws, ts.key)]:
            left = deadline - time.monotonic()
            if left <= 0:
                if give_up:
                    return
                ts, ws = pending[0]
                raise TimeoutError(
                    f"{len(pending)} copies did not arrive, such as {ts.key!r} on {ws.address}"
                )
            await self._copies_settled.wait(left)

    async def gather_on_worker(self, worker_address: str, who_has: Mapping[Key, list[str]]) -> set[Key]:
        """Have a worker fetch results from these holders; the keys that it could not get."""
        ws = self.state.workers[worker_address]
        tasks = [self.state.tasks[key] for key in who_has if key in self.state.tasks]
        copies.order(self.state, ws, [(ts.key, ts.nbytes, list(who_has[ts.key])) for ts in tasks])
        self.schedule_flush()
        await self._arrived({ws: tasks}, time.monotonic() + _TIMEOUT, give_up=True)
        return {key for key in who_has if key not in {ts.key for ts in ws.has_what}}

    async def delete_worker_data(
        self, worker_address: str, keys: Iterable[Key], stimulus_id: str = "delete-worker-data"
    ) -> None:
        """Have a worker drop results. Last copies of what is needed are kept."""
        self.request_remove_replicas(worker_address, list(keys), stimulus_id=stimulus_id)

    def request_acquire_replicas(self, addr: str, keys: Iterable[Key], *, stimulus_id: str = "") -> None:
        """Order copies of results that other workers hold."""
        tasks = [self.state.tasks[key] for key in keys]
        self._order({self.state.workers[addr]: [ts for ts in tasks if ts.state == "memory"]})

    def request_remove_replicas(self, addr: str, keys: Iterable[Key], *, stimulus_id: str = "") -> None:
        """Have a worker drop copies. Last copies of what is needed are kept."""
        ws = self.state.workers[addr]
        for key in keys:
            ts = self.state.tasks.get(key)
            if ts is not None and ws in ts.who_has and (len(ts.who_has) > 1 or not ts.needed):
                self._drop(ts, ws)
        self.schedule_flush()

    def _drop(self, ts: TaskState, ws: WorkerState) -> None:
        lifecycle.remove_replica(ts, ws)
        self.state.outbox.free(ws.address, ts.key)

    # ------------------------------------------------------------ the books

    def add_replica(self, ts: TaskState, ws: WorkerState) -> None:
        """Note that a worker holds a result that is in memory already."""
        if ts.state != "memory":
            raise ValueError(
                f"{ts.key!r} is {ts.state}, not in memory; use update_data for a result that is new"
            )
        lifecycle.add_replica(ts, ws)

    def remove_replica(self, ts: TaskState, ws: WorkerState) -> None:
        """Note that a worker does not hold a result any more; when it was the last copy, it is computed again."""
        lifecycle.remove_replica(ts, ws)
        lifecycle.lost(self.state, [ts])
        self.schedule_flush()

    def remove_all_replicas(self, ts: TaskState) -> None:
        """Note that no worker holds a result any more: it is computed again if somebody needs it."""
        for ws in ts.who_has:
            lifecycle.remove_replica(ts, ws)
        lifecycle.lost(self.state, [ts])
        self.schedule_flush()

    def update_data(
        self, *, who_has: Mapping[Key, list[str]], nbytes: Mapping[Key, int], client: str | None = None
    ) -> None:
        """Note results that no task made; ``client`` holds futures on them."""
        now = time.monotonic()
        for key, addresses in who_has.items():
            for address in addresses:
                self.state.add_data(address, client, [(key, nbytes[key], "")], now)
        self.schedule_flush()

    def add_keys(self, worker: str, keys: Iterable[Key] = (), stimulus_id: str | None = None) -> str:
        """A worker says that it holds copies of these too."""
        found = list(keys)
        tasks = self.state.tasks
        works = [tasks[key].work if key in tasks else b"" for key in found]
        self._heard_from_worker(worker, ReplicasAdded(found, [0] * len(found), works))
        return "OK"

    def release_worker_data(self, key: Key, worker: str, stimulus_id: str = "") -> None:
        """A worker says that it does not hold this any more."""
        self.state.not_delivered(worker, [key], time.monotonic())
        self.schedule_flush()

    # ------------------------------------------------------------ what peers say, as calls

    def _heard_from_worker(self, worker: str, message: Message) -> None:
        self.state.handle_worker(worker, message, time.monotonic())
        self.schedule_flush()

    def _heard_from_client(self, client: str, message: Message) -> None:
        self.state.handle_client(client, message, time.monotonic())
        self.schedule_flush()

    def handle_worker_status_change(self, status: Any, worker: str, stimulus_id: str = "") -> None:
        """A worker says that it is ``running`` or ``paused``."""
        self._heard_from_worker(worker, WorkerStatusChanged(getattr(status, "name", str(status))))

    def heartbeat_worker(self, *, address: str, metrics: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        """A worker says that it lives, and how it is. Other keywords are accepted, without a meaning."""
        if address not in self.state.workers:
            return {"status": "missing", "time": time.time()}
        self._heard_from_worker(address, WorkerHeartbeat(dict(metrics)))
        return {"status": "OK", "time": time.time()}

    def client_heartbeat(self, client: str) -> None:
        """A client says that it lives."""
        self._heard_from_client(client, ClientHeartbeat())

    def client_desires_keys(self, keys: Iterable[Key], client: str) -> None:
        """A client holds futures on these."""
        self._heard_from_client(client, WantKeys(list(keys)))

    def client_releases_keys(self, keys: Iterable[Key], client: str, stimulus_id: str | None = None) -> None:
        """A client holds no futures on these any more."""
        self._heard_from_client(client, ReleaseKeys(list(keys)))

    def stimulus_cancel(
        self, keys: Iterable[Key], client: str, force: bool = False, reason: str = "", msg: str = ""
    ) -> None:
        """A client cancels these."""
        self.cancel(list(keys), client, force, reason, msg)

    def stimulus_retry(self, keys: Iterable[Key], client: str | None = None) -> tuple[Key, ...]:
        """Run erred tasks again; the keys of those that had erred."""
        erred = tuple(k for k in keys if k in self.state.tasks and self.state.tasks[k].state == "erred")
        if client is not None:
            self._heard_from_client(client, RetryKeys(list(erred)))
        else:
            lifecycle.retry(self.state, [self.state.tasks[key] for key in erred])
            self.schedule_flush()
        return erred

    def cancel(
        self, keys: list[Key], client: str, force: bool = False, reason: str = "", msg: str = ""
    ) -> None:
        raise NotImplementedError

    def report_on_key(
        self, key: Key | None = None, *, ts: TaskState | None = None, client: str | None = None
    ) -> None:
        """Tell the clients that want a task, or one of them, whether it has finished or erred."""
        if ts is None:
            if key is None:
                raise ValueError("report_on_key needs a key, or ts=")
            ts = self.state.tasks[key]
        for cs in ts.who_wants:
            if client is None or cs.name == client:
                client_events.report(self.state, ts, cs)
        self.schedule_flush()

    def handle_long_running(
        self, key: Key, worker: str, run_id: int, compute_duration: float | None = None, stimulus_id: str = ""
    ) -> None:
        """A worker says that a task, sent under the number ``run_id``, has left its pool of threads."""
        self._heard_from_worker(worker, LongRunning([key], [run_id]))

    def handle_uncaught_error(self, **msg: Any) -> None:
        """A peer tells of an error of its own: it is logged."""
        logger.error("a peer reports an error: %s", msg)

    def stimulus_queue_slots_maybe_opened(self, *, stimulus_id: str = "") -> None:
        """Give workers that have room what is queued, at the end of this turn."""
        self.schedule_flush()

    def bulk_schedule_unrunnable_after_adding_worker(self, ws: WorkerState) -> None:
        """Queue the tasks that no worker could run and this one, or another, can."""
        placement.reconsider_unrunnable(self.state)
        self.schedule_flush()

    def check_idle_saturated(self, ws: WorkerState, occ: float = -1.0) -> None:
        """Look again whether a worker has room for more. ``occ`` is not used."""
        placement.update_open(self.state, ws)
        self.schedule_flush()

    def decide_worker_non_rootish(self, ts: TaskState) -> WorkerState | None:
        """The worker on which a task that could run would start first; None when no worker may take it."""
        return placement.best_worker(self.state, ts)

    # ------------------------------------------------------------ resources

    def add_resources(self, worker: str, resources: Mapping[str, float] | None = None) -> str:
        """A worker has these amounts from now on, beside those it has."""
        ws = self.state.workers[worker]
        ws.resources = {**ws.resources, **(resources or {})}
        self._resources_changed()
        return "OK"

    def remove_resources(self, worker: str) -> None:
        """A worker has no resources any more."""
        self.state.workers[worker].resources = {}
        self._resources_changed()

    def _resources_changed(self) -> None:
        self.state.workers_version += 1
        placement.reconsider_unrunnable(self.state)
        self.schedule_flush()


def _balancing_moves(
    workers: list[WorkerState],
    allowed: set[Key] | None,
    half_gap: float,
    sender_min: float,
    recipient_max: float,
) -> list[tuple[TaskState, WorkerState, WorkerState]]:
    """(task, from, to): single copies, largest first, while a sender is above and a receiver below the mean."""
    load = {ws: ws.nbytes for ws in workers}
    mean = sum(load.values()) / len(workers)
    high, low = mean * (1 + half_gap), mean * (1 - half_gap)
    moves = []
    for sender in sorted(workers, key=lambda ws: -load[ws]):
        movable = [
            ts
            for ts in sender.has_what
            if len(ts.who_has) == 1
            and ts.nbytes > 0
            and not ts.immovable
            and (allowed is None or ts.key in allowed)
        ]
        for ts in sorted(movable, key=lambda ts: -ts.nbytes):
            if load[sender] <= high or load[sender] < sender_min * sender.memory_limit:
                break
            receiver = min(workers, key=lambda ws: load[ws])
            after = load[receiver] + ts.nbytes
            if load[receiver] >= low or after >= load[sender]:
                continue
            if receiver.memory_limit and after > recipient_max * receiver.memory_limit:
                continue
            load[sender] -= ts.nbytes
            load[receiver] += ts.nbytes
            moves.append((ts, sender, receiver))
    return moves
