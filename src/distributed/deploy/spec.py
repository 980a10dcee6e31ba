"""A cluster described by specifications: which class, with which options, for the scheduler and for each worker."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import math
import time
import weakref
from collections.abc import Coroutine, Iterable, Iterator
from inspect import isawaitable
from typing import Any

from dask.utils import parse_bytes, parse_timedelta

from distributed import config
from distributed.core import Status
from distributed.deploy.cluster import Cluster, no_default
from distributed.deploy.process_interface import ProcessInterface
from distributed.logs import silence_logging
from distributed.security import Security, as_security
from distributed.utils import import_term

__all__ = ["NoOpAwaitable", "ProcessInterface", "SpecCluster"]

logger = logging.getLogger("distributed.deploy")

_ENDED = (Status.closing, Status.closed, Status.failed)


class NoOpAwaitable:
    """Awaited, it does nothing: what asynchronous callers get where there is nothing to wait for."""

    def __await__(self) -> Any:
        async def nothing() -> None:
            return None

        return nothing().__await__()


class SpecCluster(Cluster):
    """A cluster that keeps what runs equal to what is specified.

    Parameters
    ----------
    workers : dict, optional
        Specification of each worker by name: ``{"cls": class or dotted name, "options": {...}}``. The class is called
        with the scheduler's address and the options and gives something like :class:`ProcessInterface`. With
        ``"group": ["-0", "-1"]`` it starts several workers, named ``f"{name}{suffix}"``.
    scheduler : dict, optional
        Specification of the scheduler. Default: a :class:`~distributed.scheduler.Scheduler` in this process.
    worker : dict, optional
        Specification of workers that ``scale`` adds.
    asynchronous : bool
        Whether methods are awaited: ``async with SpecCluster(..., asynchronous=True) as cluster``.
    loop : optional
        The loop to live on.
    security : Security, optional
        Given to scheduler and workers that take it, and used by this object.
    silence_logs : int or str or False
        Level below which the log of this package is silent in this process while the cluster lives.
    name : str, optional
    shutdown_on_close, shutdown_scheduler : bool
        Whether closing this object ends the workers and the scheduler.
    scheduler_sync_interval : float
        Seconds between two looks at which workers there are.

    Attributes
    ----------
    worker_spec : dict
        What should run: change it by :meth:`scale`.
    workers : dict
        What runs, by name.
    scheduler : object
        The running scheduler.

    Examples
    --------
    >>> from distributed import Nanny, Scheduler
    >>> cluster = SpecCluster(
    ...     scheduler={"cls": Scheduler, "options": {"port": 0}},
    ...     workers={"alice": {"cls": Nanny, "options": {"nthreads": 1}}},
    ... )  # doctest: +SKIP
    """

    def __init__(
        self,
        workers: dict[Any, dict[str, Any]] | None = None,
        scheduler: dict[str, Any] | None = None,
        worker: dict[str, Any] | None = None,
        asynchronous: bool = False,
        loop: Any = None,
        security: Security | None = None,
        silence_logs: int | str | bool = False,
        name: str | None = None,
        shutdown_on_close: bool = True,
        scheduler_sync_interval: float | str = 1,
        shutdown_scheduler: bool = True,
    ) -> None:
        self.scheduler_spec = copy.copy(scheduler)
        self.worker_spec = copy.copy(workers) if workers else {}
        self.new_spec = copy.copy(worker) if worker else None
        self.scheduler: Any = None
        self.workers: dict[Any, Any] = {}
        self.security = as_security(security)
        self.shutdown_on_close = shutdown_on_close
        self.shutdown_scheduler = shutdown_scheduler
        self._i = 0
        self._adapting = False
        self._starting: asyncio.Task[None] | None = None
        self._correcting: asyncio.Task[None] | None = None
        #: The specification of each worker when it was started: that of one that ends is in the other no more.
        self._started_from: dict[Any, dict[str, Any]] = {}
        #: What starts or ends just now, by identity: whoever closes the cluster closes it too.
        self._moving: dict[int, Any] = {}
        self._background_tasks: set[asyncio.Task[None]] = set()
        self._missing_since: dict[Any, float] = {}
        #: Started, and unknown to the scheduler, as somebody scaled: where it retired them, others are wanted.
        self._counted_unseen: set[Any] = set()
        self._lost_worker_timeout = parse_timedelta(config.get("distributed.deploy.lost-worker-timeout"))
        self._closing: asyncio.Future[None] | None = None
        self._restore_logs = None
        super().__init__(
            asynchronous=asynchronous,
            loop=loop,
            name=name,
            scheduler_sync_interval=scheduler_sync_interval,
        )
        if silence_logs:
            self._restore_logs = silence_logging(silence_logs)
        if not asynchronous:
            self._loop_runner.start()
            try:
                self.sync(self._come_up)
            except BaseException:
                self.sync(self._close)
                self._loop_runner.stop()
                raise

    # ------------------------------------------------------------ life

    async def _come_up(self) -> None:
        """Start the scheduler, then what is specified. Once, however many wait for it; closing ends it."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start_all())
        await asyncio.shield(self._starting)

    async def _start_all(self) -> None:
        await self._start()
        await self._correct_state()

    async def _start(self) -> None:
        if self.status is not Status.created:
            return
        self.status = Status.starting
        spec = self.scheduler_spec
        if spec is None:
            spec = {
                "cls": "distributed.scheduler.Scheduler",
                "options": {"port": 0, "security": self.security},
            }
        self.scheduler = _class(spec["cls"])(**dict(spec.get("options", {})))
        try:
            await self.scheduler
        except BaseException:
            self.status = Status.failed
            raise
        await super()._start()

    def __await__(self) -> Any:
        async def start() -> SpecCluster:
            if self._starting is not None and self._starting.done():
                await self._correct_state()
                return self
            try:
                await self._come_up()
            except BaseException:
                await self._close()
                raise
            return self

        return start().__await__()

    async def __aenter__(self) -> SpecCluster:
        await self
        return self

    async def _close(self) -> None:
        if self.status is Status.closed and self._closing is None:  # the child of a fork: the parent has it
            return
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close_now())
        await asyncio.shield(self._closing)

    async def _close_now(self) -> None:
        self.status = Status.closing  # from here on nothing is started
        begun = [task for task in (self._starting, self._correcting) if task is not None]
        for task in begun:
            task.cancel()
        if begun:
            await asyncio.wait(begun)
        try:
            if self._background_tasks:  # workers that end; what starts has been cancelled
                await asyncio.wait(set(self._background_tasks))
            if self.shutdown_on_close:
                await self._close_objects([*self.workers.values(), *self._moving.values()])
                self.workers.clear()
                self._moving.clear()
                if self.scheduler is not None and self.shutdown_scheduler:
                    await self._close_objects([self.scheduler])
        finally:
            await super()._close()
            if self._restore_logs is not None:
                self._restore_logs()
                self._restore_logs = None

    def _abandon(self) -> None:
        for thing in [*self.workers.values(), *self._moving.values()]:
            if hasattr(thing, "kill_nowait"):
                thing.kill_nowait()
        super()._abandon()

    async def _close_objects(self, objects: list[Any]) -> None:
        """Close them all together; what goes wrong is logged, the rest goes on."""
        for outcome in await asyncio.gather(*(thing.close() for thing in objects), return_exceptions=True):
            if isinstance(outcome, BaseException):
                logger.warning("A part of cluster %s did not close in order: %r", self.name, outcome)

    @property
    def scheduler_address(self) -> str:
        if self.scheduler is None:
            return "<Not Connected>"
        if self.status is Status.closed and self._closing is not None:
            return "<Not Connected>" if self.shutdown_scheduler else str(self.scheduler.address)
        return str(getattr(self.scheduler, "external_address", None) or self.scheduler.address)

    # ------------------------------------------------------------ what runs and what should

    async def _correct_state(self) -> None:
        """Start what is specified and does not run; end what runs and is not specified. One at a time.

        Raises
        ------
        Exception
            The first error of a worker that could not start, when all others have been dealt with.
        """
        if self.status is not Status.running:
            return
        if self._correcting is not None and not self._correcting.done():
            await asyncio.wait([self._correcting])  # the specification may have changed since it looked
        if self.status is not Status.running:  # it is being closed
            return
        if self._correcting is None or self._correcting.done():
            self._correcting = asyncio.create_task(self._correct_now())
        await asyncio.shield(self._correcting)

    async def _correct_now(self) -> None:
        surplus = [name for name in self.workers if name not in self.worker_spec]
        if surplus:
            await self._end_workers(surplus)
        missing = [name for name in list(self.worker_spec) if name not in self.workers]
        outcomes = await asyncio.gather(*map(self._start_worker, missing), return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if failures:
            raise failures[0]

    async def _start_worker(self, name: Any) -> None:
        """Start one; what cannot be started is not specified any more."""
        try:
            worker = self._make_worker(name)
            with self._move(worker):
                try:
                    await _await(worker)
                except Exception:
                    with contextlib.suppress(Exception):  # it never ran
                        await worker.close()
                    raise
                self.workers[name] = worker
        except Exception:
            self.worker_spec.pop(name, None)
            raise
        self._log(f"started worker {name}")

    @contextlib.contextmanager
    def _move(self, *objects: Any) -> Iterator[None]:
        """These start or end while the block runs. Where it is cancelled, they are left to who closes the cluster."""
        self._moving.update({id(thing): thing for thing in objects})
        try:
            yield
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._settle(objects)
            raise
        self._settle(objects)

    def _settle(self, objects: Iterable[Any]) -> None:
        for thing in objects:
            self._moving.pop(id(thing), None)

    def _make_worker(self, name: Any) -> Any:
        spec = self._started_from[name] = self.worker_spec[name]
        options = {"name": name, **spec.get("options", {})}
        worker = _class(spec["cls"])(self._address_for_workers(), **options)
        if hasattr(worker, "_cluster") or isinstance(worker, ProcessInterface):
            worker._cluster = weakref.ref(self)
        return worker

    def _address_for_workers(self) -> str:
        return str(getattr(self.scheduler, "contact_address", None) or self.scheduler.address)

    async def _end_workers(self, names: list[Any]) -> None:
        """Have the scheduler move their data to others, then close them."""
        known = [w for name in names for w in self._names_of(name)]
        try:
            await self.scheduler_comm.retire_workers(names=known, remove=True, close_workers=True)
        except OSError as error:
            logger.warning("Cluster %s: workers close without the scheduler's help: %s", self.name, error)
        objects = [self.workers.pop(name) for name in names if name in self.workers]
        with self._move(*objects):
            await self._close_objects(objects)
        for name in names:
            self._started_from.pop(name, None)
            self._log(f"ended worker {name}")

    def _names_of(self, name: Any) -> list[Any]:
        """Names the scheduler knows for one entry of the specification."""
        spec = self.worker_spec.get(name) or self._started_from.get(name) or self.new_spec or {}
        group = spec.get("group")
        return [f"{name}{suffix}" for suffix in group] if group else [name]

    async def _look_at_workers(self) -> None:
        await super()._look_at_workers()
        self._counted_unseen &= self._unseen()
        self._notice_lost_workers()

    def _unseen(self) -> set[Any]:
        """Names of those that have been started, and that the scheduler does not know."""
        observed = {str(name) for name in self.observed}
        return {name for name in self.workers if not any(str(w) in observed for w in self._names_of(name))}

    def _notice_lost_workers(self) -> None:
        """What is specified and has ended, or has been missed by the scheduler for long, is made anew.

        What the scheduler has ended (somebody retired it) is not specified any more, unless somebody has scaled since.
        """
        if self.status is not Status.running or getattr(self.scheduler, "status", None) in _ENDED:
            return
        for name, worker in list(self.workers.items()):
            if getattr(worker, "status", None) in (
                Status.closed,
                Status.failed,
            ):  # one that closes has its name still
                self._forget(name)
                dismissed = getattr(worker, "dismissed", False)
                if dismissed and name not in self._counted_unseen:
                    self.worker_spec.pop(name, None)
                    continue
                self._counted_unseen.discard(name)
                if isinstance(worker, ProcessInterface):
                    self._in_background(worker.close())
                if dismissed or isinstance(worker, ProcessInterface) or self._adapts():
                    self._in_background(self._correct_state())
        for name in self._lost(time.monotonic()):
            worker = self._forget(name)
            if worker is not None:
                self._in_background(worker.close())
            self._in_background(self._correct_state())

    def _adapts(self) -> bool:
        return self._adaptive is not None and getattr(self._adaptive, "stop_reason", None) is None

    def _lost(self, now: float) -> list[Any]:
        """Names that should run and have been seen nowhere for too long."""
        observed = {str(name) for name in self.observed}
        lost = []
        for name in list(self.worker_spec):
            worker = self.workers.get(name)
            in_sight = worker is not None and not isinstance(worker, ProcessInterface)
            if in_sight or any(str(w) in observed for w in self._names_of(name)):
                self._missing_since.pop(name, None)
            elif now - self._missing_since.setdefault(name, now) > self._lost_worker_timeout:
                lost.append(name)
        return lost

    def _forget(self, name: Any) -> Any:
        self._missing_since.pop(name, None)
        worker = self.workers.pop(name, None)
        if worker is not None:
            self._log(f"worker {name} is gone")
        return worker

    def _in_background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._background_tasks.add(task)
        task.add_done_callback(self._background_done)

    def _background_done(self, task: asyncio.Task[None]) -> None:
        self._background_tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("Cluster %s could not be kept as specified: %s", self.name, task.exception())
            self._log(f"a worker could not start: {task.exception()}")

    # ------------------------------------------------------------ scaling

    def scale(self, n: int = 0, memory: int | str | None = None, cores: int | None = None) -> Any:
        """Have ``n`` workers, or so many that they have this much memory (bytes or text) and so many cores.

        Returns at once; see :meth:`wait_for_workers`. What :meth:`adapt` has begun ends: now somebody else decides.
        """
        if self._adaptive is not None and not self._adapting:
            self._adaptive.stop(reason="scale")
        if memory is not None:
            n = max(n, math.ceil(parse_bytes(memory) / self._memory_per_worker()))
        if cores is not None:
            n = max(n, math.ceil(cores / self._threads_per_worker()))
        if n < 0:
            raise ValueError(f"cannot have {n} workers")
        if len(self.worker_spec) > n:
            unstarted = [name for name in self.worker_spec if name not in self.workers]
            while len(self.worker_spec) > n and unstarted:
                del self.worker_spec[unstarted.pop()]
        while len(self.worker_spec) > n:
            self.worker_spec.popitem()
        if self.status not in (Status.closing, Status.closed):
            while len(self.worker_spec) < n:
                self.worker_spec.update(self.new_worker_spec())
        self.loop.add_callback(self._correct_and_log)
        if self.asynchronous:
            return NoOpAwaitable()
        return None

    async def _correct_and_log(self) -> None:
        try:
            if self.status is Status.running:
                await super()._look_at_workers()
                self._counted_unseen = self._unseen()
            await self._correct_state()
        except Exception as error:
            logger.error("Cluster %s could not start a worker: %s", self.name, error)
            self._log(f"a worker could not start: {error}")

    async def scale_up(self, n: int = 0, memory: Any = None, cores: Any = None) -> None:
        """As :meth:`scale`, and wait until the workers run."""
        self._adapting = True
        try:
            self.scale(n, memory=memory, cores=cores)
        finally:
            self._adapting = False
        await self._correct_state()

    async def scale_down(self, workers: Iterable[Any]) -> None:
        """End these workers, given by name."""
        wanted = {str(name) for name in workers}
        for name in list(self.worker_spec):
            if str(name) in wanted or any(str(w) in wanted for w in self._names_of(name)):
                del self.worker_spec[name]
        await self._correct_state()

    def adapt(
        self,
        Adaptive: Any = no_default,
        minimum: int = 0,
        maximum: float = math.inf,
        minimum_cores: int | None = None,
        maximum_cores: int | None = None,
        minimum_memory: int | str | None = None,
        maximum_memory: int | str | None = None,
        **kwargs: Any,
    ) -> Any:
        """As :meth:`Cluster.adapt`; the bounds may be given as cores or memory (bytes or text) of all workers too."""
        if minimum_cores is not None:
            minimum = max(minimum, math.ceil(minimum_cores / self._threads_per_worker()))
        if minimum_memory is not None:
            minimum = max(minimum, math.ceil(parse_bytes(minimum_memory) / self._memory_per_worker()))
        if maximum_cores is not None:
            maximum = min(maximum, maximum_cores // self._threads_per_worker())
        if maximum_memory is not None:
            maximum = min(maximum, parse_bytes(maximum_memory) // self._memory_per_worker())
        return super().adapt(Adaptive, minimum=minimum, maximum=maximum, **kwargs)

    def _new_worker_name(self, worker_number: int) -> Any:
        """Name of a new worker."""
        return worker_number

    def new_worker_spec(self) -> dict[Any, dict[str, Any]]:
        """Name and specification of a worker to be added."""
        if self.new_spec is None:
            raise ValueError("this cluster has no specification for further workers; give `worker=`")
        name = self._new_worker_name(self._i)
        while name in self.worker_spec:
            self._i += 1
            name = self._new_worker_name(self._i)
        return {name: self.new_spec}

    def _threads_per_worker(self) -> int:
        spec = self._template("cores")
        for name in ("nthreads", "ncores", "threads", "cores"):
            if spec["options"].get(name):
                return int(spec["options"][name])
        raise ValueError(
            "cannot scale by cores: the specification of workers does not say how many they have"
        )

    def _memory_per_worker(self) -> int:
        spec = self._template("memory")
        for name in ("memory_limit", "memory"):
            if spec["options"].get(name):
                return int(parse_bytes(spec["options"][name]))
        raise ValueError(
            "cannot scale by memory: the specification of workers does not say how much they have"
        )

    def _template(self, what: str) -> dict[str, Any]:
        spec = self.new_spec or next(iter(self.worker_spec.values()), None)
        if spec is None:
            raise ValueError(f"cannot scale by {what}: there is no specification of workers")
        return {"options": {}, **spec}

    @property
    def plan(self) -> set[Any]:
        return {w for name in self.worker_spec for w in self._names_of(name)}

    @property
    def requested(self) -> set[Any]:
        return {w for name in self.workers for w in self._names_of(name)}

    @classmethod
    def from_name(cls, name: str) -> Any:
        """Connect to a cluster that runs already. Subclasses that can do so override this."""
        raise NotImplementedError(f"{cls.__name__} cannot find running clusters by name")


def _class(cls: Any) -> Any:
    return import_term(cls) if isinstance(cls, str) else cls


async def _await(thing: Any) -> Any:
    return await thing if isawaitable(thing) or hasattr(thing, "__await__") else thing
