"""What the core tests share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from distributed.comm import Comm, connect, listen
from distributed.core import Connection, Server
from distributed.security import Security

Run = Callable[[Coroutine[Any, Any, Any]], Any]


async def poll(condition: Callable[[], Any], timeout: float = 10) -> None:
    """Wait for a condition that nothing signals."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110  (nothing signals it)
            await asyncio.sleep(0.005)


@asynccontextmanager
async def connected(
    handlers: dict[str, Callable[..., Any]],
    near_handlers: dict[str, Callable[..., Any]] | None = None,
    *,
    address: str = "tcp://127.0.0.1:0",
    **kwargs: Any,
) -> AsyncIterator[tuple[Connection, Connection]]:
    """Near and far end; the far end serves ``handlers``. ``kwargs`` are the near end's."""
    security = Security.temporary()
    far: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()

    def on_comm(comm: Comm) -> None:
        far.set_result(Connection(comm, handlers=handlers))

    listener = await listen(address, on_comm, security=security)
    comm = await connect(listener.contact_address, security=security)
    near = Connection(comm, handlers=near_handlers, **kwargs)
    other = await far
    try:
        yield near, other
    finally:
        listener.stop()
        await near.close()
        await other.close()


class Calculator(Server):
    """A server with a few operations to try."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            {"add": self.add, "fail": self.fail, "slow": self.slow, "whoami": self.whoami}, **kwargs
        )
        self.slow_started = 0
        self.slow_cancelled = 0
        self.on_close_reasons: list[str] = []

    async def on_start(self) -> None:
        await self.listen("tcp://127.0.0.1:0")

    async def on_close(self, reason: str) -> None:
        self.on_close_reasons.append(reason)

    def add(self, a: Any, b: Any) -> Any:
        return a + b

    async def fail(self) -> None:
        raise ZeroDivisionError("on purpose")

    async def slow(self) -> None:
        self.slow_started += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.slow_cancelled += 1

    def whoami(self, comm: Connection) -> str:
        return comm.peer_address
