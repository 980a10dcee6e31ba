"""What the tests of coordination share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from distributed import Client, Scheduler, Worker


def wait_until(condition: Callable[[], Any], what: str, timeout: float = 10) -> None:
    """Poll until it holds; fail with ``what`` was waited for."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s for: {what}"
        time.sleep(0.005)


async def until(condition: Callable[[], Any], what: str, timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s for: {what}"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def network(nworkers: int = 1, **kwargs: Any) -> AsyncIterator[tuple[Scheduler, list[Worker], Client]]:
    """A scheduler, workers and an asynchronous client in this loop."""
    async with Scheduler(host="127.0.0.1", port=0, **kwargs) as scheduler:
        workers = [await Worker(scheduler.address, nthreads=2, name=str(i)) for i in range(nworkers)]
        try:
            async with Client(scheduler.address, asynchronous=True) as client:
                yield scheduler, workers, client
        finally:
            await asyncio.gather(*(worker.close() for worker in workers))


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine function; a hang is a failure."""

    async def limited() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(limited())
