"""Messages of a connection one read at a time, for programs that would rather wait for them than be called."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from distributed.exceptions import CommClosedError
from distributed.protocol.messages import Message

#: Reads that wait to be taken before no more are let in.
MAX_WAITING = 16


class Inbox:
    """Keeps what came until somebody takes it. Its :meth:`put` and :meth:`end` are what ``Comm.start`` is given.

    Parameters
    ----------
    pause, resume : callable
        Called when :data:`MAX_WAITING` reads wait, and when all of them were taken.
    """

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._pause, self._resume = pause, resume
        self._paused = False
        self._batches: deque[list[Message]] = deque()
        self._takers: deque[asyncio.Future[None]] = deque()
        self._ended: CommClosedError | None = None

    def put(self, messages: list[Message]) -> None:
        """The messages of one read."""
        self._batches.append(messages)
        if len(self._batches) >= MAX_WAITING and not self._paused:
            self._paused = True
            self._pause()
        self._wake(1)

    def end(self, reason: Exception | None) -> None:
        """Nothing more comes."""
        closed = (
            reason if isinstance(reason, CommClosedError) else CommClosedError("the connection is closed")
        )
        if closed is not reason:
            closed.__cause__ = reason
        self._ended = closed
        self._wake(len(self._takers))

    async def take(self) -> list[Message]:
        """The next, as soon as it is there. Raises CommClosedError when there is none and nothing more comes."""
        while not self._batches:
            if self._ended is not None:
                raise self._ended
            taker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._takers.append(taker)
            try:
                await taker
            except asyncio.CancelledError:
                if taker.done() and not taker.cancelled():
                    self._wake(1)  # it was meant for whoever waits next
                raise
        messages = self._batches.popleft()
        if self._paused and not self._batches:
            self._paused = False
            self._resume()
        return messages

    def _wake(self, count: int) -> None:
        while count and self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(None)
                count -= 1
