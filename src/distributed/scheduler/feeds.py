"""Connections that are told of the scheduler as time goes on, beside those of clients and workers."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from distributed.core import Connection
from distributed.protocol.messages import ClientEvent
from distributed.protocol.payload import Payload, Serialized, pack
from distributed.scheduler.control import unpack_code
from distributed.scheduler.queries import Queries, worker_identity
from distributed.scheduler.steps import Steps


class Feeds(Steps, Queries):
    """Mixed into :class:`~distributed.scheduler.server.Scheduler`."""

    def feed_handlers(self) -> dict[str, Callable[..., Any]]:
        return {"feed": self.feed, "subscribe_worker_status": self.subscribe_worker_status}

    def feed(
        self,
        comm: Connection,
        function: Payload | Callable[..., Any] | None = None,
        setup: Payload | Callable[..., Any] | None = None,
        teardown: Payload | Callable[..., Any] | None = None,
        interval: float | str = "1s",
        **kwargs: Any,
    ) -> str:
        """Send what a function of the scheduler gives, every so often, until the connection is closed.

        Each value comes as a stream message, ``ClientEvent("feed", payload)``. Runs what it is given, as
        :meth:`run_function` does.

        Parameters
        ----------
        comm : Connection
            The one that calls.
        function : callable, or pickled
            Called with the scheduler and, if ``setup`` gave something, with that.
        setup, teardown : callable, or pickled, optional
            Called with the scheduler before the first and, with what ``setup`` gave, after the last time.
        interval : float or str
            Seconds, or such as "100ms".
        **kwargs
            For ``function``.
        """
        from dask.utils import parse_timedelta

        call, begin, end = _function(function), _function(setup), _function(teardown)
        if call is None:
            raise TypeError("feed needs a function")
        self.spawn(self._feed(comm, call, begin, end, float(parse_timedelta(interval)), kwargs), name="feed")
        return "OK"

    async def _feed(
        self,
        comm: Connection,
        call: Callable[..., Any],
        begin: Callable[..., Any] | None,
        end: Callable[..., Any] | None,
        interval: float,
        kwargs: dict[str, Any],
    ) -> None:
        closed = asyncio.Event()
        comm.on_close.append(lambda _: closed.set())
        own = await _value(begin(self)) if begin is not None else None
        args = (self,) if own is None else (self, own)
        try:
            while not comm.closed:
                value = await _value(call(*args, **kwargs))
                if not comm.closed:
                    comm.send(ClientEvent("feed", pack(value)))
                try:
                    await asyncio.wait_for(closed.wait(), interval)
                except TimeoutError:
                    continue
        finally:
            if end is not None:
                await _value(end(*args))

    def subscribe_worker_status(self, comm: Connection) -> dict[str, Any]:
        """Who this scheduler is; from now on the connection hears which workers come and go.

        Each comes as a stream message, ``ClientEvent("worker-status", {"action": "add", "worker": address, "identity":
        ...})``, or with the action "remove" and no identity.
        """
        told = self.plugins.get(WorkerStatusFeed.name)
        if told is None:
            told = WorkerStatusFeed(self)
            self.add_plugin(told)
        told.add(comm)
        return self.identity()


class WorkerStatusFeed:
    """Tells connections which workers come and go; takes itself off the scheduler with the last of them."""

    name = "worker-status-feed"

    def __init__(self, scheduler: Feeds) -> None:
        self._scheduler = scheduler
        self._comms: dict[Connection, None] = {}

    def add(self, comm: Connection) -> None:
        self._comms[comm] = None
        comm.on_close.append(lambda _: self._closed(comm))

    def _closed(self, comm: Connection) -> None:
        self._comms.pop(comm, None)
        if not self._comms and self._scheduler.plugins.get(self.name) is self:
            self._scheduler.remove_plugin(self.name)

    def add_worker(self, scheduler: Feeds, worker: str) -> None:
        self._say(
            {"action": "add", "worker": worker, "identity": worker_identity(scheduler.state.workers[worker])}
        )

    def remove_worker(self, scheduler: Feeds, worker: str, **kwargs: Any) -> None:
        self._say({"action": "remove", "worker": worker})

    def _say(self, data: dict[str, Any]) -> None:
        for comm in self._comms:
            if not comm.closed:
                comm.send(ClientEvent("worker-status", data))


def _function(given: Any) -> Callable[..., Any] | None:
    function: Callable[..., Any] | None = (
        unpack_code(given) if isinstance(given, bytes | Serialized) else given
    )
    return function


async def _value(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
