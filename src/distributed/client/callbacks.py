"""``future.add_done_callback``: one thread that calls what users gave, in the order in which futures are done."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from distributed.client.future import Future
from distributed.client.session import Session

logger = logging.getLogger(__name__)

#: Seconds that the interpreter's exit waits for a callback that has begun.
PATIENCE = 5.0

_all: weakref.WeakSet[Callbacks] = weakref.WeakSet()


class Callbacks:
    """The callbacks of one client. The thread starts with the first and ends when the client is closed."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._calls: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._lock = threading.Lock()

    def add(self, future: Future, fn: Callable[[Future], Any]) -> None:
        """Call ``fn(future)`` once the future is done, or its client is closed."""
        calls = self._calls

        def call() -> None:
            try:
                fn(future)
            except BaseException:  # whatever it is, the thread goes on
                logger.exception("the callback of %r failed", future)

        with self._lock:
            if not self._closed:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=_work, args=(calls,), name="distributed-callbacks", daemon=True
                    )
                    self._thread.start()
                    _all.add(self)
                self._session.watch((future._task,), lambda: calls.put(call))
                return
        call()

    def close(self) -> None:
        """On the loop, when nothing is pending any more: the thread ends after what is due."""
        with self._lock:
            self._closed = True
        self._session.flush()
        self._calls.put(None)

    def join(self, timeout: float) -> None:
        """Wait until what is due has been called; says so where something takes longer."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        thread.join(timeout)
        if thread.is_alive():
            logger.warning(
                "a callback of a future has not ended after %g s: it ends with the process", timeout
            )


def join_all(timeout: float = PATIENCE) -> None:
    """At the interpreter's exit: callbacks that have begun are finished."""
    for callbacks in list(_all):
        callbacks.join(timeout)


def _work(calls: SimpleQueue[Callable[[], Any] | None]) -> None:
    while (call := calls.get()) is not None:
        call()
        del call  # what it was about is not kept while the thread waits


__all__ = ["Callbacks", "join_all"]
