"""Calls of the scheduler by a worker, over the connection that it has anyway."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from distributed.exceptions import CommClosedError

if TYPE_CHECKING:
    from distributed.worker.server import Worker


class SchedulerCalls:
    """The scheduler's operations over the worker's own stream: ``await worker.scheduler.identity()``."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    @property
    def address(self) -> str:
        """Where the scheduler is."""
        return self._worker.scheduler_address

    def __getattr__(self, op: str) -> Callable[..., Any]:
        if op.startswith("_"):
            raise AttributeError(op)

        async def call(**kwargs: Any) -> Any:
            stream = self._worker.stream
            if stream is None:
                raise CommClosedError(f"there is no connection to the scheduler at {self.address} now")
            return await stream.request(op, kwargs)

        call.__name__ = op
        return call
