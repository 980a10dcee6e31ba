"""The scheduler's shell: connections, the clock, the listener; every decision is the state machine's.

Here peers come and go and time passes; what they may ask for is in :mod:`queries`, :mod:`data` and :mod:`control`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from distributed import config
from distributed.comm.addressing import get_address_host
from distributed.core import Connection, Status
from distributed.core.listening import listen_addresses, listen_at_first
from distributed.protocol.messages import Key, Message
from distributed.scheduler.data import DataOperations
from distributed.scheduler.draining import REFUSAL, Draining
from distributed.scheduler.feeds import Feeds
from distributed.scheduler.peers import Peers
from distributed.scheduler.replicas import Replicas
from distributed.scheduler.state import (
    ClientState,
    SchedulerState,
    Settings,
    TaskPrefix,
    TaskState,
    WorkerState,
)
from distributed.scheduler.vigil import Vigil
from distributed.security import Security

if TYPE_CHECKING:
    from distributed.core.http import Route

logger = logging.getLogger("distributed.scheduler")

#: Seconds between two looks at the clock on behalf of the state machine.
TICK = 0.1


class Scheduler(DataOperations, Peers, Vigil, Feeds, Draining, Replicas):
    """The scheduler of a network.

    Parameters
    ----------
    host, port, interface, protocol : optional
        Where to listen; port 0 takes any free one. ``host`` may be a whole address such as ``tcp://127.0.0.1:8786``.
    contact_address : str, optional
        The address by which others reach this scheduler, when it differs from where it listens.
    security : Security, optional
        Default: the user's cluster key, made now if there is none.
    allowed_failures : int, optional
        Workers that may die while running a task before the task errs with :class:`KilledWorker`.
    worker_ttl, idle_timeout : float or str, optional
        Seconds (or "30s") of silence after which a worker counts as dead; seconds without work or clients after which
        the scheduler stops by itself.
    validate : bool, optional
        Check all invariants of the state machine at the end of every turn. Slow.
    transition_counter_max : int, optional
        See :class:`~distributed.scheduler.steps.Steps`.

    Examples
    --------
    >>> async def f():
    ...     async with Scheduler(port=0, host="127.0.0.1") as scheduler:
    ...         return scheduler.address
    """

    default_port = 8786

    def __init__(
        self,
        loop: Any = None,
        services: Any = None,
        service_kwargs: Any = None,
        allowed_failures: int | None = None,
        extensions: Any = None,
        validate: bool | None = None,
        scheduler_file: str | None = None,
        security: Any = None,
        worker_ttl: float | str | None = None,
        idle_timeout: float | str | None = None,
        interface: str | None = None,
        host: str | None = None,
        port: int | str | list[int] = 0,
        protocol: str | None = None,
        dashboard_address: str | None = None,
        dashboard: bool | None = None,
        http_prefix: str | None = "/",
        preload: Any = None,
        preload_argv: Any = (),
        plugins: Any = (),
        contact_address: str | None = None,
        transition_counter_max: Any = False,
        jupyter: bool = False,
        blocked_handlers: Any = None,
        **kwargs: Any,
    ) -> None:
        if kwargs:
            raise TypeError(f"Scheduler got unknown parameters: {', '.join(sorted(kwargs))}")
        self.settings = Settings(
            allowed_failures=_first(allowed_failures, config.get("distributed.scheduler.allowed-failures")),
            worker_ttl=_seconds(worker_ttl, "distributed.scheduler.worker-ttl", 300.0),
            worker_hang_limit=_seconds(None, "distributed.scheduler.worker-hang-limit", 600.0),
            client_grace=_seconds(None, "distributed.scheduler.client-ttl", 60.0),
            unclaimed_grace=_seconds(None, "distributed.scheduler.unclaimed-ttl", 60.0),
            muster=_seconds(None, "distributed.scheduler.muster-timeout", 10.0),
            shortage_patience=_seconds(None, "distributed.scheduler.shortage-patience", 60.0),
            no_workers=_seconds(None, "distributed.scheduler.no-workers-timeout", math.inf) or math.inf,
            lineage=_bytes("distributed.scheduler.lineage-limit"),
            prefetch=_seconds(None, "distributed.scheduler.target-occupancy", 0.05),
            bandwidth=float(config.get("distributed.scheduler.bandwidth")),
        )
        # A random first number: a late answer to the scheduler that was here before matches nothing.
        state = SchedulerState(self.settings, first_seq=random.SystemRandom().randrange(1 << 31))
        super().__init__(
            state,
            validate=_first(validate, config.get("distributed.scheduler.validate")),
            blocked_handlers=_first(blocked_handlers, config.get("distributed.scheduler.blocked-handlers")),
            security=security,
        )
        self.init_vigil()
        self.init_draining()
        self.init_extending(extensions)
        self.add_handlers(
            {
                **self.extensions.handlers(),
                "register_client": self.register_client,
                "register_worker": self.register_worker,
                "drain": self.drain,
                **self.query_handlers(),
                **self.data_handlers(),
                **self.control_handlers(),
                **self.peer_handlers(),
                **self.introspection_handlers(),
                **self.replica_handlers(),
                **self.feed_handlers(),
            }
        )
        self.idle_timeout = _seconds(idle_timeout, "distributed.scheduler.idle-timeout", 0.0)
        self.scheduler_file = scheduler_file
        self.transition_counter_max = transition_counter_max
        for plugin in plugins or ():
            self.add_plugin(plugin)
        self._host = host
        self._port = port
        self._interface = interface
        self._protocol = protocol
        self._contact_address = contact_address
        self._tick_handle: asyncio.TimerHandle | None = None
        self._idle_since = time.monotonic()
        self._transitions_seen = 0

    # ------------------------------------------------------------ life

    async def on_start(self) -> None:
        if self.security is None:
            self.security = Security()
        self.security.cluster_key(create=True)
        self.pool.security = self.security
        addresses = listen_addresses(self._host, self._port, self._interface, self._protocol)
        await listen_at_first(self, addresses)
        if self.scheduler_file:
            from distributed.scheduler_file import write_scheduler_file

            write_scheduler_file(self.scheduler_file, self.identity())
        self._tick_handle = asyncio.get_running_loop().call_later(TICK, self._tick)
        await self.start_plugins()
        logger.info("Scheduler at %s", self.address)

    async def on_close(self, reason: str) -> None:
        await self.await_hooks("before_close")
        if self._tick_handle is not None:
            self._tick_handle.cancel()
        self.say_goodbye(reason)
        await self.await_hooks("close")

    @property
    def address(self) -> str:
        """Where others reach this scheduler. Raises ValueError before it listens."""
        return self._contact_address or super().address

    # ------------------------------------------------------------ peers come and go

    def register_client(
        self,
        comm: Connection,
        client: str,
        versions: Any = None,
        topics: Iterable[str] = (),
        known: dict[str, Any] | None = None,
        worker: str = "",
    ) -> dict[str, Any]:
        """Make this connection the stream of a client, which is told of events of ``topics``.

        ``worker`` is the address of the worker whose tasks it serves, if it is such a client.
        ``known`` is what a returning client knows of the network: ``{"scheduler_id": ..., "workers": [address, ...]}``.
        """
        if self.refuses_client(client):
            return {"status": "error", "message": REFUSAL}
        now = time.monotonic()
        self.state.add_client(client, now)
        if known is not None and known["scheduler_id"] != self.id:
            self.state.expect_workers(known["workers"], now)
        handle, begin = self.state.handle_client, self.begin_turn

        def on_stream(messages: list[Message]) -> None:
            now = begin()
            if self.draining:
                messages = [message for message in messages if not self.refuses(client, message)]
            for message in messages:
                handle(client, message, now)
            if self.wants_graphs:
                self.client_said(client, messages)

        comm.answers = self.extensions["answers"].of(client)
        self._bind(comm, client, on_stream, self._client_closed)
        if worker:
            self.partings.task_clients[client] = worker
        self.client_joined(client, topics)
        logger.info("Client %s at %s", client, comm.peer_address)
        return {
            "status": "OK",
            "scheduler_id": self.id,
            "answers": comm.answers.name,
            "address": self.address,
            "workers": list(self.state.workers),
            "versions": self._versions(),
        }

    def _versions(self) -> list[list[Any]]:
        """Pairs of packages' versions and who has them, the scheduler among them."""
        found: list[list[Any]] = [[self.versions()["packages"], ["scheduler"]]]
        for ws in self.state.workers.values():
            packages = ws.extra.get("packages")
            for known, who in found:
                if known == packages:
                    who.append(ws.address)
                    break
            else:
                if packages:
                    found.append([packages, [ws.address]])
        return found

    def register_worker(
        self,
        comm: Connection,
        address: str,
        name: Any = None,
        nthreads: int = 1,
        memory_limit: int | None = None,
        resources: dict[str, float] | None = None,
        server_id: str = "",
        host_id: str = "",
        pid: int = 0,
        nanny: str | None = None,
        local_directory: str = "",
        services: dict[str, Any] | None = None,
        versions: Any = None,
        status: str = "running",
        holding: list[Any] | None = None,
        running: list[Any] | None = None,
        plugins: Any = None,
        **extra: Any,
    ) -> dict[str, Any]:
        """Make this connection the stream of a worker, and take up what the worker holds and runs already.

        ``plugins`` is the version of the network's plugins that it has. A worker with another one than this scheduler's
        is told all of them and not let in: it sets them up and comes again.
        """
        missing = self.extensions["plugins"].for_worker(plugins)
        if missing is not None:
            return {"status": "plugins", **missing}
        now = time.monotonic()
        if address in self.state.workers:
            same = self.state.workers[address].server_id == server_id
            self.state.remove_worker(address, now, reason="registered anew", expected=same)
        self.partings.carry_out()
        taken = None if name is None else self.state.names.get(name)
        if taken is not None:
            return {
                "status": "error",
                "message": f"the name {name!r} is taken by the worker at {taken.address}",
            }
        ws = self.state.add_worker(
            address,
            now=now,
            name=name,
            nthreads=nthreads,
            memory_limit=memory_limit or 0,
            resources=resources,
            host=get_address_host(address),
            server_id=server_id,
            extra={
                "nanny": nanny,
                "local_directory": local_directory,
                "services": services,
                "pid": pid,
                "host_id": host_id,
                "packages": (versions or {}).get("packages"),
                **extra,
            },
            holding=[tuple(entry) for entry in holding or ()],
            running=[tuple(entry) for entry in running or ()],
        )
        if status != "running":
            self.state.set_worker_status(address, status, now)
        self._hear_worker(comm, address)
        self.note_workers_changed()
        self.worker_joined(address)
        logger.info("Worker %s registered with %s threads", address, nthreads)
        return {
            "status": "OK",
            "name": ws.name,
            "scheduler_id": self.id,
            "heartbeat_interval": self._heartbeat_interval(),
            "plugins": self.extensions["plugins"].workers.version,
        }

    def _hear_worker(self, comm: Connection, address: str) -> None:
        handle, begin = self.state.handle_worker, self.begin_turn

        def on_stream(messages: list[Message]) -> None:
            now = begin()
            for message in messages:
                handle(address, message, now)
            if self.wants_transitions:
                self.worker_said(address, messages)

        self._bind(comm, address, on_stream, self.worker_lost)

    async def handle_worker(self, comm: Connection, worker: str) -> None:
        """Make a connection the stream of a worker that is registered, and return when it is closed.

        The one it had before is its stream no longer. Raises KeyError when there is no such worker.
        """
        if worker not in self.state.workers:
            raise KeyError(f"no worker is registered as {worker!r}")
        closed = asyncio.Event()
        self._hear_worker(comm, worker)
        comm.on_close.append(lambda _: closed.set())
        await closed.wait()

    def _bind(
        self,
        comm: Connection,
        peer: str,
        on_stream: Callable[[list[Message]], None],
        on_close: Callable[[str, Connection], None],
    ) -> None:
        before = self.unbind(peer)
        if before is not None and before is not comm:
            before.abort()
        self._streams[peer] = comm
        comm.on_stream = on_stream
        comm.on_close.append(lambda *_: on_close(peer, comm))
        self.schedule_flush()

    def _client_closed(self, client: str, comm: Connection) -> None:
        if self._streams.get(client) is comm:
            self.unbind(client)
            self.partings.task_clients.pop(client, None)
            self.state.client_disconnected(client, time.monotonic())
            self.client_lost(client)
            self.schedule_flush()

    def _heartbeat_interval(self) -> float:
        """Seconds between two heartbeats of a worker: longer in large networks."""
        return min(5.0, max(0.5, len(self.state.workers) / 200))

    def _tick(self) -> None:
        now = time.monotonic()
        state = self.state
        self.check_worker_ttl()
        self.check_slow_peers(now)
        if state.outbox or state.notices:
            self.flush()
        if self.check_drained(now):
            return
        worked = state.ntransitions != self._transitions_seen  # also between two ticks
        if worked or not self.idle_timeout or not self.is_idle or state.awaited:
            self._idle_since, self._transitions_seen = now, state.ntransitions
        elif now - self._idle_since > self.idle_timeout:
            logger.info("Idle for %s s: closing", self.idle_timeout)
            self.spawn(self.close(reason=f"it was idle for {self.idle_timeout:g} s"))
            return
        self._tick_handle = asyncio.get_running_loop().call_later(TICK, self._tick)

    # ------------------------------------------------------------ what programs read

    @property
    def tasks(self) -> dict[Key, TaskState]:
        return self.state.tasks

    @property
    def workers(self) -> dict[str, WorkerState]:
        return self.state.workers

    @property
    def clients(self) -> dict[str, ClientState]:
        return self.state.clients

    @property
    def task_prefixes(self) -> dict[str, TaskPrefix]:
        return self.state.prefixes

    @property
    def unrunnable(self) -> dict[TaskState, float]:
        return self.state.unrunnable

    @property
    def total_nthreads(self) -> int:
        return sum(ws.nthreads for ws in self.state.workers.values())

    @property
    def total_occupancy(self) -> float:
        """Expected seconds of everything that was given to workers."""
        return sum(ws.occupancy for ws in self.state.workers.values())

    @property
    def allowed_failures(self) -> int:
        return self.settings.allowed_failures

    @property
    def worker_ttl(self) -> float:
        return self.settings.worker_ttl

    def http_routes(self) -> dict[str, Route]:
        """Those of every server, and what operators of clusters ask before they scale one."""
        return {
            **super().http_routes(),
            "/api/v1/check_idle": lambda: {"idle_since": self.check_idle()},
            "/api/v1/adaptive_target": lambda: {"workers": self.adaptive_target()},
        }

    def story(self, *keys: Key) -> list[tuple[Key, str, str, str, float]]:
        """What happened to some keys: (key, start, finish, stimulus_id, time), oldest first."""
        return self.state.story(*keys)

    def __repr__(self) -> str:
        state = self.state
        where = self.address if self.status is Status.running else "not started"
        return f"<Scheduler {where!r}, workers: {len(state.workers)}, tasks: {len(state.tasks)}>"


def _first(value: Any, default: Any) -> Any:
    return default if value is None else value


def _bytes(key: str) -> int:
    from dask.utils import parse_bytes

    return int(parse_bytes(config.get(key)))


def _seconds(value: float | str | None, key: str, default: float) -> float:
    from dask.utils import parse_timedelta

    if value is not None:
        return float(parse_timedelta(value))
    return config.seconds(key, default) or 0.0
