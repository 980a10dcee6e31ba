"""What programs read and call on any live server, beside its operations: connections, metrics, services, callbacks."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from distributed.comm.core import Comm, Listener
from distributed.core.status import Status
from distributed.private_files import fresh_directory, private_directory, scratch_space, write_upload
from distributed.protocol.messages import Message
from distributed.utils import import_file

if TYPE_CHECKING:
    from distributed.core.connection import Connection
    from distributed.core.http import HTTPServer, Route
    from distributed.core.pool import ConnectionPool

logger = logging.getLogger("distributed.core")


class Surface:
    """Mixed into :class:`~distributed.core.server.Server`.

    Attributes
    ----------
    default_ip : str
        Host that services listen at when they are given none; empty: every interface.
    periodic_callbacks : dict
        By name, anything with ``start()`` and ``stop()``, such as tornado's ``PeriodicCallback``. What is put here is
        stopped when the server closes.
    services : dict
        By name, parts that live and end with the server; ``service_specs`` says how :meth:`start_services` makes them.
    http_server : HTTPServer or None
        From :meth:`start_http_server` on.
    digests_total, digests_max : dict
        By name, the sum and the largest of the values given to :meth:`digest_metric`.
    """

    default_ip: str = ""
    status: Status = Status.init
    pool: ConnectionPool
    connections: set[Connection]
    listeners: list[Listener]
    periodic_callbacks: dict[str, Any]
    services: Any = None  # a dict from init_surface on
    service_specs: dict[Any, Any]
    http_server: HTTPServer | None = None
    stream_handlers: dict[str, Callable[..., Any]]
    local_directory: str | None = None
    _made_directory: str | None = None  # removed at the end
    _blocked_operations: frozenset[str] = frozenset()
    digests_total: defaultdict[Any, float]
    digests_max: dict[Any, float]

    def init_surface(
        self,
        stream_handlers: Mapping[str, Callable[..., Any]] | None = None,
        local_directory: str | None = None,
    ) -> None:
        self.stream_handlers = dict(stream_handlers or {})
        if local_directory is not None:
            self.local_directory = local_directory
        self.periodic_callbacks = {}
        self.services = {}
        self.service_specs = {}
        self.digests_total = defaultdict(float)
        self.digests_max = {}

    def end_surface(self) -> None:
        """Stop what must not outlive the server."""
        for callback in self.periodic_callbacks.values():
            callback.stop()
        self.stop_services()
        if self._made_directory is not None:
            import shutil

            shutil.rmtree(self._made_directory, ignore_errors=True)

    # ------------------------------------------------------------ life

    async def on_start(self) -> None:
        raise NotImplementedError

    def _serve(self, comm: Comm) -> Connection | None:
        raise NotImplementedError

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str | None = None) -> asyncio.Task[Any]:
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        raise NotImplementedError

    async def start_unsafe(self) -> Self:
        """What :meth:`start` does, without its time limit and without cleaning up after a failure."""
        await self.on_start()
        return self

    def stop(self) -> None:
        """Take no new connections; those there are stay, and the server goes on."""
        for listener in self.listeners:
            listener.stop()

    def start_periodic_callbacks(self) -> None:
        """Start all of :attr:`periodic_callbacks` that do not run."""
        for callback in self.periodic_callbacks.values():
            running = getattr(callback, "is_running", None)
            if running is None or not running():
                callback.start()

    # ------------------------------------------------------------ connections

    @property
    def listener(self) -> Listener | None:
        """The first of :attr:`listeners`; None before it listens."""
        return self.listeners[0] if self.listeners else None

    async def handle_comm(self, comm: Comm) -> None:
        """Serve a connection that was accepted elsewhere, until it is closed."""
        closed = asyncio.Event()
        connection = self._serve(comm)
        if connection is not None:
            connection.on_close.append(lambda _: closed.set())
            await closed.wait()

    @property
    def incoming_comms_open(self) -> int:
        """Connections that others made to this server."""
        return len(self.connections)

    @property
    def incoming_comms_active(self) -> int:
        """Those of them on which calls are under way."""
        return sum(not connection.idle for connection in self.connections)

    @property
    def outgoing_comms_open(self) -> int:
        """Connections that this server made to others."""
        return self.pool.open

    @property
    def outgoing_comms_active(self) -> int:
        """Those of them on which calls are under way."""
        return sum(not connection.idle for connection in self.pool.connections)

    def get_connection_counters(self) -> dict[str, int]:
        """The four numbers above, by name."""
        names = "incoming_comms_open", "incoming_comms_active", "outgoing_comms_open", "outgoing_comms_active"
        return {name: getattr(self, name) for name in names}

    async def handle_stream(self, comm: Connection, extra: Mapping[str, Any] | None = None) -> None:
        """Take the stream messages of a connection until it is closed.

        Each goes to the function that :attr:`stream_handlers` has for the name of its type (``"WorkerEvent"``), called
        with the message and ``extra`` as keywords. One without a function, or blocked, is logged and dropped.
        """
        closed = asyncio.Event()
        comm.on_close.append(lambda _: closed.set())

        def on_stream(messages: list[Message]) -> None:
            for message in messages:
                name = type(message).__name__
                handler = None if name in self._blocked_operations else self.stream_handlers.get(name)
                if handler is None:
                    logger.warning("no stream handler for %s of %s", name, comm.peer_address)
                else:
                    handler(message, **(extra or {}))

        comm.on_stream = on_stream
        if not comm.closed:
            await closed.wait()

    # ------------------------------------------------------------ operations

    async def upload_file(self, filename: str, data: bytes | str, load: bool = True) -> dict[str, Any]:
        """Write a file into :attr:`local_directory`, and import it if ``load``.

        Returns
        -------
        dict
            ``status`` "OK" and the ``nbytes`` written.
        """
        content = data.encode() if isinstance(data, str) else bytes(data)
        if self.local_directory is None:
            self.local_directory = self._made_directory = fresh_directory(scratch_space(), "server-")
        path = os.path.join(private_directory(self.local_directory), os.path.basename(filename))
        await asyncio.to_thread(write_upload, path, content)
        if load:
            import_file(path)
        return {"status": "OK", "nbytes": len(content)}

    def echo(self, data: Any = None) -> Any:
        """Answer what was sent; to measure connections."""
        return data

    def digest_metric(self, name: Any, value: float) -> None:
        """Add a value to the running sum and maximum kept under a name."""
        self.digests_total[name] += value
        self.digests_max[name] = max(value, self.digests_max.get(name, value))

    # ------------------------------------------------------------ services

    @property
    def service_ports(self) -> dict[str, int]:
        """Port of each service that listens, by name."""
        ports = {name: getattr(service, "port", None) for name, service in self.services.items()}
        return {name: port for name, port in ports.items() if port is not None}

    def start_services(self, default_listen_ip: str = "") -> None:
        """Make and start the services of :attr:`service_specs`.

        Its keys are names, or pairs of name and port; its values classes, or pairs of class and keyword arguments. Each
        is called with this server, and its ``listen((host, port))``, if it has one, with where to listen.
        """
        for key, spec in self.service_specs.items():
            name, port = key if isinstance(key, tuple) else (key, 0)
            make, kwargs = _made_by(spec)
            service = make(self, **kwargs)
            if hasattr(service, "listen"):
                service.listen((default_listen_ip or self.default_ip, port or 0))
            self.services[name] = service

    def start_http_server(
        self,
        routes: Mapping[str, Route] | Iterable[tuple[str, Route]] = (),
        dashboard_address: str | tuple[str, int] | int | None = None,
        default_port: int = 0,
        ssl_options: Any = None,
        prefix: str | None = "/",
    ) -> None:
        """Answer ``GET`` over HTTP from now on, to everybody who reaches the address: nothing is asked for.

        Parameters
        ----------
        routes : mapping, or iterable of pairs, of str to callable
            Each function is called without arguments on this server's loop, and gives text, what can be written as
            JSON, or a :class:`distributed.core.http.Answer`. They come before those of :meth:`http_routes`.
        dashboard_address : str, tuple or int, optional
            ``"HOST:PORT"``, ``":PORT"``, ``(host, port)`` or a port; without a host :attr:`default_ip`, or loopback.
        default_port : int
            Where the address says none; 0: any that is free.
        ssl_options : ssl.SSLContext, optional
            Encrypt with it.
        prefix : str
            Put before all paths.

        Raises
        ------
        OSError
            When the port is taken.
        RuntimeError
            When there is one already, or no event loop runs here.
        TypeError
            When a route is no function.
        """
        from distributed.core.http import HTTPServer, under

        asyncio.get_running_loop()
        if self.http_server is not None:
            raise RuntimeError(f"this {type(self).__name__} answers at {self.http_server.address} already")
        mine = self.http_routes() | dict(routes)
        for path, route in mine.items():
            if not callable(route) or isinstance(route, type):
                raise TypeError(f"the route {path!r} must be a function without parameters, not {route!r}")
        server = HTTPServer({under(prefix, path): route for path, route in mine.items()})
        server.bind(self._http_address(dashboard_address, default_port), default_port)
        self.http_server = self.services["http"] = server
        self.spawn(server.serve(ssl_options), name="http server")

    def http_routes(self) -> dict[str, Route]:
        """What :meth:`start_http_server` answers beside what it is given."""
        from distributed.core.http import health_route, metrics_route

        return {
            "/health": health_route(self.health),
            "/info.json": self.identity,
            "/metrics": metrics_route(self.metrics_of_now),
        }

    def _http_address(self, given: str | tuple[str, int] | int | None, port: int) -> str | tuple[str, int]:
        if isinstance(given, tuple):
            return given[0], given[1] or port
        if given is None or isinstance(given, int):
            return self.default_ip, given or port
        return f"{self.default_ip}{given}" if given.startswith(":") else given

    def health(self) -> dict[str, Any]:
        """What ``/health`` says: ``status`` is "ok", or a word for why not."""
        return {"status": "ok" if self.status is Status.running else self.status.name}

    def metrics_of_now(self) -> dict[str, float]:
        """What ``/metrics`` says: connections, and sums of :meth:`digest_metric` under names of letters."""
        sums = {str(name).replace("-", "_"): total for name, total in self.digests_total.items()}
        return {
            **self.get_connection_counters(),
            **{name: total for name, total in sums.items() if name.isidentifier()},
        }

    def stop_services(self) -> None:
        """Call ``stop()`` of every service that has one."""
        for service in self.services.values():
            if hasattr(service, "stop"):
                service.stop()


def _made_by(spec: Any) -> tuple[Callable[..., Any], Mapping[str, Any]]:
    return spec if isinstance(spec, tuple) else (spec, {})
