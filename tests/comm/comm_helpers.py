"""What the comm tests share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from distributed.comm import Comm
from distributed.protocol.messages import Message

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Peer:
    """Starts a comm and keeps what it hears."""

    def __init__(self, comm: Comm, *, echo: bool = False) -> None:
        self.comm = comm
        self.heard: list[Message] = []
        self.reads: list[int] = []
        self.closed: list[Exception | None] = []
        self._echo = echo
        self._changed = asyncio.Event()
        comm.start(self._on_messages, self._on_close)

    def _on_messages(self, messages: list[Message]) -> None:
        self.heard += messages
        self.reads.append(len(messages))
        self._changed.set()
        if self._echo:
            self.comm.write(messages)

    def _on_close(self, reason: Exception | None) -> None:
        self.closed.append(reason)
        self._changed.set()

    async def until(self, condition: Callable[[Peer], Any]) -> None:
        """Wait until the condition on this peer holds."""
        async with asyncio.timeout(20):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()


async def poll(condition: Callable[[], Any], timeout: float = 10) -> None:
    """Wait for a condition that nothing signals."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110  (nothing signals it)
            await asyncio.sleep(0.005)
