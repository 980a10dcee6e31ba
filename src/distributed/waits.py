"""How threads wait for event loops, and how what is not waited for begins."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from distributed.threadstate import block

if TYPE_CHECKING:
    from distributed.loops import Loop

T = TypeVar("T")

STOPPED = "the event loop stopped before the call was done"

_begun: set[asyncio.Future[Any]] = set()  # a loop does not keep its tasks alive


class LoopStoppedError(RuntimeError):
    """The event loop stopped before what was waited for had happened: its client or cluster was closed."""


class LeftBehind:
    """What a :class:`Loop` of the parent has in a child in place of its loop, which turns in the parent alone."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._kept = loop  # for ever: its end here would be that of the parent's files
        self.text = (
            f"this client or cluster was made by process {os.getppid()} and does not work in its child {os.getpid()}: "
            "make a new Client here"
        )

    def is_running(self) -> bool:
        return False

    def is_closed(self) -> bool:
        return True

    def close(self) -> None:
        """It is not ours to close."""

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(self.text)

    call_soon = call_soon_threadsafe = call_later = call_at = create_task = run_forever = (
        run_until_complete
    ) = _refuse


def why_stopped(loop: Any, usual: str = STOPPED) -> str:
    """One sentence on why nothing can be had from a loop."""
    return loop.text if isinstance(loop, LeftBehind) else usual


class Wait:
    """Where a thread waits for something that happens on a loop, or for the end of the loop.

    Parameters
    ----------
    loop : Loop
    """

    __slots__ = ("_lock", "_loop", "done")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._lock.acquire()
        self.done = False

    def wake(self) -> None:
        """It has happened."""
        self.done = True
        self.loop_ended()

    def loop_ended(self) -> None:
        with contextlib.suppress(RuntimeError):  # both happened
            self._lock.release()

    def until(self, timeout: float | None = None) -> bool:
        """Wait until :meth:`wake` was called; False after ``timeout`` seconds. Raises :class:`LoopStoppedError`."""
        waiting = self._loop.waiting
        waiting.add(self)
        try:
            if not self.done:
                if not self._loop.ended:
                    block(self._attempt, timeout, self._check)
                if not self.done and self._loop.ended:
                    raise LoopStoppedError(why_stopped(self._loop.asyncio_loop))
            return self.done
        finally:
            waiting.discard(self)

    def _attempt(self, timeout: float) -> bool:
        return self._lock.acquire(timeout=min(timeout, threading.TIMEOUT_MAX))

    def _check(self) -> None:
        """Loops that nobody here runs do not say that they have stopped."""
        if not self._loop.is_running():
            raise LoopStoppedError(
                why_stopped(self._loop.asyncio_loop, "the event loop does not run: the call is not done")
            )


class Begun(Coroutine[Any, Any, T]):
    """A coroutine that runs already. Whoever wants to know of its end awaits it; nobody has to."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self.task = asyncio.ensure_future(coroutine)
        _begun.add(self.task)
        self.task.add_done_callback(_begun.discard)
        self._steps: Generator[Any, Any, T] | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        return self.task.__await__()

    def send(self, value: Any) -> Any:
        if self._steps is None:
            self._steps = self.task.__await__()
        return self._steps.send(value)

    def throw(self, *error: Any) -> Any:
        if self._steps is None:
            self._steps = self.task.__await__()
        return self._steps.throw(*error)

    def close(self) -> None:
        if self._steps is not None:
            self._steps.close()
