"""The nanny: a small server that keeps one worker process running."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

from distributed import config as configuration
from distributed import system
from distributed.comm.addressing import (
    get_address_host_port,
    local_ip_towards,
    normalize_address,
    parse_address,
    parse_host_port,
)
from distributed.core.listening import listen_addresses, listen_at_first
from distributed.core.network_plugins import NetworkPlugins
from distributed.core.status import Status
from distributed.exceptions import ProtocolError, SecurityError
from distributed.nanny.channel import ChildSpec
from distributed.nanny.environment import worker_environment
from distributed.nanny.memory import NannyMemoryManager
from distributed.nanny.operations import Operations, scratch_directory
from distributed.nanny.process import LaunchedProcess, WorkerProcess, WorkerStartError
from distributed.nanny.supervisor import Supervisor
from distributed.nanny.witness import Witness
from distributed.preloading import PreloadManager, process_preloads
from distributed.scheduler_file import read_scheduler_address
from distributed.security import Security
from distributed.security.keys import environment_key

logger = logging.getLogger("distributed.nanny")

_WORKER_CLASS = "distributed.worker.Worker"


class Nanny(Operations):
    """Runs one worker in a process of its own, watches it, and starts it again when it dies.

    Takes the parameters of :class:`distributed.worker.Worker` and passes them on; the others are:

    Parameters
    ----------
    scheduler_ip : str, optional
        Address of the scheduler, or its host with ``scheduler_port``.
    scheduler_file : path, optional
        A file that holds the address.
    worker_port : int, str, optional
        Port of the worker, or a range such as ``"3000:3100"``. ``port`` is the nanny's own.
    memory_limit : int, float, str, optional
        See :func:`distributed.system.worker_memory_limit`.
    env : mapping, optional
        Environment variables for the worker process.
    config : mapping, optional
        Configuration for the worker process, merged over this process's.
    worker_class : type or str, optional
        Default: :class:`distributed.worker.Worker`.
    death_timeout : float or str, optional
        Seconds the worker looks for its scheduler.
    blocked_handlers : list of str, optional
        Operations that the nanny refuses, and its worker. Defaults: ``distributed.nanny.blocked-handlers`` and
        ``distributed.worker.blocked-handlers``.
    preload_nanny, preload_nanny_argv : list of str, optional
        As ``preload``, in this process.

    Attributes
    ----------
    process : WorkerProcess or None
    pid : int or None
        Of the worker process.
    worker_address, worker_dir : str or None
    memory_manager : NannyMemoryManager
    on_worker_start : callable or None
        Called with the worker's and the scheduler's address each time the worker has registered.

    Examples
    --------
    >>> async def f():
    ...     async with Scheduler(port=0) as s, Nanny(s.address, nthreads=2) as nanny:
    ...         return nanny.worker_address
    """

    default_port = 0
    status: Status = Status.init

    def __init__(
        self,
        scheduler_ip: Any = None,
        scheduler_port: int | None = None,
        scheduler_file: str | None = None,
        worker_port: int | str | None = 0,
        nthreads: int | None = None,
        loop: Any = None,
        local_directory: str | None = None,
        services: Any = None,
        name: Any = None,
        memory_limit: Any = "auto",
        reconnect: bool = True,
        validate: bool = False,
        quiet: bool = False,
        resources: Mapping[str, float] | None = None,
        silence_logs: int | str | None = None,
        death_timeout: float | str | None = None,
        preload: Any = None,
        preload_argv: Any = None,
        preload_nanny: Any = None,
        preload_nanny_argv: Any = None,
        security: Any = None,
        contact_address: str | None = None,
        listen_address: str | None = None,
        worker_class: Any = None,
        env: Mapping[str, Any] | None = None,
        interface: str | None = None,
        host: str | None = None,
        port: int | str | None = None,
        protocol: str | None = None,
        config: Mapping[str, Any] | None = None,
        blocked_handlers: Any = None,
        **worker_kwargs: Any,
    ) -> None:
        self.name = name
        self.nthreads = nthreads or system.cpu_count()
        self.local_directory = local_directory
        self.env = dict(env or {})
        self.config = dict(config or {})
        self.preload_nanny = preload_nanny or configuration.get("distributed.nanny.preload", None)
        self.preload_nanny_argv = preload_nanny_argv or configuration.get(
            "distributed.nanny.preload-argv", None
        )
        self.on_worker_start: Callable[[str, str], None] | None = None
        self.death_timeout = _seconds(death_timeout, "distributed.worker.death-timeout")
        self.worker_class = worker_class or _WORKER_CLASS
        self.scheduler_address = _scheduler_address(
            scheduler_ip, scheduler_port, scheduler_file, self.death_timeout
        )
        self._host, self._port, self._interface, self._protocol = host, port, interface, protocol
        self._close_timeout: float = 5
        self.preloads: PreloadManager | None = None
        self._silence_logs = silence_logs
        limit = system.worker_memory_limit(memory_limit, self.nthreads)
        self.memory_manager = NannyMemoryManager(
            limit,
            configuration.get("distributed.worker.memory.terminate"),
            configuration.seconds("distributed.worker.memory.monitor-interval", 0.1) or 0.1,
        )
        self._worker_kwargs: dict[str, Any] = {
            "nthreads": self.nthreads,
            "name": name,
            "memory_limit": limit or 0,
            "death_timeout": self.death_timeout,
            "host": host,
            "port": worker_port,
            "interface": interface,
            "protocol": protocol,
            **host_and_port(listen_address),
            **worker_kwargs,
        }
        self.plugins: dict[str, Any] = {}
        self.network_plugins = NetworkPlugins(
            self, self._add_plugin, self.plugin_remove, logger, self._warn_clients
        )
        self._has_plugins = False
        self._fetching = asyncio.Lock()
        self.scratch = scratch_directory(local_directory)
        optional = {
            "local_directory": self.scratch,
            "resources": dict(resources) if resources else None,
            "contact_address": contact_address,
            "preload": preload,
            "preload_argv": preload_argv,
            "validate": validate or None,
        }
        self._worker_kwargs |= {key: value for key, value in optional.items() if value is not None}
        self._supervisor = Supervisor(
            self._make_process,
            start_timeout=self._start_timeout(),
            quick_failure=configuration.seconds("distributed.nanny.quick-failure", 3.0) or 0.0,
            max_quick_failures=int(configuration.get("distributed.nanny.max-quick-failures")),
            on_start=self._worker_started,
            on_end=self._worker_ended,
        )
        self._launched: LaunchedProcess | None = None
        self._witness = Witness()
        self._failure: Exception | None = None
        self._network_ended = False
        handlers: dict[str, Callable[..., Any]] = {
            "instantiate": self.instantiate,
            "kill": self.kill,
            "restart": self.restart,
            "replace_worker": self.replace_worker,
            "scheduler_closes": self.scheduler_closes,
            "close_gracefully": self.close_gracefully,
            **self._witness.handlers(),
            **self.operations(),
        }
        if blocked_handlers is not None:
            self._worker_kwargs["blocked_handlers"] = blocked_handlers
        else:
            blocked_handlers = configuration.get("distributed.nanny.blocked-handlers", None)
        super().__init__(handlers, blocked_handlers=blocked_handlers, security=security)

    # ------------------------------------------------------------ life

    def adopt(self, launched: LaunchedProcess) -> None:
        """Use this process for the first worker; it has the environment that ``env`` asks for."""
        self._launched = launched

    async def on_start(self) -> None:
        if self._launched is None:
            self.adopt(LaunchedProcess(worker_environment(self.env)))  # it imports while we listen
        await self._listen()
        self.preloads = process_preloads(self, self.preload_nanny, self.preload_nanny_argv)
        await self.preloads.start()
        await self.fetch_plugins(patience=1.0)
        await self.instantiate()
        await self.fetch_plugins(patience=10.0)
        self.memory_manager.start(lambda: self._supervisor.process)

    async def fetch_plugins(self, patience: float) -> None:
        """Set up the network's plugins for nannies, if the scheduler answers within ``patience`` seconds. Once."""
        async with self._fetching:
            if self._has_plugins:
                return
            scheduler = self.rpc(self.scheduler_address)
            try:
                async with asyncio.timeout(patience):
                    await scheduler.note_nanny(
                        address=self.address
                    )  # first: what comes from now on is told to it
                    told = await scheduler.register_nanny()
            except (OSError, SecurityError, ProtocolError) as error:  # its worker will say what is wrong
                logger.debug("the scheduler at %s is not there yet: %s", self.scheduler_address, error)
                return
            await self.network_plugins.agree(
                told["version"], told["plugins"], lambda op, kwargs: getattr(scheduler, op)(**kwargs)
            )
            self._has_plugins = True
            if told["plugins"] and self._launched is not None:  # its environment is of before
                self._launched.discard()
                self._launched = None

    async def plugins_there(self) -> None:
        await self.fetch_plugins(patience=10.0)

    async def _add_plugin(self, plugin: Any, name: str | None = None, **kwargs: Any) -> dict[str, Any]:
        return await self.plugin_add(plugin, name, **{"start": self.is_alive(), **kwargs})

    def _warn_clients(self, text: str) -> None:
        self.spawn(self.log_event("warn", text), name="warn clients")

    async def _listen(self) -> None:
        """At the first free port of those given, on the interface that leads to the scheduler."""
        host = self._host
        if host is None and self._interface is None:
            with contextlib.suppress(OSError):  # an unknown name: the worker will say so
                host = local_ip_towards(*get_address_host_port(self.scheduler_address))
        await listen_at_first(self, listen_addresses(host, self._port or 0, self._interface, self._protocol))

    async def instantiate(self) -> str:
        """Start the worker if there is none; the name of the nanny's status.

        Raises
        ------
        WorkerStartError, TimeoutError
            When it could not start; says why.
        """
        await self._supervisor.start()
        return self.status.name

    async def kill(self, timeout: float = 5, reason: str = "nanny-kill") -> None:
        """End the worker; the nanny stays and starts none until told so.

        Parameters
        ----------
        timeout : float
            Seconds before it is killed.
        """
        await self._supervisor.stop(timeout, reason)
        self.remove_scratch()

    async def restart(self, timeout: float = 30, reason: str = "nanny-restart") -> str:
        """End the worker and start a fresh one: ``"OK"``, or ``"timed out"`` after so many seconds.

        It goes on after that; a worker that cannot be started in the end is the end of the nanny, too.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._supervisor.restart(min(2.0, timeout / 2), reason)
        except TimeoutError:
            logger.error("The worker did not restart within %g s", timeout)
            return "timed out"
        return "OK"

    async def replace_worker(
        self, pid: int, timeout: float = 0.0, reason: str = "replaced", by_force: bool = True
    ) -> str:
        """The scheduler has let go of the worker in this process: end it and start another; return when that runs.

        Does nothing about a process that has ended, for another is on its way then.

        Parameters
        ----------
        timeout : float
            Seconds for it to close by itself, before it is killed.
        by_force : bool
            False: leave it alone if it can run; it will come back by itself.
        """
        if not by_force and self._witness.worker_lives(pid):
            return "it runs"
        await self._supervisor.replace(pid, timeout, reason)
        return "OK"

    async def close_gracefully(self, reason: str = "nanny-close-gracefully") -> None:
        """The worker is about to end by its own will: do not start it again."""
        self.status = Status.closing_gracefully

    def scheduler_closes(self, reason: str = "") -> None:
        """The network ends: end the worker, and this nanny."""
        self._network_ended = True
        self.terminate(reason=f"the scheduler closed the network: {reason}")

    async def leave(self, timeout: float | None = None, reason: str = "nanny-leave") -> None:
        """Have the worker retire, so that nothing is lost with it, then end both.

        Parameters
        ----------
        timeout : float, optional
            Seconds for the worker to finish what it runs and for its data to be moved; then it is killed. Default:
            ``distributed.worker.leave-timeout``.
        """
        limit = configuration.seconds("distributed.worker.leave-timeout") if timeout is None else timeout
        self.status = Status.closing_gracefully
        await self._supervisor.leave(limit or 0.0, reason)
        await self.close(reason=reason)

    async def close(self, timeout: float | None = 5, reason: str = "nanny-close") -> None:
        """End the worker, by force after ``timeout`` seconds, then this server."""
        self._close_timeout = 5 if timeout is None else timeout
        await super().close(reason=reason)

    async def on_close(self, reason: str) -> None:
        self.memory_manager.stop()
        if self._failure is not None:
            await self._tell_of_failure(self._failure)
        for name in list(self.plugins):
            try:
                await self.plugin_remove(name)
            except (Exception, SystemExit, KeyboardInterrupt):
                logger.exception("plugin %s failed to stop", name)
        await self._supervisor.stop(self._close_timeout, reason)
        self.remove_scratch()
        if self._launched is not None:  # the start failed before it was used
            self._launched.discard()
            self._launched = None
        if self.preloads is not None:
            await self.preloads.teardown()

    async def _tell_of_failure(self, failure: Exception) -> None:
        """The scheduler may have nobody else who could bring workers."""
        with contextlib.suppress(OSError, SecurityError, ProtocolError):
            async with asyncio.timeout(2):
                await self.rpc(self.scheduler_address).nanny_gives_up(
                    address=self.address, reason=str(failure)
                )

    async def finished(self) -> None:
        """Wait until the nanny has closed.

        Raises
        ------
        Exception
            When it closed because its worker could not be kept running.
        """
        await super().finished()
        if self._failure is not None:
            raise self._failure

    def kill_nowait(self) -> None:
        """Send the kill signal to the worker process; for the last moment of this process."""
        self._supervisor.kill_nowait()

    # ------------------------------------------------------------ what programs read

    @property
    def process(self) -> WorkerProcess | None:
        return self._supervisor.process

    @property
    def pid(self) -> int | None:
        process = self._supervisor.process
        return process.pid if process is not None else None

    @property
    def worker_address(self) -> str | None:
        process = self._supervisor.process
        return process.address if process is not None else None

    @property
    def worker_dir(self) -> str | None:
        process = self._supervisor.process
        return process.local_directory if process is not None else None

    @property
    def last_exit(self) -> str | None:
        """How the worker process before the present one ended, in words."""
        return self._supervisor.last_exit

    @property
    def dismissed(self) -> bool:
        """Whether the scheduler has ended the worker."""
        process = self._supervisor.process
        return self._network_ended or (process is not None and process.dismissed)

    def is_alive(self) -> bool:
        """Whether there is a worker process."""
        return self._supervisor.is_alive()

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "worker": self.worker_address, "pid": self.pid, "name": self.name}

    def __repr__(self) -> str:
        return f"<Nanny: {self.worker_address}, threads: {self.nthreads}>"

    # ------------------------------------------------------------ the worker process

    def _make_process(self) -> WorkerProcess:
        import dask.config

        security = self.security or Security()
        security.cluster_key()  # looked up here: the child need not be able to
        env = worker_environment(self.env)
        spec = ChildSpec(
            worker_class=self.worker_class,
            scheduler=self.scheduler_address,
            kwargs={**self._worker_kwargs, "security": security, "nanny": self.address},
            config=dask.config.merge(configuration.snapshot(), self.config),
            logging_level=self._logging_level(),
            key=environment_key(env),
        )
        launched, self._launched = self._launched, None
        return self._witness.follow(WorkerProcess(spec, env=env, launched=launched))

    def _logging_level(self) -> int:
        own = logging.getLogger("distributed").getEffectiveLevel()
        if self._silence_logs is None or self._silence_logs is False:
            return own
        wanted = self._silence_logs
        if isinstance(wanted, str):
            wanted = logging.getLevelNamesMapping()[wanted.upper()]
        return max(own, int(wanted))

    def _start_timeout(self) -> float | None:
        start = configuration.seconds("distributed.nanny.start-timeout", 60.0)
        return None if self.death_timeout is None or start is None else self.death_timeout + start

    def _worker_started(self, process: WorkerProcess) -> None:
        if self.on_worker_start is not None:
            assert process.address is not None
            self.on_worker_start(process.address, self.scheduler_address)

    def _worker_ended(self, error: Exception | None) -> None:
        if isinstance(error, WorkerStartError | TimeoutError) or error is None:
            self._failure = error
        else:
            self._failure = RuntimeError(f"nanny of {self.name}: {error}") if self.name else error
        self.terminate(reason="worker-ended")


def _scheduler_address(host: Any, port: int | None, file: str | None, timeout: float | None) -> str:
    if file is not None:
        return read_scheduler_address(file, timeout)
    if host is None:
        host = configuration.get("scheduler-address", None)
    if host is None:
        raise ValueError("Nanny needs the address of a scheduler: Nanny('tcp://192.168.0.1:8786')")
    address = str(getattr(host, "scheduler_address", host))
    return normalize_address(f"{address}:{port}" if port is not None else address)


def host_and_port(listen_address: str | None) -> dict[str, Any]:
    """Parameters of a worker that is to listen at this address. ``ValueError`` when it has no port."""
    if listen_address is None:
        return {}
    scheme, location = parse_address(listen_address)
    host, port = parse_host_port(location)
    return {"host": host or None, "port": port, "protocol": scheme}


def _seconds(value: float | str | None, key: str) -> float | None:
    if value is None:
        return configuration.seconds(key)
    from dask.utils import parse_timedelta

    return float(parse_timedelta(value))
