"""What all clusters have in common: a loop, a connection to the scheduler, a life, a face."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import datetime
import html
import logging
import uuid
import weakref
from collections.abc import Generator
from typing import Any

import dask.config
from dask.utils import format_bytes, parse_timedelta

from distributed.core import Status, rpc
from distributed.exceptions import WorkerStartTimeoutError
from distributed.forks import in_child
from distributed.logs import Log, Logs
from distributed.loops import LoopRunner, SyncMethodMixin
from distributed.utils import format_dashboard_link

logger = logging.getLogger("distributed.deploy")

_SYNC_CLOSE_TIMEOUT = 20.0  # seconds; when the interpreter ends

no_default = object()


class Cluster(SyncMethodMixin):
    """Base of everything that has a scheduler and workers and can be given to a ``Client``.

    Parameters
    ----------
    asynchronous : bool
        Whether methods are awaited: the cluster then lives on the running loop.
    loop : optional
        The loop to live on.
    quiet : bool
        Kept.
    name : str, optional
    scheduler_sync_interval : float
        Seconds between two looks at which workers there are.

    Attributes
    ----------
    scheduler_comm : rpc
        Operations of the scheduler.
    scheduler_info : dict
        What the scheduler says of itself and its workers.
    status : Status
    """

    loop: Any = None
    name: str = ""

    def __init__(
        self,
        asynchronous: bool = False,
        loop: Any = None,
        quiet: bool = False,
        name: str | None = None,
        scheduler_sync_interval: float | str = 1,
    ) -> None:
        self._loop_runner = LoopRunner(loop=loop, asynchronous=asynchronous)
        self.loop = self._loop_runner.loop
        self._asynchronous = asynchronous
        self.name = name or str(uuid.uuid4())[:8]
        self._name = self.name  # dask-jobqueue reads this one
        self.quiet = quiet
        self.status = Status.created
        self.scheduler_comm: Any = None
        self.security: Any = getattr(self, "security", None)
        self._scheduler_info: dict[str, Any] = {"workers": {}}
        self._sync_interval = float(parse_timedelta(scheduler_sync_interval, default="seconds"))
        self._watching: asyncio.Task[None] | None = None
        self._cluster_manager_logs: list[tuple[datetime.datetime, str]] = []
        self._adaptive: Any = None

    # ------------------------------------------------------------ life

    @property
    def called_from_running_loop(self) -> bool:
        """Whether this is called on the cluster's own loop."""
        try:
            return asyncio.get_running_loop() is self.loop.asyncio_loop
        except RuntimeError:
            return False

    async def _start(self) -> None:
        """Connect to the scheduler at ``scheduler_address``."""
        self.scheduler_comm = rpc(self.scheduler_address, security=self.security)
        self._scheduler_info = await self.scheduler_comm.identity()
        self._watching = asyncio.create_task(self._watch_scheduler())
        self.status = Status.running
        _live.add(self)

    async def _watch_scheduler(self) -> None:
        while True:
            await asyncio.sleep(self._sync_interval)
            with contextlib.suppress(OSError):  # it is away for a moment, or for ever: others notice
                await self._look_at_workers()

    async def _look_at_workers(self) -> None:
        """Ask the scheduler for its workers."""
        self._scheduler_info = await self.scheduler_comm.identity()

    async def _close(self) -> None:
        if self.status is Status.closed:
            return
        self.status = Status.closing
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None  # its traceback refers to this object
        if self._adaptive is not None:
            self._adaptive.stop(reason="cluster-close")
        if self.scheduler_comm is not None:
            await self.scheduler_comm.close_rpc()
        self.status = Status.closed

    def _abandon(self) -> None:
        """The loop is closed, nothing can be awaited there any more: end at once what can be ended."""
        self.status = Status.closed

    def close(self, timeout: float | None = None) -> Any:
        """End the cluster: workers, scheduler, and the loop's thread if it was made for this object.

        Parameters
        ----------
        timeout : float, optional
            Seconds for all of it, where this blocks.
        """
        if self.status is Status.closed:
            if self.asynchronous:
                return _nothing()
            return None
        _live.discard(self)
        if not self.asynchronous and not self.loop.is_running():
            self.status = Status.closed
            return None
        if self.loop.asyncio_loop.is_closed():
            self._abandon()
            return _nothing()
        result = self.sync(self._close, callback_timeout=timeout)
        if not self.asynchronous:
            self._loop_runner.stop()
        return result

    def __enter__(self) -> Any:
        if self.asynchronous:
            raise TypeError("this cluster is asynchronous: use `async with`")
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __await__(self) -> Generator[Any, None, Any]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Any:
        if self.status is Status.created:
            await self._start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._close()
        _live.discard(self)

    # ------------------------------------------------------------ workers

    def scale(self, n: int) -> Any:
        """Have ``n`` workers."""
        raise NotImplementedError(f"{type(self).__name__} cannot change its number of workers")

    def adapt(self, Adaptive: Any = no_default, **kwargs: Any) -> Any:
        """Have the number of workers follow the work.

        Parameters
        ----------
        Adaptive : type, optional
            Default: :class:`distributed.Adaptive`.
        **kwargs
            Its parameters: ``minimum``, ``maximum``, ``interval``, ``wait_count``, ``target_duration``.

        Returns
        -------
        Adaptive
            Its ``stop()`` leaves the number as it is.
        """
        if Adaptive is no_default:
            from distributed.deploy.adaptive import Adaptive
        if self._adaptive is not None:
            self._adaptive.stop(reason="replaced")
        self._adaptive = Adaptive(self, **kwargs)
        return self._adaptive

    def wait_for_workers(self, n_workers: int, timeout: float | None = None) -> Any:
        """Block until ``n_workers`` workers have registered.

        Raises
        ------
        WorkerStartTimeoutError
            When there are fewer after ``timeout`` seconds.
        """
        return self.sync(self._wait_for_workers, n_workers, timeout)

    async def _wait_for_workers(self, n_workers: int, timeout: float | None) -> None:
        if not isinstance(n_workers, int) or n_workers < 1:
            raise ValueError(f"n_workers must be a positive number, not {n_workers!r}")
        there = await self.scheduler_comm.wait_for_workers(n_workers=n_workers, timeout=timeout)
        await self._look_at_workers()
        if there < n_workers:
            assert timeout is not None
            raise WorkerStartTimeoutError(there, n_workers, timeout)

    @property
    def scheduler_info(self) -> dict[str, Any]:
        return self._scheduler_info

    @property
    def observed(self) -> set[Any]:
        """Names of the workers the scheduler knows."""
        return {worker["name"] for worker in self.scheduler_info["workers"].values()}

    @property
    def requested(self) -> set[Any]:
        """Names of the workers that have been started."""
        return self.observed

    @property
    def plan(self) -> set[Any]:
        """Names of the workers there should be."""
        return self.observed

    # ------------------------------------------------------------ clients, logs, addresses

    @property
    def scheduler_address(self) -> str:
        if self.scheduler_comm is None:
            return "<Not Connected>"
        return str(self.scheduler_comm.address)

    @property
    def dashboard_link(self) -> str:
        """Address of the web page; empty when there is none."""
        port = (self.scheduler_info.get("services") or {}).get("dashboard")
        if not port:
            return ""
        host = self.scheduler_address.rpartition("://")[2].rpartition(":")[0] or "localhost"
        return format_dashboard_link(host, port)

    def get_client(self) -> Any:
        """A client of this cluster: the current one if it is that, else a new one.

        In a coroutine on the cluster's own loop it is to be awaited, or entered by ``async with``.
        """
        from distributed.client import Client
        from distributed.client.current import current_client

        found = current_client()
        if found is not None and found.cluster is self:
            return found
        return Client(self, security=self.security)

    def get_logs(self, cluster: bool = True, scheduler: bool = True, workers: Any = True) -> Any:
        """Recent log texts by name of who wrote them.

        Parameters
        ----------
        cluster, scheduler : bool
            Whether to have those of this object and of the scheduler.
        workers : bool or list of str
            All workers, none, or those at these addresses.
        """
        return self.sync(self._get_logs, cluster=cluster, scheduler=scheduler, workers=workers)

    async def _get_logs(self, cluster: bool, scheduler: bool, workers: Any) -> Logs:
        logs = Logs()
        if cluster:
            logs["Cluster"] = Log("\n".join(f"{when}: {text}" for when, text in self._cluster_manager_logs))
        if scheduler:
            lines = await self.scheduler_comm.get_logs()
            logs["Scheduler"] = Log("\n".join(line for _, line in lines))
        if workers:
            wanted = None if workers is True else list(workers)
            answers = await self.scheduler_comm.broadcast(op="get_logs", workers=wanted, on_error="ignore")
            for address, answer in answers:
                logs[address] = Log("\n".join(line for _, line in answer["result"]))
        return logs

    def _log(self, text: str) -> None:
        """Note something for :meth:`get_logs`."""
        self._cluster_manager_logs.append((datetime.datetime.now(), text))

    # ------------------------------------------------------------ face

    def _summary(self) -> tuple[int, int, str]:
        workers = self.scheduler_info["workers"].values()
        memory = [worker.get("memory_limit") or 0 for worker in workers]
        text = format_bytes(sum(memory)) if memory and all(memory) else ""
        return len(memory), sum(worker["nthreads"] for worker in workers), text

    def __repr__(self) -> str:
        nworkers, nthreads, memory = self._summary()
        text = f"{type(self).__name__}({self.name}, {self.scheduler_address!r}, workers={nworkers}"
        return f"{text}, threads={nthreads}{f', memory={memory}' if memory else ''})"

    def _repr_html_(self) -> str:
        nworkers, nthreads, memory = self._summary()
        rows = [
            ("Scheduler", self.scheduler_address),
            ("Dashboard", self.dashboard_link or "none"),
            ("Workers", nworkers),
            ("Threads", nthreads),
            ("Memory", memory or "no limit"),
            ("Status", self.status.name),
        ]
        body = "".join(f"<tr><th>{name}</th><td>{html.escape(str(value))}</td></tr>" for name, value in rows)
        return f"<h3>{html.escape(type(self).__name__)} {html.escape(self.name)}</h3><table>{body}</table>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cluster) and type(other) is type(self) and other.name == self.name

    def __hash__(self) -> int:
        return id(self)


async def _nothing() -> None:
    return None


#: Clusters that nobody has closed yet.
_live: weakref.WeakSet[Cluster] = weakref.WeakSet()


def _in_child() -> None:
    for cluster in list(_live):
        cluster.status = Status.closed
    _live.clear()


in_child(_in_child)


@atexit.register
def close_clusters() -> None:
    """Close what the program has left open when the interpreter ends."""
    for cluster in list(_live):
        if not cluster._asynchronous and cluster.loop.is_running():
            with contextlib.suppress(Exception):  # nobody is there any more to be told
                cluster.close(
                    timeout=dask.config.get("distributed.deploy.close-timeout", _SYNC_CLOSE_TIMEOUT)
                )
