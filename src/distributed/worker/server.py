"""The worker of a network: its life, its scheduler, its heartbeat."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from distributed import config, system
from distributed.comm.addressing import coerce_to_address, get_address_host, parse_address, unparse_address
from distributed.comm.registry import connect
from distributed.core import Connection, Status
from distributed.core.backoff import reconnect_pause
from distributed.core.listening import listen_addresses, listen_at_first
from distributed.core.versions import get_versions
from distributed.exceptions import CommClosedError, ProtocolError, SecurityError
from distributed.logs import silence_logging
from distributed.loops import seconds
from distributed.preloading import PreloadManager, process_preloads
from distributed.private_files import scratch_space
from distributed.protocol.messages import WorkerClosing, WorkerHeartbeat
from distributed.scheduler_file import read_scheduler_address
from distributed.usage import ProcessorMeter, open_files, process_memory
from distributed.worker import context, leaving
from distributed.worker.base import logger
from distributed.worker.clients import TaskClients
from distributed.worker.data import DataStore
from distributed.worker.executor import Executor
from distributed.worker.extending import Extending
from distributed.worker.memory import WorkerMemoryManager
from distributed.worker.scheduler_calls import SchedulerCalls
from distributed.worker.state import WorkerState
from distributed.worker.surface import WorkerSurface

#: While it is one of these, what the machine (and so the scheduler) says is its status.
_WORKING = (Status.running, Status.paused, Status.closing_gracefully)

#: Seconds one attempt may take.
ATTEMPT = 10.0


class Worker(Extending, WorkerSurface, TaskClients):
    """Runs tasks in threads, keeps their results, hands them to other workers and to clients.

    Parameters
    ----------
    scheduler_ip : str or Scheduler
        Address of the scheduler, ``"tcp://192.168.0.1:8786"`` or ``"192.168.0.1:8786"``, or its host, or the object.
    scheduler_port : int, optional
        Its port, when ``scheduler_ip`` is a host.
    scheduler_file : str, optional
        File that the scheduler wrote its address into.
    nthreads : int, optional
        Tasks that run at the same time; default: the number of processors.
    name : optional
        Unique in the network; default: the address.
    resources : mapping of str to float, optional
        Amounts that tasks with ``resources=`` share.
    local_directory : str, optional
        Where a directory for files is made if one is needed.
    memory_limit : int, float, str or None
        Bytes, "4GiB", a fraction of the machine's memory, or "auto".
    death_timeout : float or str, optional
        Seconds to look for the scheduler at the start.
    heartbeat_interval : float or str, optional
        Seconds; default: what the scheduler asks for.
    host, port, interface, protocol, contact_address : optional
        Where to listen, and where others reach it. Default host: that of the socket which reaches the scheduler.
    security : Security, optional
        Default: the user's cluster key.
    nanny : str, optional
        Address of the nanny that watches this process.
    lifetime, lifetime_stagger : float or str, optional
        Seconds after which it leaves, give or take so many. ``lifetime_restart``: its nanny starts another one.
    extensions : mapping of str to type, optional
        Each is called with this worker at the start and kept in ``worker.extensions``.
    metrics, startup_information : mapping of str to callable, optional
        ``f(worker)``: sent along with every heartbeat, or once.
    validate : bool, optional
        Check the machine's invariants after every message. Slow.

    Other parameters are those known from the existing package and have no meaning (yet).

    Examples
    --------
    >>> async def f(scheduler):
    ...     async with Worker(scheduler.address, nthreads=2) as worker:
    ...         await worker.finished()
    """

    def __init__(
        self,
        scheduler_ip: Any = None,
        scheduler_port: int | None = None,
        *,
        scheduler_file: str | None = None,
        nthreads: int | None = None,
        loop: Any = None,
        local_directory: str | None = None,
        services: Any = None,
        name: Any = None,
        reconnect: Any = None,
        executor: Any = None,
        resources: Mapping[str, float] | None = None,
        silence_logs: Any = None,
        death_timeout: float | str | None = None,
        preload: Any = None,
        preload_argv: Any = None,
        security: Any = None,
        contact_address: str | None = None,
        heartbeat_interval: float | str | None = None,
        extensions: Any = None,
        metrics: Mapping[str, Callable[[Worker], Any]] | None = None,
        startup_information: Mapping[str, Callable[[Worker], Any]] | None = None,
        interface: str | None = None,
        host: str | None = None,
        port: int | str | None = None,
        protocol: str | None = None,
        dashboard_address: Any = None,
        dashboard: bool = False,
        http_prefix: str | None = "/",
        nanny: Any = None,
        plugins: Any = (),
        low_level_profiler: Any = None,
        validate: bool | None = None,
        profile_cycle_interval: Any = None,
        lifetime: float | str | None = None,
        lifetime_stagger: float | str | None = None,
        lifetime_restart: bool | None = None,
        transition_counter_max: Any = False,
        memory_limit: Any = "auto",
        data: Any = None,
        scheduler_sni: str | None = None,
        WorkerStateClass: Any = WorkerState,
        blocked_handlers: Any = None,
        **kwargs: Any,
    ) -> None:
        if kwargs:
            raise TypeError(f"Worker got unknown parameters: {', '.join(sorted(kwargs))}")
        super().__init__(
            blocked_handlers=_first(blocked_handlers, "distributed.worker.blocked-handlers"),
            security=security,
        )
        self.add_handlers({**self.operations(), **self.surface_operations()})
        self.init_extending()
        self.add_handlers(self.extensions.handlers())
        self.scheduler_address = _scheduler_address(scheduler_ip, scheduler_port, scheduler_file)
        self.scheduler = SchedulerCalls(self)
        self.scheduler_id = ""
        self.name = name
        self.nthreads = int(nthreads) if nthreads else system.cpu_count()
        if self.nthreads < 1:
            raise ValueError(f"nthreads must be at least 1, not {nthreads}")
        self.memory_limit = system.worker_memory_limit(memory_limit, self.nthreads)
        self.local_directory = os.path.abspath(
            local_directory or config.get("temporary-directory", None) or scratch_space()
        )
        self.nanny = getattr(nanny, "address", nanny)
        self.death_timeout = _seconds(death_timeout, "distributed.worker.death-timeout")
        self.heartbeat_interval = _seconds(heartbeat_interval, None)
        self.lifetime = _seconds(lifetime, "distributed.worker.lifetime.duration")
        self.lifetime_stagger = _seconds(lifetime_stagger, "distributed.worker.lifetime.stagger") or 0.0
        self.lifetime_restart = bool(_first(lifetime_restart, "distributed.worker.lifetime.restart"))
        self.validate = bool(_first(validate, "distributed.worker.validate"))
        self.wants_restart = False
        self.dismissed = False  # whether the scheduler has ended it
        #: Called each time this worker has registered, before it runs what it is given.
        self.on_ready: Callable[[], None] = lambda: None
        #: Why it closed, if it had to give up.
        self.failure: Exception | None = None
        self.metrics = dict(metrics or {})
        self.startup_information = dict(startup_information or {})
        self.services: dict[str, Any] = {}
        self.executors: dict[str, Any] = {}
        self.preloads = PreloadManager(())
        self.memory_manager = WorkerMemoryManager(self, self.memory_limit)
        self.data = DataStore()
        self.max_transfers = int(config.get("distributed.worker.connections.incoming", 10))
        self.state = WorkerStateClass(data=self.data, resources=_resources(resources), nthreads=self.nthreads)
        self._preload = (
            _first(preload, "distributed.worker.preload"),
            _first(preload_argv, "distributed.worker.preload-argv"),
        )
        self._plugins = plugins
        self._extensions = dict(extensions or {})
        if silence_logs:
            silence_logging(silence_logs)
        self._where = (host, port, interface, protocol)
        self._contact_address = contact_address
        self._beat_handle: asyncio.TimerHandle | None = None
        self._lifetime_handle: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._heartbeat_seconds = 1.0
        self._processor = ProcessorMeter()
        self.init_task_clients()

    def __repr__(self) -> str:
        return (
            f"<Worker {self.address_safe!r}, name: {self.name}, status: {self.status.name}, "
            f"stored: {len(self.data)}, running: {self.state.executing_count}/{self.nthreads}>"
        )

    # ------------------------------------------------------------ what programs read

    @property
    def address(self) -> str:
        """Where others reach this worker. Raises ValueError before it listens."""
        return self._contact_address or super().address

    @property
    def address_safe(self) -> str:
        """:attr:`address`, or "not-running" before it listens."""
        return self.address if self.listeners else "not-running"

    worker_address = address

    @property
    def tasks(self) -> dict[Any, Any]:
        """The machine's tasks by key."""
        return self.state.tasks

    @property
    def thread_pool(self) -> Executor:
        """The threads that run tasks."""
        return self.executor

    # ------------------------------------------------------------ life

    async def on_start(self) -> None:
        loop = asyncio.get_running_loop()
        stream = await self._connect(self.death_timeout)
        try:
            await self._start_parts(stream, loop)
        except BaseException as error:
            if self.stream is not stream:
                await leaving.take_back_registration(stream, error)
            raise
        if self.lifetime:
            stagger = random.uniform(-self.lifetime_stagger, self.lifetime_stagger)
            self._lifetime_handle = loop.call_later(max(0.0, self.lifetime + stagger), self._lifetime_over)
        logger.info("Worker at %s registered with the scheduler at %s", self.address, self.scheduler_address)

    async def _start_parts(self, stream: Connection, loop: asyncio.AbstractEventLoop) -> None:
        await self._listen(stream)
        self.state.address = self.state.fetching.address = self.address
        if self.name is None:
            self.name = self.address
        self.executor = Executor(self.nthreads, self.data, self.wake, loop=loop, worker=self)
        self.executor.execution_state.update(scheduler=self.scheduler_address, ioloop=loop)
        self.executors["default"] = self.executor
        context.workers[self.id] = self
        self.preloads = process_preloads(self, *self._preload)
        await self.preloads.start()
        for name, extension in self._extensions.items():
            self.extensions[name] = extension(self)
        for plugin in self._plugins:
            await self.plugin_add(plugin)
        await self._register(stream)
        self.memory_manager.start()

    async def _listen(self, stream: Connection) -> None:
        host, port, interface, protocol = self._where
        scheme, _ = parse_address(self.scheduler_address)
        if host is None and interface is None and scheme != "inproc":
            host = get_address_host(stream.local_address)
        await listen_at_first(self, listen_addresses(host, port or 0, interface, protocol or scheme))
        contact = self._contact_address
        if contact:
            contact = unparse_address(*parse_address(contact))
            if not contact.rpartition(":")[2].isdigit():
                contact = f"{contact}:{self.listeners[0].contact_address.rpartition(':')[2]}"
            self._contact_address = contact

    async def close(  # type: ignore[override]  # reason= is last: the known order
        self,
        timeout: float | None = 30,
        executor_wait: bool = True,
        nanny: bool = True,
        reason: str = "worker-close",
    ) -> None:
        """Leave the network and stop.

        Parameters
        ----------
        timeout : float
            Seconds for plugins and preloads to stop.
        executor_wait : bool
            Without a meaning: tasks that still run cannot be ended and are left behind, results are not waited for.
        nanny : bool
            False: the nanny, if there is one, shall start another worker.
        reason : str
            For logs and for the scheduler.
        """
        if not nanny:
            self.wants_restart = True
        await super().close(timeout=timeout, reason=reason)

    def change_status(self, status: str) -> None:
        self._beat()  # the scheduler knows how much memory is taken before it hears what follows from that
        self.state.set_status(status)
        if self.status in (Status.running, Status.paused):
            self.status = Status[status]
        self.turn()

    def close_as_told(self, reason: str, *, nanny: bool) -> None:
        logger.info("Worker at %s closes: %s", self.address_safe, reason or "the scheduler says so")
        self.dismissed = True
        self.terminate(reason=reason or "the scheduler closes it", nanny=nanny)

    async def finished(self) -> None:
        """Wait until it is closed.

        Raises
        ------
        Exception
            When it closed because its scheduler stayed away.
        """
        await super().finished()
        if self.failure is not None:
            raise self.failure

    async def close_gracefully(
        self, restart: bool | None = None, reason: str = "worker-close-gracefully"
    ) -> None:
        """Leave without loss: the scheduler moves what only this worker holds, then it closes.

        ``restart``: the nanny starts another worker; default ``lifetime_restart``.
        """
        if self.status not in (Status.running, Status.paused):
            return
        await leaving.retire(self, reason)
        await self.close(nanny=not (self.lifetime_restart if restart is None else restart), reason=reason)

    async def leave(self, timeout: float | None = None, reason: str = "worker-leave") -> None:
        """As :meth:`close_gracefully`, but close after ``timeout`` seconds even if something is left to do.

        Default: ``distributed.worker.leave-timeout``. What is lost then is computed again elsewhere.
        """
        limit = config.seconds("distributed.worker.leave-timeout") if timeout is None else timeout
        if self.status in (Status.running, Status.paused):
            try:
                async with asyncio.timeout(limit):
                    await leaving.retire(self, reason)
            except TimeoutError:
                logger.warning(
                    "Worker at %s was not done within %s s (%s): %d tasks still run, it holds %d results",
                    *(self.address, limit, reason, self.state.executing_count, len(self.data)),
                )
        await self.close(reason=reason)

    def _lifetime_over(self) -> None:
        # Not by spawn: what closes the server must not be among the tasks that closing cancels.
        self._leaving = asyncio.ensure_future(leaving.when_replaceable(self, "its lifetime is over"))

    async def on_close(self, reason: str) -> None:
        context.workers.pop(self.id, None)
        self.memory_manager.stop()
        for timer in (self._beat_handle, self._lifetime_handle, self._wake_handle, self._leaving):
            if timer is not None:
                timer.cancel()
        stream, self.stream = self.stream, None
        if stream is not None and not stream.closed:
            with contextlib.suppress(CommClosedError):
                stream.send_all([*self.state.outbox.drain(), WorkerClosing(reason)])
        if "default" in self.executors:
            self.executor.close()
        await self.teardown_plugins()
        await self.preloads.teardown()
        await self.close_task_clients()
        if stream is not None:
            await stream.close()
        self.remove_local_directory()

    # ------------------------------------------------------------ the scheduler

    async def _connect(self, timeout: float | None, *, stubborn: bool = False) -> Connection:
        """A connection to the scheduler; tries again and again for ``timeout`` seconds.

        ``stubborn``: also while somebody without our key answers there; ours may come back to its place.
        """
        start = time.monotonic()
        deadline = None if timeout is None else start + timeout
        while True:
            left = ATTEMPT if deadline is None else min(ATTEMPT, max(0.1, deadline - time.monotonic()))
            try:
                comm = await connect(self.scheduler_address, security=self.security, timeout=left)
                return Connection(comm, handlers=self.handlers)
            except (SecurityError, ProtocolError, OSError) as error:
                if not stubborn and not isinstance(error, OSError):
                    raise  # trying again does not help
                now = time.monotonic()
                sleep = reconnect_pause(now - start)
                if deadline is not None and now + sleep >= deadline:
                    raise TimeoutError(
                        f"no scheduler answers at {self.scheduler_address} "
                        f"for {round(deadline - start, 1):g} s: {error}"
                    ) from None
                await asyncio.sleep(sleep)

    async def _register(self, stream: Connection) -> None:
        """Make ``stream`` the stream: tell the scheduler who this is, what it holds and what it runs."""
        self.introducing = True
        try:
            while (answer := await self._introduce(stream))["status"] == "plugins":
                await self.network_plugins.agree(answer["version"], answer["plugins"], stream.request)
        finally:
            self.introducing = False
            self.introduced.give()
        if answer["status"] != "OK":
            await stream.close()
            message = answer["message"]
            raise ValueError(f"the scheduler at {self.scheduler_address} refuses this worker: {message}")
        self.scheduler_id = answer["scheduler_id"]
        self._heartbeat_seconds = self.heartbeat_interval or answer["heartbeat_interval"]
        self.network_plugins.adopt(answer.get("plugins"))
        self.on_ready()
        self.stream = stream
        stream.on_close.append(self._stream_closed)
        stream.on_stream = self.on_messages
        self.turn()
        self._beat()

    async def _introduce(self, stream: Connection) -> dict[str, Any]:
        answer: dict[str, Any] = await stream.call(
            "register_worker",
            timeout=30,
            address=self.address,
            name=self.name,
            nthreads=self.nthreads,
            memory_limit=self.memory_limit,
            resources=dict(self.state.total_resources),
            server_id=self.id,
            host_id=system_id(),
            pid=os.getpid(),
            nanny=self.nanny,
            local_directory=self.local_directory,
            services=self.service_ports,
            versions=get_versions(),
            status=self.state.status,
            holding=self.state.holding(),
            running=self.state.running(),
            plugins=self.network_plugins.version,
            **self.get_startup_information(),
        )
        return answer

    def _stream_closed(self, stream: Connection) -> None:
        if self.stream is not stream:
            return
        self.stream = None
        if self._terminate_task is not None or self.status in (Status.closing, Status.closed, Status.failed):
            return
        logger.warning(
            "Worker at %s lost its scheduler at %s: %s", self.address, self.scheduler_address, stream.reason
        )
        self.spawn(self._reconnect(), name="reconnect")

    async def _reconnect(self) -> None:
        timeout = config.seconds("distributed.worker.reconnect-timeout", 60.0)
        deadline = time.monotonic() + (60.0 if timeout is None else timeout)
        try:
            await asyncio.sleep(reconnect_pause(0.0))  # a thousand others have lost it at this moment, too
            while True:
                stream = await self._connect(max(0.0, deadline - time.monotonic()), stubborn=True)
                self.state.scheduler_lost()
                self.turn()
                self.state.forget_unsent()
                try:
                    await self._register(stream)
                    break
                except OSError as error:  # it went away again
                    logger.info("registration failed, trying again: %s", error)
                    stream.abort()
                    await asyncio.sleep(reconnect_pause(0.0))
        except Exception as error:  # a worker without a scheduler must not live on unseen
            logger.error("Worker at %s gives up: %s", self.address, error)
            self.failure = error
            self.terminate(reason=f"lost its scheduler: {error}")
            return
        logger.info("Worker at %s is back with the scheduler at %s", self.address, self.scheduler_address)

    def on_messages(self, messages: list[Any]) -> None:
        super().on_messages(messages)
        status = self.state.status
        if status != self.status.name and self.status in _WORKING:
            self.status = Status[status]

    # ------------------------------------------------------------ heartbeat

    def _beat(self) -> None:
        if self._beat_handle is not None:
            self._beat_handle.cancel()
            self._beat_handle = None
        if self.stream is None:
            return
        with contextlib.suppress(CommClosedError):
            metrics = self.get_metrics()
            self.note_metrics(metrics)
            self.stream.send(WorkerHeartbeat(metrics))
        self._beat_handle = asyncio.get_running_loop().call_later(self._heartbeat_seconds, self._beat)

    def get_metrics(self) -> dict[str, Any]:
        """What a heartbeat says."""
        values: dict[str, Any] = {
            "time": time.time(),
            "cpu": self._processor.percent(),
            "memory": process_memory(os.getpid()),
            "managed_bytes": self.state.nbytes,
            "pause_at": self.memory_manager.pause_at(),
            "executing": self.state.executing_count,
            "queued": self.executor.queued(),
            "ready": self.state.ready_count(),
            "in_memory": len(self.data),
            "in_flight": len(self.state.fetching.in_flight),
            "num_fds": open_files(),
            "transfer_incoming_bytes": self.digests_total["transfer-incoming-bytes"],
            "transfer_incoming_seconds": self.digests_total["transfer-incoming-seconds"],
        }
        for name, func in self.metrics.items():
            try:
                values[name] = func(self)
            except BaseException:
                logger.exception("the metric %s failed", name)
        return values

    heartbeat = _beat


def system_id() -> str:
    """What processes of one host and boot have in common."""
    from distributed.comm.handshake import own_hello

    return str(getattr(own_hello(), "boot_id", ""))


def _scheduler_address(ip: Any, port: int | None, file: str | None) -> str:
    if ip is None and file is not None:
        return read_scheduler_address(file, config.seconds("distributed.worker.death-timeout"))
    if ip is None:
        ip = config.get("scheduler-address", None)
    if ip is None:
        raise ValueError(
            "no scheduler: give its address, as in Worker('192.168.0.1:8786'), or scheduler_file="
        )
    if not isinstance(ip, str | tuple | list):
        ip = ip.address  # a Scheduler or a cluster
    return coerce_to_address((ip, port) if port is not None and isinstance(ip, str) else ip)


def _resources(given: Mapping[str, float] | None) -> dict[str, float]:
    resources = dict(config.get("distributed.worker.resources", None) or {}) if given is None else dict(given)
    return {str(name): float(amount) for name, amount in resources.items()}


def _seconds(given: float | str | None, key: str | None) -> float | None:
    if given is not None:
        return seconds(given)
    return None if key is None else config.seconds(key)


def _first(given: Any, key: str) -> Any:
    return config.get(key, None) if given is None else given
