"""The user's entry to a network."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import uuid
import warnings
from collections.abc import Callable, Generator
from functools import partial
from types import TracebackType
from typing import Any

from distributed import config
from distributed.client import current, owning
from distributed.client.callbacks import Callbacks, join_all
from distributed.client.future import Future, futures_of
from distributed.client.gather import GatherMixin
from distributed.client.graph import GraphMixin
from distributed.client.inspection import InspectionMixin
from distributed.client.ops import OperationsMixin, SchedulerProxy
from distributed.client.scatter import ScatterMixin
from distributed.client.services import ServicesMixin
from distributed.client.session import Session
from distributed.client.state.records import Call
from distributed.client.submit import SubmitMixin
from distributed.core.extensions import CLIENT, Extensions
from distributed.exceptions import CommClosedError
from distributed.forks import in_child
from distributed.loops import Loop, LoopRunner, SyncMethodMixin, as_loop, seconds
from distributed.security import as_security
from distributed.waits import Begun, LeftBehind


class Client(
    SubmitMixin,
    GatherMixin,
    ScatterMixin,
    GraphMixin,
    OperationsMixin,
    InspectionMixin,
    ServicesMixin,
    SyncMethodMixin,
):
    """Connects to a network and submits work to it.

    Parameters
    ----------
    address : str, cluster or Scheduler, optional
        ``"tcp://host:8786"``, ``"host:8786"``, a ``LocalCluster`` or other cluster object, a ``Scheduler`` of this
        process. Default: what the configuration names as ``scheduler-address``, else a ``LocalCluster`` of its own.
    loop : optional
        The event loop; default: a thread with one of its own, or the running one if ``asynchronous``.
    timeout : float or str, optional
        Seconds to wait for the scheduler.
    set_as_default : bool, default True
        Whether dask collections and ``get_client`` use this client from now on.
    scheduler_file : str, optional
        File in which ``dscheduler --scheduler-file`` wrote its address.
    security : Security or bool, optional
        The cluster key to prove; default: that of this user.
    asynchronous : bool, default False
        Inside a coroutine: ``async with Client(..., asynchronous=True) as client``; methods are then awaited. A client
        of a cluster or scheduler on the loop of that coroutine is asynchronous in any case.
    name : str, optional
        Part of the client's id.
    direct_to_workers : bool, optional
        Whether results are fetched straight from workers.
    **kwargs
        Given to ``LocalCluster``: ``n_workers``, ``threads_per_worker``, ``processes``, ``memory_limit``...

    Raises
    ------
    OSError
        Nobody listens at the address (after ``timeout``).

    Examples
    --------
    >>> with Client(n_workers=1, processes=False) as client:  # doctest: +SKIP
    ...     client.submit(sum, [1, 2]).result()
    3
    """

    def __init__(
        self,
        address: Any = None,
        loop: Any = None,
        timeout: float | str | None = None,
        set_as_default: bool = True,
        scheduler_file: str | None = None,
        security: Any = None,
        asynchronous: bool = False,
        name: str | None = None,
        heartbeat_interval: float | str | None = None,
        serializers: Any = None,
        deserializers: Any = None,
        extensions: Any = None,
        direct_to_workers: bool | None = None,
        connection_limit: int = 512,
        **kwargs: Any,
    ) -> None:
        if address is None and scheduler_file is None:
            address = config.get("scheduler-address", None)
        if kwargs and (address is not None or scheduler_file is not None):
            raise TypeError(
                f"{', '.join(map(repr, kwargs))} are arguments of a LocalCluster, which Client only starts "
                "when it is given no address"
            )
        self.id = f"Client-{name + '-' if name else ''}{uuid.uuid4()}"
        self.name = name or "client"
        self.cluster: Any = None
        self.security = as_security(security)
        self.scheduler_file = scheduler_file
        self.direct_to_workers = direct_to_workers
        self.extensions = Extensions(self, CLIENT, extensions)
        self.held = {}
        self.plugins_told = {}
        self.topics = {} if self.worker_address else dict.fromkeys(("print", "warn"))
        self.set_as_default = set_as_default
        self._versions: list[Any] = []
        self._calls: dict[Any, Call] = {}
        self._info: dict[str, Any] = {}
        self._own_cluster = False
        self._pool: Any = None
        self._connection_limit = connection_limit
        self._start_arg = address
        self._kwargs = kwargs
        self._starting: asyncio.Future[None] | None = None
        here = not asynchronous and loop is None and _lives_here(address)  # we would wait for ourselves
        asynchronous = asynchronous or here
        self._asynchronous = asynchronous
        limit = seconds(
            timeout if timeout is not None else config.get("distributed.comm.timeouts.connect", 30)
        )
        self._timeout = 30.0 if limit is None else limit

        if hasattr(address, "scheduler_address") and not isinstance(address, str):
            self.cluster = address
            if loop is None and not asynchronous:
                loop = getattr(address, "loop", None)
                if loop is not None and isinstance(as_loop(loop).asyncio_loop, LeftBehind):
                    loop = None  # it turns in another process
            if self.security is None:
                self.security = getattr(address, "security", None)
        self._loop_runner = LoopRunner(loop=loop, asynchronous=asynchronous)
        interval = seconds(heartbeat_interval or config.get("distributed.client.heartbeat", 5))
        away = seconds(config.get("distributed.client.reconnect-timeout", 60))
        self._session = Session(
            self._connect,
            self._loop_runner.loop,
            heartbeat_interval=5.0 if interval is None else interval,
            reconnect_timeout=60.0 if away is None else away,
        )
        self._session.on_event = self._on_event
        self.scheduler = SchedulerProxy(self._session)
        self._callbacks = Callbacks(self._session)
        self._begun: set[asyncio.Future[Any]] = set()  # orders that are not done
        owning.lives(self)
        if not asynchronous:
            self._loop_runner.start()
            try:
                self.sync(self._start, asynchronous=False)
                self._compare_versions()
            except BaseException:
                self._session.status = "closed"
                self._loop_runner.stop()
                raise
        elif here:
            self._begin_start()
            if set_as_default:
                current.set_default(self)

    # ------------------------------------------------------------ life

    @property
    def loop(self) -> Loop:  # type: ignore[override]
        """The event loop of this client."""
        return self._loop_runner.loop

    io_loop = loop

    @property
    def status(self) -> str:
        """``newly-created``, ``running``, ``connecting``, ``lost``, ``closing`` or ``closed``."""
        return self._session.status

    @property
    def scheduler_address(self) -> str:
        return self._session.address

    async def _start(self) -> None:
        try:
            await self._start_unsafe()
        except BaseException:
            current.drop_default(self)
            self._session.give_up("the client could not be connected")
            await self._close_parts()
            self._session.status = "closed"
            raise

    def _compare_versions(self) -> None:
        """Warn, once and naming them, of packages that differ between here, the scheduler and the workers."""
        from distributed.core.versions import VersionMismatchWarning, get_versions, mismatch

        parties = {"client": get_versions()["packages"]}
        for packages, who in self._versions:
            parties.update(dict.fromkeys(who, packages))
        text = mismatch(parties)
        if text:
            warnings.warn(text, VersionMismatchWarning, stacklevel=3)

    async def _start_unsafe(self) -> None:
        self._session.address = await self._find_address()
        if self.security is True or self.security is False:
            self.security = None
        from distributed.core import ConnectionPool

        self._pool = ConnectionPool(self._connection_limit, security=self.security)
        self._session.on_left = partial(self._pool.remove, reason="the scheduler has let go of this worker")
        await self._session.open(self._timeout)
        self._info = await self._session.call("identity")
        if self.set_as_default:
            current.set_default(self)

    async def _find_address(self) -> str:
        given = self._start_arg
        if self.cluster is not None:
            cluster = self.cluster
            if str(getattr(getattr(cluster, "status", None), "name", "running")) in (
                "created",
                "init",
                "undefined",
            ):
                await cluster
            given = cluster.scheduler_address
        elif self.scheduler_file is not None:
            from distributed.scheduler_file import read_scheduler_address

            given = await asyncio.to_thread(read_scheduler_address, self.scheduler_file, self._timeout)
        elif given is None:
            from distributed.deploy.local import LocalCluster

            self.cluster = LocalCluster(
                loop=self.loop,
                asynchronous=True,
                **({"security": self.security} if self.security is not None else {}),
                **self._kwargs,
            )
            self._own_cluster = True
            await self.cluster
            self.security = getattr(self.cluster, "security", None) or self.security
            given = self.cluster.scheduler_address
        elif not isinstance(given, str | tuple) and hasattr(given, "address"):
            given = given.address
        from distributed.comm import normalize_address
        from distributed.comm.addressing import coerce_to_address

        if not isinstance(given, str | tuple):
            raise TypeError(f"Client needs an address, a cluster or a Scheduler, not {given!r}")
        address: str = normalize_address(coerce_to_address(given))
        return address

    async def _connect(self, session: Session) -> Any:
        """A new connection, registered as this client's stream."""
        from distributed.comm import connect
        from distributed.core import Connection

        first = session.status == "newly-created"
        comm = await connect(
            session.address,
            security=self.security,
            timeout=self._timeout if first else min(self._timeout, 5.0),
            retry=first,
        )
        connection = Connection(comm)
        try:
            reply = await connection.request(
                "register_client",
                {
                    "client": self.id,
                    "versions": None,
                    "topics": list(self.topics),
                    "known": session.network(),
                    **({"worker": self.worker_address} if self.worker_address else {}),
                },
                timeout=30,
            )
            if reply.get("status") != "OK":
                raise OSError(
                    reply.get("message") or f"{self.scheduler_address} refused to register this client"
                )
            if session.scheduler_id not in (None, reply["scheduler_id"]):  # one that knows nothing
                for request in self.plugins_told.values():
                    connection.notify("register_plugin", **request)
            session.joined(reply["scheduler_id"], reply["workers"], reply.get("answers", ""))
            self._versions = reply.get("versions") or []
            for op, kwargs in self.held.values():
                connection.notify(op, **kwargs)
        except BaseException:
            connection.abort()
            raise
        return connection

    def close(self, timeout: float | str | None = None) -> Any:
        """Disconnect: futures that are pending become ``lost``; a cluster that the client started is closed too."""
        if self.status == "closed" and not self._loop_runner.is_started():
            return _nothing() if self.asynchronous else None
        if self.asynchronous:
            return self._begin(self._close(timeout))
        if not self.loop.is_running():
            self._session.status = "closed"
            return None
        try:
            return self.sync(self._close, timeout, asynchronous=False)
        finally:
            self._loop_runner.stop()

    async def _close(self, timeout: float | str | None = None) -> None:
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
        current.drop_default(self)
        limit = seconds(timeout)
        limit = 5.0 if limit is None else limit
        begun = self._begun - {asyncio.current_task()}
        if begun:
            await asyncio.wait(begun, timeout=limit)
        await self._session.close(limit)
        await self._close_parts()

    async def _close_parts(self) -> None:
        if self._pool is not None:
            await self._pool.close()
        self._callbacks.close()
        self._session.forget_client()
        self.extensions.unload()
        if self._own_cluster and self.cluster is not None:
            await self.cluster.close()

    def shutdown(self) -> Any:
        """Close the whole network: scheduler and workers, and this client."""
        return self._begin(self._shutdown()) if self.asynchronous else self.sync(self._shutdown)

    async def _shutdown(self) -> None:
        if self.cluster is not None:
            cluster, owned = self.cluster, self._own_cluster
            await self._close()
            if not owned:
                loop = getattr(cluster, "loop", None)
                if loop is not None and as_loop(loop) == self.loop:
                    closing = cluster.close()
                    if inspect.isawaitable(closing):
                        await closing
                else:
                    await asyncio.to_thread(cluster.close)
            return
        with contextlib.suppress(CommClosedError):
            await self._session.call("terminate", reason=f"{self.id} shut it down")
        await self._close()

    def start(self, **kwargs: Any) -> Any:
        """Connect. Synchronous clients have done so when they are made; asynchronous ones are awaited."""
        return self._started() if self.asynchronous else self

    async def _started(self) -> Client:
        if self.status == "newly-created" and self._starting is None:
            self._begin_start()
        if self._starting is not None:
            starting = self._starting
            await starting
            if self._starting is starting:
                self._starting = None
                self._compare_versions()
        return self

    def _begin_start(self) -> None:
        self._loop_runner.start()
        self._starting = asyncio.ensure_future(self._start())

    def __await__(self) -> Generator[Any, Any, Client]:
        return self._started().__await__()

    def __enter__(self) -> Client:
        if self._asynchronous or not self._loop_runner.is_started():
            raise TypeError("this client is asynchronous: use 'async with'")
        self._enter()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._leave(*exc_info)
        self.close()

    async def __aenter__(self) -> Client:
        await self._started()
        self._enter()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        self._leave(*exc_info)
        await self._close()

    def _enter(self) -> None:
        self._in_context = current.as_current(self) if self.set_as_default else contextlib.nullcontext()
        self._in_context.__enter__()

    def _leave(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        # entered in another context (a generator-based fixture, say), it ends by itself there
        with contextlib.suppress(ValueError):
            self._in_context.__exit__(None, None, None)

    # ------------------------------------------------------------ orders

    def order(
        self, func: Callable[..., Any], *args: Any, asynchronous: bool | None = None, **kwargs: Any
    ) -> Any:
        """As :meth:`sync`, for what is to happen whether or not it is awaited: asynchronous calls begin at once."""
        result = self.sync(func, *args, asynchronous=asynchronous, **kwargs)
        if not asyncio.iscoroutine(result):
            return result
        begun = self._begin(result)
        if isinstance(begun, Begun):
            self._begun.add(begun.task)
            begun.task.add_done_callback(self._begun.discard)
        return begun

    def _begin(self, coroutine: Any) -> Any:
        return coroutine if asyncio._get_running_loop() is None else Begun(self._session.in_turn(coroutine))

    # ------------------------------------------------------------ which client

    @classmethod
    def current(cls, allow_global: bool = True) -> Client:
        """The client of this context, or (``allow_global``) the default one. Raises ``ValueError`` without one."""
        client = current.current_client(allow_global)
        if client is None and allow_global:
            client = current.client_of_task()
        if client is None:
            raise ValueError("no client is current: make one with distributed.Client(address) first")
        return client

    def as_current(self) -> Any:
        """Context manager: inside, this client is the current one of this thread or coroutine."""
        return current.as_current(self)

    # ------------------------------------------------------------ futures

    def futures_of(self, futures: Any) -> list[Future]:
        """All futures inside a nested structure or collection."""
        return futures_of(futures, client=self)

    def _add_done_callback(self, future: Future, fn: Callable[[Future], Any]) -> None:
        """Call ``fn`` in a thread when the future is done."""
        self._callbacks.add(future, fn)

    # ------------------------------------------------------------ how it looks

    @property
    def dashboard_link(self) -> str | None:
        """Address of the web page; None if there is none."""
        port = self._info.get("services", {}).get("dashboard")
        if not port:
            return None
        from distributed.comm import get_address_host
        from distributed.utils import format_dashboard_link

        return format_dashboard_link(get_address_host(self.scheduler_address), port)

    def __repr__(self) -> str:
        if self.status == "newly-created":
            return "<Client: not connected>"
        workers = self._info.get("workers", {})
        if self.status != "running" or not workers:
            return (
                f"<Client: {self.scheduler_address!r} {self.status}>"
                if self.status != "running"
                else (f"<Client: {self.scheduler_address!r} processes=0 threads=0>")
            )
        from dask.utils import format_bytes

        threads = sum(worker.get("nthreads", 0) for worker in workers.values())
        memory = [worker.get("memory_limit") for worker in workers.values()]
        text = f"<Client: {self.scheduler_address!r} processes={len(workers)} threads={threads}"
        if all(memory):
            text += f", memory={format_bytes(sum(memory))}"
        return text + ">"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<b>Client</b> <code>{escape(repr(self))}</code>"

    def __reduce__(self) -> Any:
        raise TypeError("a Client cannot be pickled: inside a task, use get_client() to have one")


def _lives_here(address: Any) -> bool:
    """Whether this is a cluster or scheduler, or the address of one, that runs on the loop of the calling coroutine."""
    running = asyncio._get_running_loop()
    if running is None or address is None:
        return False
    if isinstance(address, str):
        from distributed.core.server import server_here

        return server_here(address) is not None
    loop = getattr(address, "loop", None)
    return loop is not None and as_loop(loop).asyncio_loop is running


async def _nothing() -> None:
    return None


def _in_child() -> None:
    for client in owning.living():
        client._session.leave_behind()
    owning.forget()


in_child(_in_child)


@atexit.register
def _close_all_clients() -> None:
    for client in owning.living():
        if not client._asynchronous and client.status not in ("closed", "newly-created"):
            with contextlib.suppress(Exception):  # nobody is left to tell
                client.close(timeout=2)
    join_all()
