"""What all handles on something in the scheduler have in common: a client to speak through, and both faces."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Self

from distributed.client import get_client
from distributed.loops import Loop, seconds


class Handle:
    """A name and a client. Methods block, or are awaited where the client is asynchronous.

    Parameters
    ----------
    client : Client, optional
        Default: the current one, inside a task that of the task's worker; looked up at first use.
    """

    def __init__(self, client: Any = None) -> None:
        self._client = client

    @property
    def client(self) -> Any:
        """The client that this handle speaks through. Raises ValueError where there is none."""
        client = self._client
        if client is None or client.status == "closed":
            client = self._client = get_client()
        return client

    @property
    def loop(self) -> Loop:
        loop: Loop = self.client.loop
        return loop

    @property
    def scheduler(self) -> Any:
        """The scheduler's operations."""
        return self.client.scheduler

    @property
    def asynchronous(self) -> bool:
        """Whether methods return awaitables here."""
        return bool(self.client.asynchronous)

    def sync(
        self,
        func: Any,
        *args: Any,
        asynchronous: bool | None = None,
        callback_timeout: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Call a coroutine function: an awaitable for asynchronous callers, else wait for its result."""
        return self.client.sync(
            func, *args, asynchronous=asynchronous, callback_timeout=callback_timeout, **kwargs
        )

    def order(self, func: Any, *args: Any, asynchronous: bool | None = None, **kwargs: Any) -> Any:
        """As :meth:`sync`, for what is to happen whether or not it is awaited."""
        return self.client.order(func, *args, asynchronous=asynchronous, **kwargs)

    def __await__(self) -> Generator[Any, Any, Self]:
        """There is nothing to wait for: ``queue = await Queue(...)``, as programs for the event loop have it."""
        return self
        yield  # makes this a generator

    @property
    def _owner(self) -> list[str]:
        client = self.client
        return [client.id, client.worker_address]

    async def _call(self, op: str, **kwargs: Any) -> Any:
        return await self.client._session.call(op, **kwargs)


def positive(timeout: Any) -> float | None:
    """A timeout in seconds from a number or a text such as "5s"; None waits for ever. Negative ones count as 0."""
    limit = seconds(timeout)
    return None if limit is None else max(0.0, limit)
