"""Running loops of ours: whatever users' code raises on them they go on, and what is pending at their end is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from distributed.forks import handles, own_loop
from distributed.standard_streams import fill

if TYPE_CHECKING:
    from distributed.loops import Loop

T = TypeVar("T")

logger = logging.getLogger("distributed.loops")

#: Turns of a loop between what happens and who waits for it on another loop or thread.
SETTLING = 10


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A new loop: uvloop's where that is installed."""
    fill()
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def note_escape(error: BaseException) -> None:
    """Something that ends loops has come out of a callback on a loop of ours, which goes on."""
    logger.error(
        "%r was raised on an event loop by what runs there for a task, plugin or client; the loop goes on",
        error,
        exc_info=error,
    )


def run_through(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """``loop.run_until_complete`` for a process of ours: what users' code raises on the loop does not end it.

    ``SystemExit`` and ``KeyboardInterrupt`` come out of the loop whoever raises them. As long as Ctrl-C has no handler
    of its own it still ends the coroutine.
    """
    task = loop.create_task(coroutine)
    while True:
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt) as error:
            interrupted = isinstance(error, KeyboardInterrupt) and not handles(signal.SIGINT)
            if task.done() or (interrupted and threading.current_thread() is threading.main_thread()):
                raise
            note_escape(error)


class LoopThread:
    """A loop run by a thread of its own, shared by all runners of that loop."""

    def __init__(self, loop: Loop, *, close: bool) -> None:
        self.loop = loop
        self.nrunners = 0
        self._close = close
        self._stopped = False
        self.thread = threading.Thread(target=self._run, name="distributed-loop", daemon=True)

    def start(self) -> None:
        self.loop.ended = False
        running = threading.Event()
        self.loop.asyncio_loop.call_soon(running.set)
        self.thread.start()
        if not running.wait(10):
            raise RuntimeError("the thread of the event loop did not start within 10 s")

    def _run(self) -> None:
        loop = self.loop.asyncio_loop
        own_loop(loop)
        asyncio.set_event_loop(loop)
        try:
            while not self._stopped:
                try:
                    loop.run_forever()
                    break
                except (SystemExit, KeyboardInterrupt) as error:
                    note_escape(error)
            _complete(loop, _settle())
        finally:
            self.loop.end()
            if self._close:
                _finish(loop)
            asyncio.set_event_loop(None)

    def stop(self, timeout: float | None) -> None:
        self._stopped = True
        self.loop.stop()
        if threading.current_thread() is not self.thread:
            self.thread.join(timeout)


async def _settle() -> None:
    """What has happened already reaches who waits for it."""
    for _ in range(SETTLING):
        await asyncio.sleep(0)


def _complete(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run a loop until this is done, even if somebody stops it (again) meanwhile."""
    task = loop.create_task(coroutine)
    while not task.done():
        with contextlib.suppress(RuntimeError):
            loop.run_until_complete(task)


async def _end(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=5)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


def _finish(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left, as ``asyncio.run`` does, and close."""
    try:
        _complete(loop, _end(loop))
    finally:
        loop.close()
