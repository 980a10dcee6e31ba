"""The clients that a worker makes for its tasks."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from distributed.core import Server

if TYPE_CHECKING:
    from distributed.worker.executor import Executor


class TaskClients(Server):
    """Mixed into :class:`~distributed.worker.server.Worker`.

    At most two are made, when a task first asks for one: an asynchronous one on the worker's loop for coroutine tasks,
    one with a loop of its own for the threads.
    """

    name: Any
    scheduler_address: str
    executor: Executor

    def init_task_clients(self) -> None:
        self._clients: dict[bool, Any] = {}  # by whether it is asynchronous
        self._client_lock = threading.Lock()

    def _get_client(self, timeout: float | str | None = None) -> Any:
        """A client of this worker's scheduler. On the worker's loop its results are awaited."""
        if asyncio._get_running_loop() is self.loop:  # must never wait for a thread that waits for this loop
            if self._is_missing(True):
                self.spawn(_awaited(self._make_client(True, timeout)), name="start a client")
            return self._clients[True]
        with self._client_lock:
            if self._is_missing(False):
                self._make_client(False, timeout)
            return self._clients[False]

    def _is_missing(self, asynchronous: bool) -> bool:
        client = self._clients.get(asynchronous)
        return client is None or client.status == "closed"

    def _make_client(self, asynchronous: bool, timeout: float | str | None) -> Any:
        from distributed.client import Client

        client = self._clients[asynchronous] = Client.for_worker(
            self.address,
            self.scheduler_address,
            security=self.security,
            timeout=timeout,
            set_as_default=False,
            name=f"worker-{self.name}",
            asynchronous=asynchronous,
        )
        self.executor.before_outcome = self._tell_freed_names
        return client

    def _tell_freed_names(self) -> None:
        """What a task let go of is free before anybody learns that the task is done."""
        for client in list(self._clients.values()):
            client._session.tell_freed_names()

    async def close_task_clients(self) -> None:
        if True in self._clients:
            await self._clients[True].close()
        if False in self._clients:
            await asyncio.to_thread(self._clients[False].close)

    @property
    def client(self) -> Any:
        """As ``get_client()`` inside a task."""
        return self._get_client()


async def _awaited(awaitable: Any) -> None:
    await awaitable
