"""What scheduler, worker and nanny have in common: they listen, serve operations, and can be started and closed."""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
import weakref
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from distributed.comm.addressing import get_address_host, get_address_host_port
from distributed.comm.core import Comm, Listener
from distributed.comm.registry import listen
from distributed.core.connection import Connection, Handler
from distributed.core.logs import keep_logs, read_logs
from distributed.core.pool import ConnectionPool, PooledRPCCall
from distributed.core.status import Status
from distributed.core.surface import Surface
from distributed.core.versions import get_versions
from distributed.forks import in_child
from distributed.security import Security, as_security

logger = logging.getLogger("distributed.core")


class Server(Surface):
    """Listens at an address and serves named operations.

    Start it by ``await server`` or ``async with server``. What a kind of server adds, it does in :meth:`on_start` and
    :meth:`on_close`.

    Parameters
    ----------
    handlers : mapping of str to callable, optional
        Operations, beside ``identity``, ``terminate``, ``ping`` and ``versions``. See Connection for what a
        handler may be.
    blocked_handlers : str or iterable of str, optional
        Operations that are refused, under whatever other name they are served, too; also stream handlers of that name.
    stream_handlers : mapping of str to callable, optional
        See :meth:`handle_stream`.
    connection_limit : int
        Connections to others that are kept open while nothing happens on them.
    security : Security, optional
        Default: the key of this user. ``connection_args={"security": ...}`` does the same.
    timeout : float, optional
        Seconds that :meth:`start` may take.
    local_directory : str, optional
        Where :meth:`upload_file` puts files; made when it is needed.
    deserialize, serializers, deserializers, needs_workdir
        Accepted, without a meaning.
    unpickle : bool, default True
        Whether exceptions of called parties are rebuilt; a scheduler says False.

    Attributes
    ----------
    handlers : dict
        Operations by name; may be changed at any time.
    pool : ConnectionPool
        For calls to other parties; its connections serve the same handlers. ``server.rpc(addr)`` uses it.
    connections : set of Connection
        Those that others made to this server.
    loop : event loop or None
        The one it was started on.
    """

    default_port = 0

    def __init__(
        self,
        handlers: Mapping[str, Handler] | None = None,
        blocked_handlers: str | Iterable[str] | None = None,
        stream_handlers: Mapping[str, Callable[..., Any]] | None = None,
        connection_limit: int = 512,
        deserialize: bool = True,
        serializers: Any = None,
        deserializers: Any = None,
        connection_args: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        local_directory: str | None = None,
        needs_workdir: bool = True,
        *,
        security: Security | None = None,
        unpickle: bool = True,
        id: str | None = None,
        connect_timeout: float | None = None,
    ) -> None:
        if security is None and connection_args is not None:
            security = connection_args.get("security")
        self.id = id or f"{type(self).__name__}-{uuid.uuid4()}"
        self.status = Status.init
        self.security = security = as_security(security)
        names = (blocked_handlers,) if isinstance(blocked_handlers, str) else blocked_handlers or ()
        self._blocked_operations = frozenset(name.replace("-", "_") for name in names)
        self._blocked_functions: list[Handler] = []
        self.handlers: dict[str, Handler] = {}
        self.add_handlers(
            {
                "identity": self.identity,
                "terminate": self.terminate,
                "ping": self.ping,
                "echo": self.echo,
                "get_logs": self.get_logs,
                "versions": self.versions,
                **(handlers or {}),
            }
        )
        self.pool = ConnectionPool(
            connection_limit,
            security=security,
            handlers=self.handlers,
            unpickle=unpickle,
            timeout=connect_timeout,
        )
        self.init_surface(stream_handlers, local_directory)
        self.connections: set[Connection] = set()
        self.listeners: list[Listener] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self._timeout = timeout
        self._unpickle = unpickle
        self._start_lock = asyncio.Lock()
        self._finished = asyncio.Event()
        self._close_task: asyncio.Task[None] | None = None
        self._terminate_task: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[Any]] = set()

    def add_handlers(self, handlers: Mapping[str, Handler]) -> None:
        """Serve these operations too; those that are blocked stay so."""
        if self._blocked_operations:
            blocked = self._blocked_functions
            blocked += [handler for op, handler in handlers.items() if op in self._blocked_operations]
            refusals = {op: self._refusal(op) for op, handler in handlers.items() if handler in blocked}
            handlers = {**handlers, **refusals}
        self.handlers.update(handlers)

    def _refusal(self, op: str) -> Handler:
        kind = type(self).__name__
        text = (
            f"the operation {op!r} has been explicitly disallowed in {kind} (blocked_handlers, or the setting "
            "blocked-handlers)"
        )

        def refuse(**kwargs: Any) -> Any:
            raise ValueError(text)

        return refuse

    def _warn_of_blocked_names(self) -> None:
        """A name that was misspelt blocks nothing: its operator has to know."""
        unknown = self._blocked_operations.difference(self.handlers, self.stream_handlers)
        if unknown:
            logger.warning("%s has no operations to block named %s", self.id, ", ".join(sorted(unknown)))

    # ------------------------------------------------------------ hooks

    async def on_start(self) -> None:
        """What a server does to start; by default it listens at its default port, unless it listens already."""
        if not self.listeners:
            await self.listen(self.default_port)

    async def on_close(self, reason: str) -> None:
        """What a server does before its connections are closed. Called once, and also after a failed start."""

    # ------------------------------------------------------------ life

    async def start(self) -> Self:
        """Start; nothing when it has been started. Raises what went wrong, after closing what was begun."""
        async with self._start_lock:
            if self.status in (Status.closing, Status.closed, Status.failed, Status.stopping, Status.stopped):
                raise RuntimeError(f"this {type(self).__name__} is {self.status.name}; make a new one")
            if self.status not in (Status.init, Status.created, Status.undefined):
                return self
            self.status = Status.starting
            self.loop = asyncio.get_running_loop()
            _running.add(self)
            keep_logs()
            self._warn_of_blocked_names()
            try:
                async with asyncio.timeout(self._timeout):
                    await self.on_start()
            except BaseException as exc:
                await self.close(reason=f"the start failed: {exc!r}")
                self.status = Status.failed
                if isinstance(exc, TimeoutError) and self._timeout is not None and not exc.args:
                    raise TimeoutError(
                        f"{type(self).__name__} did not start within {self._timeout:g} s"
                    ) from None
                raise
            if self.status is Status.starting:
                self.status = Status.running
        return self

    async def close(self, timeout: float | None = None, reason: str = "") -> None:
        """Stop listening, then whatever :meth:`on_close` does, then close all connections and tasks.

        May be called many times, also from one of its own handlers; all calls wait for the one closing.

        Parameters
        ----------
        timeout : float, optional
            Seconds for :meth:`on_close`; it is cancelled after that.
        reason : str
            For logs and for parties that are told.
        """
        if self.status is Status.closed:  # also in a child, where it never ran
            return
        if self._close_task is None:
            self._close_task = asyncio.create_task(self._close(timeout, reason), name=f"close {self.id}")
        await asyncio.shield(self._close_task)

    async def _close(self, timeout: float | None, reason: str) -> None:
        self.status = Status.closing
        self.stop()
        try:
            self.end_surface()
            async with asyncio.timeout(timeout):
                await self.on_close(reason)
        except TimeoutError:
            logger.warning("%s took longer than %s s to close its parts", self.id, timeout)
        except Exception:
            logger.exception("%s could not close in order", self.id)
        finally:
            for task in self._background:
                task.cancel()
            # First those who called: the answer to the call that closes this server may still be in their batch.
            if self.connections:
                await asyncio.gather(*(connection.close() for connection in list(self.connections)))
            await self.pool.close()
            if self._background:
                await asyncio.wait(self._background)
            self.status = Status.closed
            self._finished.set()

    async def finished(self) -> None:
        """Wait until it is closed."""
        await self._finished.wait()
        if self._terminate_task is not None:
            await asyncio.wait([self._terminate_task])

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str | None = None) -> asyncio.Task[Any]:
        """Run a coroutine beside the server: cancelled when it closes, logged when it fails."""
        task = asyncio.create_task(coroutine, name=name)
        self._background.add(task)
        task.add_done_callback(self._spawned_done)
        return task

    def _spawned_done(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("%s: %s failed", self.id, task.get_name(), exc_info=task.exception())

    def __await__(self) -> Generator[Any, Any, Self]:
        return self.start().__await__()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # ------------------------------------------------------------ listening

    async def listen(
        self,
        port_or_addr: int | str | None = None,
        allow_offload: bool = True,
        *,
        security: Security | None = None,
    ) -> Listener:
        """Listen at a port of every interface, or at an address. May be called for several.

        ``allow_offload`` is accepted, without a meaning: decoding messages takes no thread here.

        Raises
        ------
        AddressInUseError, OSError, KeyNotFoundError
            As ``distributed.comm.listen``.
        """
        if port_or_addr is None:
            port_or_addr = self.default_port
        addr = port_or_addr if isinstance(port_or_addr, str) else f"tcp://:{port_or_addr}"
        listener = await listen(addr, self._on_comm, security=security or self.security)
        self.listeners.append(listener)
        return listener

    def _on_comm(self, comm: Comm) -> None:
        self._serve(comm)

    def _serve(self, comm: Comm) -> Connection | None:
        if self.status in (Status.closing, Status.closed, Status.failed):
            comm.abort()
            return None
        connection = Connection(comm, handlers=self.handlers, unpickle=self._unpickle)
        self.connections.add(connection)
        connection.on_close.append(self.connections.discard)
        return connection

    @property
    def address(self) -> str:
        """Where others reach this server. Raises ValueError before it listens."""
        if not self.listeners:
            raise ValueError(f"this {type(self).__name__} does not listen yet; start it first")
        return self.listeners[0].contact_address

    @property
    def address_safe(self) -> str:
        """:attr:`address`, or "not-running" before it listens."""
        return self.listeners[0].contact_address if self.listeners else "not-running"

    @property
    def listen_address(self) -> str:
        """Where this server listens, which may be a wildcard. Raises ValueError before it listens."""
        if not self.listeners:
            raise ValueError(f"this {type(self).__name__} does not listen yet; start it first")
        return self.listeners[0].address

    @property
    def port(self) -> int:
        """The port of :attr:`address`; 0 for an address without one."""
        try:
            return get_address_host_port(self.address)[1]
        except ValueError:
            return 0

    @property
    def ip(self) -> str:
        """The host of :attr:`address`."""
        return get_address_host(self.address)

    host = ip

    # ------------------------------------------------------------ operations

    def rpc(self, addr: str) -> PooledRPCCall:
        """The operations of the party at ``addr``, over this server's pool."""
        return self.pool(addr)

    def identity(self) -> dict[str, Any]:
        """Who this is."""
        return {"type": type(self).__name__, "id": self.id, "address": self.address_safe, "pid": os.getpid()}

    def ping(self) -> str:
        """Answer "pong"."""
        return "pong"

    def get_logs(
        self, start: float = 0, n: int | None = None, timestamps: bool = False
    ) -> list[tuple[Any, ...]]:
        """The last lines that this process logged: see :func:`distributed.core.logs.read_logs`."""
        return read_logs(start, n, timestamps)

    def versions(self, packages: list[str] | None = None) -> dict[str, Any]:
        """Versions of Python, system and packages here."""
        return get_versions(packages)

    def terminate(self, reason: str = "", **kwargs: Any) -> Any:
        """Answer "OK", then close. Parameters are those of the server's ``close``."""
        if self._terminate_task is None:
            closing = self.close(reason=reason or "terminated by a call", **kwargs)
            self._terminate_task = asyncio.create_task(closing, name=f"terminate {self.id}")
        return "OK"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address_safe!r}, status: {self.status.name}>"


#: Servers of this process that have been started.
_running: weakref.WeakSet[Server] = weakref.WeakSet()


def _in_child() -> None:
    for server in list(_running):
        server.status = Status.closed
    _running.clear()


in_child(_in_child)


def server_here(address: str) -> Server | None:
    """The server that listens at an address and runs on the loop of the calling coroutine; None if there is none."""
    from distributed.comm import normalize_address

    running = asyncio._get_running_loop()
    for server in list(_running):
        if server.loop is running and server.listeners and normalize_address(address) == server.address:
            return server
    return None
