"""What a worker's threads know about the task they run, and how they wait; libraries look here to see if they run
inside a task."""

from __future__ import annotations

import concurrent.futures
import contextvars
import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from distributed.importing import give_up_turn

if TYPE_CHECKING:
    import asyncio

#: Seconds that the thread of a task waits for the network before it leaves its place to others.
PATIENCE = 0.002
#: Seconds between two looks at whether what a thread waits for can still come.
LOOK = 1.0

#: The slot and the task that a coroutine on the event loop belongs to. The task may be over: see ``slot.task``.
current_run: contextvars.ContextVar[tuple[Any, Any] | None] = contextvars.ContextVar(
    "current_run", default=None
)


class ThreadState(threading.local):
    """``key``, ``start_time`` and ``execution_state`` exist only while this thread runs a task.

    Attributes
    ----------
    slot : object or None
        The worker thread's own record. It changes once a task; nothing else is written then.
    """

    slot: Any = None

    @property
    def key(self) -> Any:
        """Key of the running task."""
        return self._slot("key").task.key

    @property
    def start_time(self) -> float:
        """When it began, in seconds since the epoch."""
        return float(self._slot("start_time").start_time())

    @property
    def execution_state(self) -> dict[str, Any]:
        """``worker``: the Worker; ``scheduler``: its scheduler's address; ``ioloop``: its loop."""
        state: dict[str, Any] = self._slot("execution_state").executor.execution_state
        return state

    def _slot(self, name: str) -> Any:
        slot = self.slot
        if slot is None or slot.task is None:
            raise AttributeError(f"{name} is known only in a thread that runs a task")
        return slot


thread_state = ThreadState()


def current_slot() -> Any:
    """The slot of the task that runs in this thread or coroutine, or None."""
    slot = thread_state.slot
    if slot is None:
        run = current_run.get()
        if run is not None and run[0].task is run[1]:  # else left over from a coroutine task that has ended
            return run[0]
    return slot


def block(attempt: Callable[[float], bool], timeout: float | None, check: Callable[[], None]) -> bool:
    """Block this thread until something has come from the network.

    Every call of this package that makes a thread wait for others waits here. The thread of a task gives its place in
    the worker's pool to another one meanwhile, since what it waits for may have to run there; when it goes on, it has
    its place again and one of the others ends.

    Parameters
    ----------
    attempt : callable
        ``attempt(seconds)`` waits for so long at most and says whether it has come.
    timeout : float or None
        Seconds; None waits for ever.
    check : callable
        Called now and then; raises where nothing can come any more.

    Returns
    -------
    bool
        False after ``timeout`` seconds.
    """
    give_up_turn()
    slot = thread_state.slot
    if slot is None or slot.task is None or slot.seceded:
        return _block(attempt, timeout, check)
    start = monotonic()
    if attempt(PATIENCE if timeout is None else max(0.0, min(PATIENCE, timeout))):
        return True
    left = None if timeout is None else timeout - (monotonic() - start)
    if left is not None and left <= 0:
        return False
    slot.executor.secede(slot)
    try:
        return _block(attempt, left, check)
    finally:
        slot.executor.resume(slot)


def block_on(future: concurrent.futures.Future[Any], timeout: float | None) -> None:
    """:func:`block` for the future of another thread; the caller then asks whether it is done."""
    if not future.done():
        block(lambda limit: bool(concurrent.futures.wait((future,), limit).done), timeout, lambda: None)


class awaiting:
    """What :func:`block` is for threads, for coroutines: ``with awaiting(loop):`` around each await of the network.

    A coroutine task that still waits after a moment leaves its place. It needs none to go on, its thread only waits for
    it; so it does not take one again.
    """

    __slots__ = ("_leaving", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._leaving: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        run = current_run.get()
        if run is not None and run[0].task is run[1] and not run[0].seceded:
            self._leaving = self._loop.call_later(PATIENCE, run[0].executor.secede, run[0])

    def __exit__(self, *exc: object) -> None:
        if self._leaving is not None:
            self._leaving.cancel()


def _block(attempt: Callable[[float], bool], timeout: float | None, check: Callable[[], None]) -> bool:
    deadline = None if timeout is None else monotonic() + timeout
    while True:
        left = LOOK if deadline is None else deadline - monotonic()
        if attempt(max(0.0, min(left, LOOK))):
            return True
        if left <= LOOK and deadline is not None:
            return False
        check()
